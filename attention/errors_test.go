// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
)

func TestNewErrors(t *testing.T) {
	rope := layer(t).RoPE // 16 elements
	for _, c := range []struct {
		config attention.Config
		want   string
	}{
		{attention.Config{Heads: 0, KVHeads: 1, HeadDim: 8}, "Heads 0, KVHeads 1 and HeadDim 8 must be positive"},
		{attention.Config{Heads: 4, KVHeads: -2, HeadDim: 8}, "Heads 4, KVHeads -2 and HeadDim 8 must be positive"},
		{attention.Config{Heads: 4, KVHeads: 2}, "HeadDim 0 must be positive"},
		{attention.Config{Heads: 9, KVHeads: 2, HeadDim: 8}, "Heads 9 is not a multiple of KVHeads 2"},
		{attention.Config{Heads: 1, KVHeads: 2, HeadDim: 8}, "Heads 1 is not a multiple of KVHeads 2"},
		{attention.Config{Heads: math.MaxInt / 2, KVHeads: 1, HeadDim: 8}, "exceeds"},
		{attention.Config{Heads: 4, KVHeads: 2, HeadDim: 8, Scale: nan}, "Scale is NaN"},
		{attention.Config{Heads: 4, KVHeads: 2, HeadDim: 8, Scale: -inf}, "Scale is -Inf"},
		{attention.Config{Heads: 4, KVHeads: 2, HeadDim: 8, RoPE: rope}, "RoPE rotates heads of 16 elements, HeadDim is 8"},
	} {
		k, err := attention.New(c.config)
		assert.Nil(t, k)
		assert.ErrorIs(t, err, attention.ErrConfig)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestAttendErrors(t *testing.T) {
	const rows = 3
	k := newKernel(t, layer(t)) // 6 heads, 2 key/value heads, 16 elements
	for _, c := range []struct {
		name   string
		part   int
		change func(*attention.Query)
		want   string
	}{
		{"negative rows", -1, func(q *attention.Query) { q.Rows = -1 }, "Rows is -1"},
		{"huge rows", -1, func(q *attention.Query) { q.Rows = math.MaxInt }, "Rows is"},
		{"short Q", -1, func(q *attention.Query) { q.Q = q.Q[1:] }, "Q and Out have 287 and 288 elements, 3 rows need 288"},
		{"short Out", -1, func(q *attention.Query) { q.Out = q.Out[:0] }, "Q and Out have 288 and 0 elements, 3 rows need 288"},
		{"no Out", -1, func(q *attention.Query) { q.Out, q.LSE = nil, nil }, "Q and Out have 288 and 0 elements, 3 rows need 288"},
		{"Decode without Out", -1, func(q *attention.Query) { q.Out, q.Decode = nil, true }, "Out is nil, which Decode needs"},
		{"short LSE", -1, func(q *attention.Query) { q.LSE = q.LSE[:0] }, "LSE has 0 elements, 3 rows need 18"},
		{"negative Len", 0, func(q *attention.Query) { q.Parts[0].Len = -1 }, "Len is -1"},
		{"huge Len", 1, func(q *attention.Query) { q.Parts[1].Len = math.MaxInt }, "Len is"},
		{"Len beyond KV", 0, func(q *attention.Query) { q.Parts[0].Len = 71 }, "Len is 71, KV has 70 tokens"},
		{"no KV", 2, func(q *attention.Query) { q.Parts[2].KV = attention.KV{} }, "Len is 130, KV has 0 tokens"},
		{"heads", 2, func(q *attention.Query) { q.Parts[2].KV = attention.NewKV(attention.F32, 3, 16, 130) }, "KV has 3 heads of 16 elements, want 2 of 16"},
		{"head size", 2, func(q *attention.Query) { q.Parts[2].KV = attention.NewKV(attention.F32, 2, 8, 130) }, "KV has 2 heads of 8 elements, want 2 of 16"},
		{"NaN scale", 1, func(q *attention.Query) { q.Parts[1].Scale = nan }, "Scale is NaN"},
		{"infinite scale", 1, func(q *attention.Query) { q.Parts[1].Scale = inf }, "Scale is +Inf"},
		{"short Bias", 0, func(q *attention.Query) { q.Parts[0].Bias = q.Parts[0].Bias[:5] }, "Bias has 5 elements for 6 heads"},
		{"long Bias", 0, func(q *attention.Query) { q.Parts[0].Bias = make([]float32, 7) }, "Bias has 7 elements for 6 heads"},
		{"NaN Bias", 0, func(q *attention.Query) { q.Parts[0].Bias = []float32{0, 0, nan, 0, 0, 0} }, "Bias of head 2 is NaN"},
		{"infinite Bias", 0, func(q *attention.Query) { q.Parts[0].Bias = []float32{0, inf, 0, 0, 0, 0} }, "Bias of head 1 is +Inf"},
		{"Mask rows", 2, func(q *attention.Query) { q.Parts[2].Mask = attention.NewBitmap(2, 130) }, "Mask is 2 × 130, want 3 query rows × Len 130"},
		{"Mask columns", 2, func(q *attention.Query) { q.Parts[2].Mask = attention.NewBitmap(3, 64) }, "Mask is 3 × 64, want 3 query rows × Len 130"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good, bad := random(t, rows), random(t, rows)
			c.change(&bad)
			err := k.Attend(nil, nil, []attention.Query{good, bad})
			var qe *attention.QueryError
			require.ErrorAs(t, err, &qe)
			assert.Equal(t, 1, qe.Query)
			assert.Equal(t, c.part, qe.Part)
			assert.ErrorContains(t, err, c.want)
			assert.Equal(t, make([]float32, len(good.Out)), good.Out, "nothing is written when a query is refused")
		})
	}
}

func TestAttendOfNothing(t *testing.T) {
	k := newKernel(t, layer(t))
	require.NoError(t, k.Attend(nil, nil, nil))
	require.NoError(t, k.Attend(nil, new(attention.Workspace), []attention.Query{{}, {Parts: random(t, 0).Parts}}))
}

func TestExtremeOffsets(t *testing.T) {
	k := newKernel(t, layer(t))
	q := random(t, 5)
	want := slices.Clone(q.Out)
	for _, c := range []struct {
		name         string
		causal       bool
		offset, like int // like: an offset that means the same
	}{
		{"largest", true, math.MaxInt, 200},
		{"smallest", true, math.MinInt, -200},
		{"ignored", false, math.MinInt, 0},
	} {
		for i := range q.Parts {
			q.Parts[i].Causal, q.Parts[i].Offset = c.causal, c.like
		}
		require.NoError(t, k.Attend(nil, nil, []attention.Query{q}))
		copy(want, q.Out)
		for i := range q.Parts {
			q.Parts[i].Offset = c.offset
		}
		require.NoError(t, k.Attend(nil, nil, []attention.Query{q}))
		assert.Equal(t, want, q.Out, c.name)
	}
}
