// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// Keys and values in fewer bits move the logits by no more than their rounding explains, and by something: the format is in use. A node
// may read sources of other formats than its own.
func TestKVFormats(t *testing.T) {
	m := loadModel(t, filepath.Join(tinyDir, "tiny-F32.gguf"))
	shape := m.Config().KVShape()
	tokens := make([]int32, 40)
	for i := range tokens {
		tokens[i] = int32(7*i%m.Config().Vocab + 1)
	}
	logits := func(source, own attention.Format) []float32 {
		a, b := shape, shape
		a.Format, b.Format = source, own
		runs := []model.Run{
			{Tokens: tokens[:25], KV: kvcache.NewKV(a, 25)},
			{Tokens: tokens[25:], KV: kvcache.NewKV(b, 15), Logits: make([]float32, 2*m.Config().Vocab)},
		}
		runs[1].Sources = []model.Source{{KV: runs[0].KV, Shift: 25}}
		var ws model.Workspace
		require.NoError(t, m.Forward(t.Context(), &ws, runs))
		return runs[1].Logits
	}
	want := logits(attention.F32, attention.F32)
	largest := 0.0
	for _, x := range want {
		largest = math.Max(largest, math.Abs(float64(x)))
	}
	for _, source := range attention.Formats() {
		for _, own := range attention.Formats() {
			off := 0.0
			for i, x := range logits(source, own) {
				off = math.Max(off, math.Abs(float64(x-want[i])))
			}
			off /= largest
			bound := map[attention.Format]float64{attention.F32: 0, attention.F16: 1e-3, attention.BF16: 1e-2, attention.I8: 2e-2}
			require.LessOrEqual(t, off, max(bound[source], bound[own]), "%v reads %v", own, source)
			require.Equal(t, source == attention.F32 && own == attention.F32, off == 0, "%v reads %v", own, source)
			t.Logf("%v reads %v: %.2g of the largest logit", own, source, off)
		}
	}
}
