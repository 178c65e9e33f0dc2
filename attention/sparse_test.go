// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/attention/attentiontest"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// drawMask draws a graph of a few nodes, each of which may see any that come before it.
func drawMask(t *rapid.T, longest, size int) *mask.Mask {
	b := posenc.NewLayoutBuilder()
	nodes := rapid.IntRange(1, 7).Draw(t, "nodes")
	for i := range nodes {
		var seen []posenc.Seen
		for j := range i {
			if rapid.Bool().Draw(t, "sees") {
				seen = append(seen, posenc.Seen{Node: int32(j)})
			}
		}
		node := posenc.Node{Kind: posenc.SegmentNode, Segment: i, Len: rapid.IntRange(1, longest).Draw(t, "len")}
		if i == nodes-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		if _, err := b.Add(node, seen...); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	m, err := mask.New(l, size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Under a mask the result is that of the dense reference over the mask's pairs, any run of rows gives the same bits, and what no row sees may
// be anything.
func TestAttendMask(t *testing.T) {
	p := pool.New(3)
	defer p.Close()
	var ws attention.Workspace
	onEveryTier(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			c := attention.Config{KVHeads: rapid.IntRange(1, 2).Draw(t, "kvHeads"), HeadDim: rapid.SampledFrom([]int{4, 8, 16, 64}).Draw(t, "d")}
			c.Heads = c.KVHeads * rapid.SampledFrom([]int{1, 3, 4, 9}).Draw(t, "group")
			kernel, err := attention.New(c)
			if err != nil {
				t.Fatal(err)
			}
			size := rapid.SampledFrom([]int{16, 32, 48, 64, 128, 160, 256}).Draw(t, "size")
			m := drawMask(t, 120, size)
			tokens, d := m.Tokens(), c.HeadDim
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			room := tokens + r.IntN(20)
			q, k, v := normal(r, tokens*c.Heads*d), normal(r, room*c.KVHeads*d), normal(r, room*c.KVHeads*d)
			for i := tokens * c.KVHeads * d; i < len(k); i++ {
				k[i], v[i] = nan, nan
			}
			query := attention.MaskedQuery{
				Q: q, Out: make([]float32, len(q)), LSE: make([]float32, tokens*c.Heads), Rows: tokens, Mask: m,
				KV: attention.PackKV(attention.F32, c.KVHeads, d, k, v),
			}
			if err := kernel.AttendMask(p, &ws, query); err != nil {
				t.Fatal(err)
			}
			dense := attentiontest.Dense{
				Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: d, Rows: tokens, Keys: tokens,
				Sees: func(_, row, key int) bool { return m.Allowed(row, key) },
			}
			for _, x := range q {
				dense.Q = append(dense.Q, float64(x))
			}
			for i := range tokens * c.KVHeads * d {
				dense.K, dense.V = append(dense.K, float64(k[i])), append(dense.V, float64(v[i]))
			}
			out, lse, largest := dense.Solve()
			if tol := 3e-6 * (1 + largest); worst(query.Out, out) > tol || worst(query.LSE, lse) > tol {
				t.Fatalf("off by %g and %g, want %g", worst(query.Out, out), worst(query.LSE, lse), tol)
			}

			run := query
			run.First = size * rapid.IntRange(0, (tokens-1)/size).Draw(t, "first")
			run.Rows = rapid.IntRange(0, tokens-run.First).Draw(t, "rows")
			width := c.Heads * d
			run.Q = q[run.First*width:]
			run.Out, run.LSE = make([]float32, run.Rows*width), make([]float32, run.Rows*c.Heads)
			// A token that no row of the run sees.
			hidden := rapid.IntRange(0, tokens-1).Draw(t, "hidden")
			seen := false
			for i := run.First; i < run.First+run.Rows; i++ {
				seen = seen || m.Allowed(i, hidden)
			}
			if !seen {
				bad := make([]float32, c.KVHeads*d)
				for i := range bad {
					bad[i] = float32(math.Inf(1))
				}
				run.KV.Store(hidden, bad, bad)
			}
			if err := kernel.AttendMask(p, &ws, run); err != nil {
				t.Fatal(err)
			}
			for i := range run.Out {
				if math.Float32bits(run.Out[i]) != math.Float32bits(query.Out[run.First*width+i]) {
					t.Fatalf("run of rows %d to %d: element %d is %v, want the bits of %v", run.First, run.First+run.Rows, i, run.Out[i], query.Out[run.First*width+i])
				}
			}
		})
	})
}

