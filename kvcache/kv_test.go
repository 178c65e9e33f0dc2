// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKVLayout(t *testing.T) {
	s := Shape{Layers: 3, KVHeads: 2, HeadDim: 4}
	kv := NewKV(s, 5)
	require.Equal(t, s, kv.Shape())
	require.Equal(t, 5, kv.Tokens())
	require.EqualValues(t, 3*2*2*5*4*4, kv.Bytes())
	n := float32(0)
	for l := range s.Layers {
		k, v := kv.Layer(l)
		for _, x := range [][]float32{k, v} {
			require.Len(t, x, 2*5*4)
			require.Equal(t, len(x), cap(x), "an append would run into the next block")
			for i := range x {
				require.Zero(t, x[i], "blocks overlap")
				n++
				x[i] = n
			}
		}
	}
	n = 0
	for l := range s.Layers { // Layer returns views, always of the same memory
		k, v := kv.Layer(l)
		for _, x := range [][]float32{k, v} {
			for i := range x {
				n++
				require.Equal(t, n, x[i])
			}
		}
	}
	require.Panics(t, func() { kv.Layer(3) })
	require.Panics(t, func() { kv.Layer(-1) })

	empty := NewKV(s, 0)
	require.Zero(t, empty.Bytes())
	k, v := empty.Layer(2)
	require.Empty(t, k)
	require.Empty(t, v)
}

func TestKVRefusesAbsurdShapes(t *testing.T) {
	ok := Shape{2, 2, 2}
	for _, c := range []struct {
		shape  Shape
		tokens int
	}{
		{Shape{0, 2, 2}, 1}, {Shape{2, 0, 2}, 1}, {Shape{2, 2, 0}, 1}, {Shape{-1, 2, 2}, 1}, {ok, -1},
		{ok, math.MaxInt}, {Shape{math.MaxInt, math.MaxInt, math.MaxInt}, math.MaxInt},
		{Shape{1 << 16, 1 << 16, 1 << 16}, 1 << 16}, // 2⁶⁴ wraps to 0
		{Shape{1, 1, 1}, MaxKVBytes/8 + 1},          // one token too many
		{Shape{math.MaxInt32, math.MaxInt32, 1}, 0}, // too large even before tokens
	} {
		_, err := c.shape.Bytes(c.tokens)
		var e *ShapeError
		require.True(t, errors.As(err, &e), "%+v × %d", c.shape, c.tokens)
		require.Equal(t, c.shape, e.Shape)
		require.PanicsWithError(t, err.Error(), func() { NewKV(c.shape, c.tokens) })
	}
	n, err := Shape{1, 1, 1}.Bytes(MaxKVBytes / 8)
	require.NoError(t, err)
	require.EqualValues(t, MaxKVBytes, n)
	_, err = Shape{32, 8, 0}.Bytes(7)
	require.EqualError(t, err, "kvcache: no KV of 32 layers × 8 KV heads × head dim 0 × 7 tokens: every dimension must be positive")
}
