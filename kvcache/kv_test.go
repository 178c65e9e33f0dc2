// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
)

func TestKVLayout(t *testing.T) {
	s := Shape{Layers: 3, KVHeads: 2, HeadDim: 4}
	kv := NewKV(s, 5)
	require.Equal(t, s, kv.Shape())
	require.Equal(t, 5, kv.Tokens())
	require.EqualValues(t, 3*(2*4*(16+5)*4+32), kv.Bytes(), "keys fill a panel of 16, a layer a multiple of 64 bytes")
	const n = 2 * 4
	number := func(l, i, e int) float32 { return float32((l*5+i)*n + e + 1) }
	k, v := make([]float32, n), make([]float32, n)
	for l := range s.Layers {
		x := kv.Layer(l)
		require.Equal(t, [3]int{2, 4, 5}, [3]int{x.KVHeads(), x.HeadDim(), x.Tokens()})
		for i := range 5 {
			x.Load(i, k, v)
			require.Equal(t, [2][]float32{make([]float32, n), make([]float32, n)}, [2][]float32{k, v}, "layers overlap")
			for e := range k {
				k[e], v[e] = number(l, i, e), -number(l, i, e)
			}
			x.Store(i, k, v)
		}
	}
	for l := range s.Layers { // Layer returns views, always of the same memory
		for i := range 5 {
			kv.Layer(l).Load(i, k, v)
			for e := range k {
				require.Equal(t, number(l, i, e), k[e])
				require.Equal(t, -number(l, i, e), v[e])
			}
		}
	}
	require.Panics(t, func() { kv.Layer(3) })
	require.Panics(t, func() { kv.Layer(-1) })

	empty := NewKV(s, 0)
	require.Zero(t, empty.Bytes())
	require.Zero(t, empty.Layer(2).Tokens())
}

// A format decides how many bytes a number takes; what is stored comes back in its precision.
func TestKVFormats(t *testing.T) {
	for f, number := range map[attention.Format]int64{attention.F32: 4, attention.F16: 2, attention.BF16: 2, attention.I8: 1} {
		s := Shape{Layers: 2, KVHeads: 3, HeadDim: 8, Format: f}
		kv := NewKV(s, 20)
		slots := int64(2 * 3 * (32 + 20))
		want := slots * 8 * number
		if f == attention.I8 {
			want += slots * 4 // scales
		}
		want = (want/2 + 63) / 64 * 64 * 2 // each of two layers is rounded up
		require.Equal(t, want, kv.Bytes(), f)
		k, v := make([]float32, 24), make([]float32, 24)
		for i := range k {
			k[i], v[i] = float32(i%8)/8, -float32(i%8)/8
		}
		kv.Layer(1).Store(19, k, v)
		gotK, gotV := make([]float32, 24), make([]float32, 24)
		kv.Layer(1).Load(19, gotK, gotV)
		require.InDeltaSlice(t, k, gotK, 0.004, f)
		require.InDeltaSlice(t, v, gotV, 0.004, f)
	}
}

func TestKVRefusesAbsurdShapes(t *testing.T) {
	ok := Shape{2, 2, 2, 0}
	for _, c := range []struct {
		shape  Shape
		tokens int
	}{
		{Shape{0, 2, 2, 0}, 1}, {Shape{2, 0, 2, 0}, 1}, {Shape{2, 2, 0, 0}, 1}, {Shape{-1, 2, 2, 0}, 1}, {Shape{2, 2, 2, 250}, 1}, {ok, -1},
		{ok, math.MaxInt}, {Shape{math.MaxInt, math.MaxInt, math.MaxInt, 0}, math.MaxInt},
		{Shape{1 << 16, 1 << 16, 1 << 16, 0}, 1 << 16}, // 2⁶⁴ wraps to 0
		{Shape{512, 1, 1, 0}, MaxKVBytes/8/512 + 1},    // one token too many
		{Shape{math.MaxInt32, math.MaxInt32, 1, 0}, 0}, // too large even before tokens
	} {
		_, err := c.shape.Bytes(c.tokens)
		var e *ShapeError
		require.True(t, errors.As(err, &e), "%+v × %d", c.shape, c.tokens)
		require.Equal(t, c.shape, e.Shape)
		require.PanicsWithError(t, err.Error(), func() { NewKV(c.shape, c.tokens) })
	}
	n, err := Shape{512, 1, 1, 0}.Bytes(MaxKVBytes / 8 / 512)
	require.NoError(t, err)
	require.EqualValues(t, MaxKVBytes, n)
	_, err = Shape{32, 8, 0, 0}.Bytes(7)
	require.EqualError(t, err, "kvcache: no KV of 32 layers × 8 KV heads × head dim 0 × 7 tokens: every dimension must be positive")
}

// Every layer starts at a multiple of 64 bytes, whatever the shape: attention reads it with vectors and as float32.
func TestKVAlignment(t *testing.T) {
	for _, f := range attention.Formats() {
		for tokens := range 40 {
			for _, s := range []Shape{{3, 1, 1, f}, {2, 3, 5, f}, {4, 2, 7, f}, {2, 1, 64, f}} {
				kv := NewKV(s, tokens)
				layer, err := s.LayerBytes(tokens)
				require.NoError(t, err)
				require.Zero(t, layer%Align)
				require.EqualValues(t, layer*int64(s.Layers), kv.Bytes())
				require.Len(t, kv.Data(), int(kv.Bytes()))
				used := attention.KVSize(f, s.KVHeads, s.HeadDim, tokens)
				require.Less(t, layer-int64(used), int64(Align), "no more padding than needed")
				for l := range s.Layers {
					require.Zero(t, misaligned(kv.Data()[l*int(layer):]))
					require.Equal(t, tokens, kv.Layer(l).Tokens())
				}
			}
		}
	}
}

func TestAlignedIn(t *testing.T) {
	memory := alignedBytes(4 * Align)
	for from := range Align {
		b := alignedIn(memory[from:from+100+Align-1], 100)
		require.Zero(t, misaligned(b))
		require.Len(t, b, 100)
		require.Equal(t, 100, cap(b))
	}
}

func TestViewKV(t *testing.T) {
	s := Shape{Layers: 2, KVHeads: 1, HeadDim: 3, Format: attention.F16}
	kv := NewKV(s, 5)
	kv.Layer(1).Store(4, []float32{1, 2, 3}, []float32{4, 5, 6})
	view, err := ViewKV(s, 5, kv.Data())
	require.NoError(t, err)
	k, v := make([]float32, 3), make([]float32, 3)
	view.Layer(1).Load(4, k, v)
	require.Equal(t, []float32{1, 2, 3, 4, 5, 6}, append(k, v...))

	n := len(kv.Data())
	memory := alignedBytes(n + Align)
	for from := range Align + 1 {
		_, err := ViewKV(s, 5, memory[from:from+n])
		if from%Align == 0 {
			require.NoError(t, err)
			continue
		}
		var e *ShapeError
		require.ErrorAs(t, err, &e)
		require.ErrorContains(t, err, "multiple of 64")
	}
	_, err = ViewKV(s, 5, memory[:n-1])
	require.ErrorContains(t, err, "there are")
	_, err = ViewKV(s, -1, nil)
	require.ErrorContains(t, err, "negative")
	empty, err := ViewKV(s, 0, memory[1:1])
	require.NoError(t, err)
	require.Zero(t, empty.Layer(1).Tokens())
}
