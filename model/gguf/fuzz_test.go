// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

// FuzzOpen feeds the reader arbitrary bytes. It must neither panic nor use
// memory out of proportion to its input; and whatever it accepts must be
// readable in full and come out equal when written again.
func FuzzOpen(f *testing.F) {
	// Small files only: mutating large ones is slow.
	var b gguf.Builder
	require.NoError(f, b.Set("general.architecture", "llama"))
	require.NoError(f, b.Set("general.alignment", uint32(16)))
	require.NoError(f, b.Set("tokens", []string{"a", "", "日本"}))
	require.NoError(f, b.Set("types", []int32{1, -1}))
	require.NoError(f, b.Set("flags", []bool{true, false}))
	require.NoError(f, b.Set("float", 0.5))
	require.NoError(f, b.AddFloat32("norm", []int{2}, []float32{1, 2}))
	for i, t := range []gguf.Type{gguf.F16, gguf.BF16, gguf.Q8_0, gguf.Q4_0, gguf.Q4_1, gguf.Q4_K, gguf.Q6_K, 10} {
		elems, size := t.Block()
		require.NoError(f, b.Add(string(rune('a'+i)), t, []int{elems, 2}, make([]byte, 2*size)))
	}
	small := write(f, &b)
	f.Add(small)
	f.Add(append([]byte("GGUF\x02"), small[5:]...))
	f.Add([]byte(header(0, 1).array("k", gguf.KindArray, 2).u32(4).u64(1).u32(7).u32(8).u64(1).text("x")))
	f.Add([]byte(header(2, 0).tensor("a", gguf.F32, 32, 9).tensor("b", gguf.F32, 0).data(100)))
	f.Add([]byte(header(1<<40, 1<<60).data(64)))
	if data, err := os.ReadFile("testdata/dequant.gguf"); err == nil {
		f.Add(data[:1024])
	}

	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		file, err := gguf.Parse(data)
		runtime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+64*len(data)); used > limit {
			t.Fatalf("%d bytes of memory for a file of %d", used, len(data))
		}
		if err != nil {
			require.Nil(t, file)
			require.NotEmpty(t, err.Error())
			return
		}
		again, err := gguf.Parse(write(t, rebuild(t, file)))
		require.NoError(t, err)
		require.Equal(t, file.Keys(), again.Keys())
		require.Equal(t, file.Fingerprint(), again.Fingerprint())
		for i, x := range again.Tensors() {
			require.Equal(t, file.Tensors()[i].Data, x.Data)
		}
	})
}

// rebuild reads everything that a file holds and returns a builder of its like.
func rebuild(t *testing.T, f *gguf.File) *gguf.Builder {
	b := new(gguf.Builder)
	for _, k := range f.Keys() {
		v, ok := f.Value(k)
		require.True(t, ok)
		require.NotNil(t, v.Any())
		require.NotEmpty(t, v.String())
		require.NoError(t, b.Set(k, v))
	}
	for _, x := range f.Tensors() {
		dst := make([]float32, x.RowLen())
		for _, i := range []int{0, x.Rows() - 1} {
			if err := x.Row(dst, i); x.Type.Supported() {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, gguf.ErrUnsupported)
			}
		}
		require.NoError(t, b.Add(x.Name, x.Type, x.Shape, x.Data))
	}
	return b
}
