// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/gguf"
)

// write returns the file that b makes.
func write(t require.TestingT, b *gguf.Builder) []byte {
	var out bytes.Buffer
	n, err := b.WriteTo(&out)
	require.NoError(t, err)
	require.Equal(t, int64(out.Len()), n)
	return out.Bytes()
}

// anyValue generates what Builder.Set takes.
func anyValue() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Uint8().AsAny(), rapid.Int8().AsAny(), rapid.Uint16().AsAny(), rapid.Int16().AsAny(),
		rapid.Uint32().AsAny(), rapid.Int32().AsAny(), rapid.Uint64().AsAny(), rapid.Int64().AsAny(),
		rapid.Float32().AsAny(), rapid.Float64().AsAny(), rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.SliceOf(rapid.Uint8()).AsAny(), rapid.SliceOf(rapid.Int8()).AsAny(),
		rapid.SliceOf(rapid.Uint16()).AsAny(), rapid.SliceOf(rapid.Int16()).AsAny(),
		rapid.SliceOf(rapid.Uint32()).AsAny(), rapid.SliceOf(rapid.Int32()).AsAny(),
		rapid.SliceOf(rapid.Uint64()).AsAny(), rapid.SliceOf(rapid.Int64()).AsAny(),
		rapid.SliceOf(rapid.Float32()).AsAny(), rapid.SliceOf(rapid.Float64()).AsAny(),
		rapid.SliceOf(rapid.Bool()).AsAny(), rapid.SliceOf(rapid.String()).AsAny(),
	)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b gguf.Builder
		alignment := 32
		if rapid.Bool().Draw(t, "aligned") {
			alignment = 1 << rapid.IntRange(3, 8).Draw(t, "alignment")
			require.NoError(t, b.Set("general.alignment", uint32(alignment)))
		}
		values := rapid.MapOf(rapid.StringMatching(`[a-z]{1,8}(\.[a-z_]{1,8}){0,2}`), anyValue()).Draw(t, "values")
		for k, v := range values {
			require.NoError(t, b.Set(k, v))
		}
		types := []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q8_0, gguf.Q4_0, gguf.Q4_1, gguf.Q4_K, gguf.Q6_K, 10 /* Q2_K */, 24 /* I8 */}
		var tensors []gguf.Tensor
		for _, name := range rapid.SliceOfNDistinct(rapid.StringN(0, 16, 64), 0, 6, rapid.ID).Draw(t, "names") {
			x := gguf.Tensor{Name: name, Type: rapid.SampledFrom(types).Draw(t, "type")}
			x.Shape = rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "shape")
			elems, size := x.Type.Block()
			n := size
			for _, d := range x.Shape {
				n *= d
			}
			x.Shape[0] *= elems
			x.Data = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "data")
			require.NoError(t, b.Add(x.Name, x.Type, x.Shape, x.Data))
			tensors = append(tensors, x)
		}

		f, err := gguf.Parse(write(t, &b))
		require.NoError(t, err)
		for k, want := range values {
			v, ok := f.Value(k)
			require.True(t, ok)
			require.Equal(t, want, v.Any(), k)
		}
		require.Len(t, f.Tensors(), len(tensors))
		for i, want := range tensors {
			got := f.Tensors()[i]
			byName, ok := f.Tensor(want.Name)
			require.True(t, ok)
			require.Equal(t, got.Offset, byName.Offset)
			require.Equal(t, want.Name, got.Name)
			require.Equal(t, want.Type, got.Type)
			require.Equal(t, want.Shape, got.Shape)
			require.Equal(t, want.Data, got.Data)
			require.Zero(t, got.Offset%int64(alignment))
			require.Equal(t, want.Shape[0], got.RowLen())

			row := make([]float32, got.RowLen())
			err := got.Row(row, got.Rows()-1)
			if !got.Type.Supported() {
				require.ErrorIs(t, err, gguf.ErrUnsupported)
				require.ErrorContains(t, err, got.Type.String())
				continue
			}
			require.NoError(t, err)
			whole := make([]float32, got.RowLen()*got.Rows())
			require.NoError(t, gguf.Dequantize(whole, got.Type, got.Data))
			for j, x := range whole[len(whole)-len(row):] {
				require.Equal(t, math.Float32bits(x), math.Float32bits(row[j]))
			}
		}
	})
}

func TestBuilderRefuses(t *testing.T) {
	type named uint32
	var b gguf.Builder
	require.NoError(t, b.Set("twice", named(1)))
	require.NoError(t, b.AddFloat32("twice", []int{2}, []float32{1, 2}))
	require.NoError(t, b.AddFloat32("scalar", nil, []float32{1}))
	for _, c := range []struct {
		err  error
		want string
	}{
		{b.Set("twice", "x"), `key "twice": added twice`},
		{b.Set("k", 1), "int has no kind"},
		{b.Set("k", []uint{1}), "[]uint has no kind"},
		{b.Set("k", nil), "nil"},
		{b.Set("k", gguf.Value{}), "zero Value"},
		{b.Set("k", struct{}{}), "no kind"},
		{b.Set(string(make([]byte, 1<<16)), true), "at most 65535"},
		{b.Set("general.alignment", uint32(24)), "alignment uint32 24"},
		{b.Set("general.alignment", int32(32)), "alignment int32 32"},
		{b.AddFloat32("twice", []int{2}, []float32{1, 2}), `tensor "twice": added twice`},
		{b.AddFloat32("t", []int{3}, []float32{1, 2}), "takes 12 bytes, got 8"},
		{b.AddFloat32("t", []int{2, 0}, nil), "dimension 1 is 0"},
		{b.AddFloat32("t", []int{-2, -1}, []float32{1, 2}), "is -2"},
		{b.AddFloat32("t", []int{1, 1, 1, 1, 1}, []float32{1}), "at most 4"},
		{b.AddFloat32("t", []int{1 << 30, 1 << 30, 1 << 30}, nil), "overflows"},
		{b.Add("t", gguf.Q8_0, []int{33}, make([]byte, 34)), "not a multiple of 32"},
		{b.Add("t", 4, []int{1}, nil), "unknown type 4"},
		{b.AddFloat32(string(make([]byte, 65)), []int{1}, []float32{1}), "at most 64"},
	} {
		require.ErrorContains(t, c.err, c.want)
	}
	// What was refused left nothing behind.
	f, err := gguf.Parse(write(t, &b))
	require.NoError(t, err)
	assert.Equal(t, []string{"twice"}, f.Keys())
	require.Len(t, f.Tensors(), 2)
	scalar, _ := f.Tensor("scalar")
	assert.Equal(t, 1, scalar.RowLen())
	assert.Equal(t, []float32{1}, expand(t, scalar))
}

// limited fails once n bytes were written.
type limited struct{ n int }

var errFull = errors.New("full")

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.n)
	if l.n -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteError(t *testing.T) {
	var b gguf.Builder
	require.NoError(t, b.AddFloat32("t", []int{1 << 14}, make([]float32, 1<<14)))
	for _, n := range []int{0, 100, 1 << 15} {
		written, err := b.WriteTo(&limited{n})
		assert.ErrorIs(t, err, errFull)
		assert.Equal(t, int64(n), written)
	}
}
