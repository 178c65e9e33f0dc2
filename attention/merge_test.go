// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
)

func TestMergeSidesThatSawNothing(t *testing.T) {
	out, lse := []float32{nan, inf, 1, 2, 3, 4}, []float32{-inf, 5, -inf}
	attention.Merge(out, lse, []float32{7, 8, nan, inf, nan, nan}, []float32{-2, -inf, -inf}, 2)
	assert.Equal(t, []float32{7, 8, 1, 2}, out[:4], "the other side is taken as it is")
	assert.Equal(t, []float32{-2, 5, -inf}, lse)
	assert.Equal(t, []float32{3, 4}, out[4:], "neither: unchanged")
}

func TestMergeExtremes(t *testing.T) {
	out, lse := []float32{1, 1, 1}, []float32{3e38, -3e38, 0}
	attention.Merge(out, lse, []float32{2, 2, 2}, []float32{-3e38, 3e38, 0}, 1)
	assert.Equal(t, []float32{1, 2, 1.5}, out)
	assert.Equal(t, []float32{3e38, 3e38, float32(math.Ln2)}, lse)

	out, lse = []float32{1}, []float32{nan}
	attention.Merge(out, lse, []float32{2}, []float32{0}, 1)
	assert.True(t, out[0] != out[0] && lse[0] != lse[0], "NaN stays NaN: %v %v", out, lse)
}

// Merging is the weighted mean of its definition, and commutes.
func TestMergeDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Float32Range(-20, 20)
		a, b := number.Draw(t, "lse"), number.Draw(t, "otherLSE")
		x, y := number.Draw(t, "out"), number.Draw(t, "otherOut")
		out, lse := []float32{x}, []float32{a}
		attention.Merge(out, lse, []float32{y}, []float32{b}, 1)
		wa, wb := math.Exp(float64(a)), math.Exp(float64(b))
		require.InDelta(t, math.Log(wa+wb), lse[0], 2e-6)
		require.InDelta(t, (wa*float64(x)+wb*float64(y))/(wa+wb), out[0], 2e-6)

		swapped, swappedLSE := []float32{y}, []float32{b}
		attention.Merge(swapped, swappedLSE, []float32{x}, []float32{a}, 1)
		require.Equal(t, lse, swappedLSE)
		require.Equal(t, out, swapped)
	})
}

func TestMergePanicsOnLengths(t *testing.T) {
	two, four := make([]float32, 2), make([]float32, 4)
	for name, f := range map[string]func(){
		"lse":      func() { attention.Merge(four, two, four, four, 2) },
		"out":      func() { attention.Merge(two, two, four, two, 2) },
		"otherOut": func() { attention.Merge(four, two, two, two, 2) },
		"headDim":  func() { attention.Merge(four, two, four, two, 0) },
	} {
		assert.Panics(t, f, name)
	}
	assert.NotPanics(t, func() { attention.Merge(four, two, four, two, 2) })
}