// Parts and blocks are two descriptions of the same pairs.
func TestAttendMaskLikeParts(t *testing.T) {
	const heads, kvHeads, d, length = 6, 2, 64, 200
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: d, Base: 1e4})
	require.NoError(t, err)
	kernel := newKernel(t, attention.Config{Heads: heads, KVHeads: kvHeads, HeadDim: d, RoPE: rope})
	l, err := posenc.Sequential(0, []int{length, length}, length)
	require.NoError(t, err)
	m, err := mask.New(l, 64)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 9))
	tokens := m.Tokens()
	k, v := normal(r, tokens*kvHeads*d), normal(r, tokens*kvHeads*d)
	for i := range tokens {
		rope.RotateHeads(k[i*kvHeads*d:(i+1)*kvHeads*d], kvHeads, i)
	}
	q := attention.MaskedQuery{
		Q: normal(r, tokens*heads*d), Out: make([]float32, tokens*heads*d), LSE: make([]float32, tokens*heads), Rows: tokens, Mask: m,
		KV: attention.PackKV(attention.F32, kvHeads, d, k, v),
	}
	require.NoError(t, kernel.AttendMask(nil, nil, q))
	parts := attention.Query{
		Q: q.Q, Out: make([]float32, len(q.Out)), LSE: make([]float32, len(q.LSE)), Rows: tokens,
		Parts: []attention.Part{{KV: q.KV, Len: tokens, Causal: true}},
	}
	require.NoError(t, kernel.Attend(nil, nil, []attention.Query{parts}))
	assert.LessOrEqual(t, worst(q.Out, parts.Out), 2e-6)
	assert.LessOrEqual(t, worst(q.LSE, parts.LSE), 2e-6)

	var ws attention.Workspace
	p := pool.New(2)
	defer p.Close()
	attend := func() {
		if kernel.AttendMask(p, &ws, q) != nil {
			t.Error("unexpected error")
		}
	}
	attend()
	assert.Zero(t, testing.AllocsPerRun(5, attend))
}

func TestAttendMaskErrors(t *testing.T) {
	kernel := newKernel(t, attention.Config{Heads: 4, KVHeads: 2, HeadDim: 8})
	l, err := posenc.Sequential(0, []int{40}, 30)
	require.NoError(t, err)
	newMask := func(size int) *mask.Mask {
		m, err := mask.New(l, size)
		require.NoError(t, err)
		return m
	}
	x := make([]float32, 70*4*8)
	for _, c := range []struct {
		change func(*attention.MaskedQuery)
		want   string
	}{
		{func(q *attention.MaskedQuery) { q.Mask = nil }, "Mask is nil"},
		{func(q *attention.MaskedQuery) { q.Mask = newMask(24) }, "blocks are of 24 tokens, want a multiple of 16"},
		{func(q *attention.MaskedQuery) { q.First = 8 }, "First must be a multiple of 32"},
		{func(q *attention.MaskedQuery) { q.First = -32 }, "rows -32 to 38 of 70 tokens"},
		{func(q *attention.MaskedQuery) { q.Rows = 71 }, "rows 0 to 71 of 70 tokens"},
		{func(q *attention.MaskedQuery) { q.Rows = -1 }, "rows 0 to -1"},
		{func(q *attention.MaskedQuery) { q.KV = attention.NewKV(attention.F32, 2, 8, 69) }, "KV has 69 tokens, the mask 70"},
		{func(q *attention.MaskedQuery) { q.KV = attention.NewKV(attention.F32, 1, 8, 70) }, "KV has 1 heads of 8 elements, want 2 of 8"},
		{func(q *attention.MaskedQuery) { q.Out = x[:5] }, "Q and Out have 2240 and 5 elements"},
	} {
		q := attention.MaskedQuery{Q: x, Out: make([]float32, len(x)), Rows: 70, Mask: newMask(32), KV: attention.NewKV(attention.F32, 2, 8, 70)}
		require.NoError(t, kernel.AttendMask(nil, nil, q))
		c.change(&q)
		err := kernel.AttendMask(nil, nil, q)
		var qe *attention.QueryError
		require.ErrorAs(t, err, &qe)
		assert.ErrorContains(t, err, c.want)
	}
}
