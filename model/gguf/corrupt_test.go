// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

// raw assembles a file field by field, right or wrong.
type raw []byte

func header(tensors, metadata uint64) raw {
	return raw("GGUF").u32(3).u64(tensors).u64(metadata)
}

func (r raw) u32(x uint32) raw    { return binary.LittleEndian.AppendUint32(r, x) }
func (r raw) u64(x uint64) raw    { return binary.LittleEndian.AppendUint64(r, x) }
func (r raw) bytes(b ...byte) raw { return append(r, b...) }
func (r raw) text(s string) raw   { return append(r.u64(uint64(len(s))), s...) }

// kind starts a metadata entry, array one that holds an array.
func (r raw) kind(key string, k gguf.Kind) raw { return r.text(key).u32(uint32(k)) }
func (r raw) array(key string, elem gguf.Kind, n uint64) raw {
	return r.kind(key, gguf.KindArray).u32(uint32(elem)).u64(n)
}

// tensor adds an entry of the tensor table.
func (r raw) tensor(name string, t gguf.Type, offset uint64, dims ...uint64) raw {
	r = r.text(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r = r.u64(d)
	}
	return r.u32(uint32(t)).u64(offset)
}

// data pads the header and adds n bytes of tensor data.
func (r raw) data(n int) raw { return append(r, make([]byte, (32-len(r)%32)%32+n)...) }

func TestCorrupt(t *testing.T) {
	const (
		f32 = gguf.F32
		u32 = gguf.KindUint32
	)
	for _, c := range []struct {
		name, want string // want must be part of the message
		at         int64
		file       raw
	}{
		{"empty", "magic: needs 4 bytes, the file has 0 left", 0, nil},
		{"other format", `not a GGUF file: starts with "PK\x03\x04"`, 0, raw("PK\x03\x04 and so on, long enough")},
		{"tensor count", "tensor count: count of 1000000000000", 8, header(1e12, 0).data(64)},
		{"metadata count", "metadata count: count of 18446744073709551615", 16, header(0, math.MaxUint64).data(64)},
		{"tensor count after metadata", "tensor count: count of 2,", 0, header(2, 1).array("k", gguf.KindUint8, 40).bytes(make([]byte, 40)...)},
		{"key past the end", `key "#0": string of 9223372036854775808 bytes`, 24, header(0, 1).u64(1 << 63).data(32)},
		{"long key", `key "#0": name of 65536 bytes`, 24, header(0, 1).kind(strings.Repeat("k", 65536), u32).u32(1)},
		{"key twice", `key "k": appears twice`, 41, header(0, 2).kind("k", u32).u32(1).kind("k", u32).u32(1)},
		{"unknown kind", `key "k": unknown value kind 13`, 33, header(0, 1).kind("k", 13).data(32)},
		{"bool", `key "k": bool has the value 2`, 37, header(0, 1).kind("k", gguf.KindBool).bytes(2)},
		{"bool in array", `key "k": bool has the value 255`, 50, header(0, 1).array("k", gguf.KindBool, 3).bytes(0, 255, 1)},
		{"string value", `key "k": string of 5 bytes, the file has 4 left`, 37, header(0, 1).kind("k", gguf.KindString).u64(5).bytes(1, 2, 3, 4)},
		{"string in array", `key "k": string of 9 bytes`, 58, header(0, 1).array("k", gguf.KindString, 2).text("a").u64(9).u64(0)},
		{"array count", `key "k": count of 4611686018427387904`, 41, header(0, 1).array("k", u32, 1<<62).data(64)},
		{"array count one off", `key "k": count of 3,`, 41, header(0, 1).array("k", gguf.KindUint64, 3).u64(1).u64(2).u32(0)},
		{"strings count", `key "k": count of 3,`, 41, header(0, 1).array("k", gguf.KindString, 3).u64(0).u64(0)},
		{"arrays count", `key "k": count of 3,`, 41, header(0, 1).array("k", gguf.KindArray, 3).bytes(make([]byte, 35)...)},
		{"array kind", `key "k": array of unknown kind 77`, 37, header(0, 1).array("k", 77, 0)},
		{"nesting", `key "k": arrays nested more than 4 deep`, 85, header(0, 1).array("k", 9, 1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(4).u64(0)},
		{"alignment 0", `key "general.alignment": alignment uint32 0`, 53, header(0, 1).kind("general.alignment", u32).u32(0)},
		{"alignment 24", `key "general.alignment": alignment uint32 24`, 53, header(0, 1).kind("general.alignment", u32).u32(24)},
		{"alignment 2³¹", `key "general.alignment": alignment uint32 2147483648`, 53, header(0, 1).kind("general.alignment", u32).u32(1 << 31)},
		{"alignment of a kind", `key "general.alignment": alignment string "32"`, 53, header(0, 1).kind("general.alignment", gguf.KindString).text("32")},
		{"long tensor name", "name of 65 bytes", 24, header(1, 0).tensor(strings.Repeat("t", 65), f32, 0, 1).data(4)},
		{"tensor twice", `tensor "t": appears twice`, 57, header(2, 0).tensor("t", f32, 0, 1).tensor("t", f32, 32, 1).data(64)},
		{"dims", `tensor "t": 5 dimensions`, 33, header(1, 0).tensor("t", f32, 0, 1, 1, 1, 1, 1).data(4)},
		{"many dims", `tensor "t": 4294967295 dimensions`, 33, header(1, 0).text("t").u32(math.MaxUint32).data(64)},
		{"dimension 0", `tensor "t": dimension 1 of [4 0] is 0`, 33, header(1, 0).tensor("t", f32, 0, 4, 0).data(4)},
		{"shape overflow", `overflows`, 33, header(1, 0).tensor("t", f32, 0, 1<<32, 1<<32).data(4)},
		{"shape overflow to 0", `overflows`, 33, header(1, 0).tensor("t", f32, 0, 1<<32, 1<<31, 2).data(4)},
		{"dimension overflow", `overflows`, 33, header(1, 0).tensor("t", f32, 0, 1<<63).data(4)},
		{"size overflow", `overflows`, 33, header(1, 0).tensor("t", f32, 0, 1<<61).data(4)},
		{"block", `tensor "t": row length 48 is not a multiple of 32, the block of Q8_0`, 33, header(1, 0).tensor("t", gguf.Q8_0, 0, 48, 2).data(102)},
		{"scalar of blocks", `row length 1 is not a multiple of 256`, 33, header(1, 0).tensor("t", gguf.Q6_K, 0).data(210)},
		{"misaligned", `tensor "t": offset 4 is not a multiple of the alignment 32`, 49, header(1, 0).tensor("t", f32, 4, 1).data(64)},
		{"too long by a byte", `reach past the end of the file`, 49, header(1, 0).tensor("t", f32, 0, 2).data(7)},
		{"offset past the end", `reach past the end of the file`, 49, header(1, 0).tensor("t", f32, 64, 1).data(64)},
		{"offset overflow", `reach past the end of the file`, 49, header(1, 0).tensor("t", f32, math.MaxUint64-31, 16).data(64)},
		{"no padding", `reach past the end of the file`, 49, header(1, 0).tensor("t", f32, 0, 1)},
		{"overlap", `tensor "b": overlaps tensor "a"`, 82, header(2, 0).tensor("a", f32, 0, 9).tensor("b", f32, 32, 1).data(64)},
		{"same place", `tensor "b": overlaps tensor "a"`, 82, header(2, 0).tensor("a", f32, 0, 1).tensor("b", f32, 0, 1).data(64)},
		{"overlap, out of order", `tensor "a": overlaps tensor "b"`, 49, header(2, 0).tensor("a", f32, 32, 1).tensor("b", f32, 0, 16).data(64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := gguf.Parse(c.file)
			require.Nil(t, f)
			require.ErrorIs(t, err, gguf.ErrCorrupt)
			require.ErrorContains(t, err, c.want)
			var e *gguf.CorruptError
			require.True(t, errors.As(err, &e))
			if c.at != 0 {
				assert.Equal(t, c.at, e.Offset)
			}
			assert.NotEmpty(t, e.Name)
			assert.Less(t, len(err.Error()), 400)
		})
	}
}

func TestUnsupported(t *testing.T) {
	for name, c := range map[string]struct {
		file raw
		want string
	}{
		"version 1":    {raw("GGUF").u32(1).u64(0).u64(0), "version 1"},
		"version 4":    {raw("GGUF").u32(4).u64(0).u64(0), "version 4"},
		"version 0":    {raw("GGUF").u32(0).u64(0).u64(0), "version 0"},
		"big-endian":   {raw("GGUF").bytes(0, 0, 0, 3).u64(0).u64(0), "big-endian file (version 3)"},
		"unknown type": {header(1, 0).tensor("t", 999, 0, 1).data(4), `tensor "t" is of type 999`},
		"removed type": {header(1, 0).tensor("t", 4, 0, 32).data(64), `tensor "t" is of type 4`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gguf.Parse(c.file)
			require.ErrorIs(t, err, gguf.ErrUnsupported)
			require.NotErrorIs(t, err, gguf.ErrCorrupt)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A type of the format without a dequantiser does not keep the file, or its
// other tensors, from being read.
func TestKnownTypeWithoutDequantizer(t *testing.T) {
	f, err := gguf.Parse(header(2, 0).tensor("k.weight", 10, 0, 256, 2).tensor("n", gguf.F32, 192, 2).data(200))
	require.NoError(t, err)
	k, ok := f.Tensor("k.weight")
	require.True(t, ok)
	assert.Equal(t, "Q2_K", k.Type.String())
	assert.Len(t, k.Data, 168)
	err = k.Row(make([]float32, 256), 1)
	assert.ErrorIs(t, err, gguf.ErrUnsupported)
	assert.ErrorContains(t, err, `tensor "k.weight"`)
	assert.ErrorContains(t, err, "Q2_K")
	n, ok := f.Tensor("n")
	require.True(t, ok)
	assert.NoError(t, n.Row(make([]float32, 2), 0))
}

func TestVersion2(t *testing.T) {
	data, err := os.ReadFile("testdata/dequant.gguf")
	require.NoError(t, err)
	data[4] = 2
	f, err := gguf.Parse(data)
	require.NoError(t, err)
	assert.Equal(t, uint32(2), f.Version())
	assert.Equal(t, openFixture(t).Fingerprint(), f.Fingerprint())
}

// A file cut short anywhere is refused.
func TestTruncated(t *testing.T) {
	data, err := os.ReadFile("testdata/dequant.gguf")
	require.NoError(t, err)
	f, err := gguf.Parse(data)
	require.NoError(t, err)
	last := int64(0)
	for _, x := range f.Tensors() {
		last = max(last, x.Offset+int64(len(x.Data)))
	}
	first := f.Tensors()[0].Offset
	for n := range last {
		if n > first && n%97 != 0 && n != last-1 {
			continue // the header matters most
		}
		_, err := gguf.Parse(data[:n:n])
		require.ErrorIs(t, err, gguf.ErrCorrupt, "%d of %d bytes", n, len(data))
	}
	_, err = gguf.Parse(data[:last])
	require.NoError(t, err)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := gguf.Open(filepath.Join(dir, "none.gguf"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "none.gguf")
	_, err = gguf.Open(dir)
	require.Error(t, err)
	require.ErrorContains(t, err, dir)
	for name, content := range map[string]string{"empty.gguf": "", "short.gguf": "GGUF\x03"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err = gguf.Open(path)
		require.ErrorIs(t, err, gguf.ErrCorrupt)
		require.ErrorContains(t, err, name)
	}
}

// Metadata outlives the mapping, and tensor data says that it does not.
func TestClose(t *testing.T) {
	f, err := gguf.Open("testdata/dequant.gguf")
	require.NoError(t, err)
	x := f.Tensors()[0]
	want := f.Fingerprint()
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())

	s, err := f.Strings("array.string")
	require.NoError(t, err)
	assert.Equal(t, []string{"", "a", " b\n", "日本"}, s)
	assert.Equal(t, "f32", x.Name)
	assert.Equal(t, want, f.Fingerprint())
	assert.ErrorIs(t, x.Row(make([]float32, x.RowLen()), 0), gguf.ErrClosed)

	f, err = gguf.Open("testdata/dequant.gguf")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.PanicsWithError(t, gguf.ErrClosed.Error(), func() { f.Fingerprint() })
	assert.Panics(t, func() { f.Fingerprint() }, "a panic must not leave a fingerprint behind")
}

func TestRowArguments(t *testing.T) {
	f := openFixture(t)
	x, _ := f.Tensor("q8_0")
	dst := make([]float32, 512)
	for _, i := range []int{-1, 4, math.MaxInt} {
		assert.ErrorContains(t, x.Row(dst, i), `tensor "q8_0": row`)
	}
	assert.ErrorContains(t, x.Row(dst[:511], 0), "row length 512, the destination holds 511")
	assert.ErrorContains(t, gguf.Dequantize(dst[:31], gguf.Q8_0, x.Data[:34]), "31 elements of Q8_0 are not 34 bytes")
	assert.ErrorContains(t, gguf.Dequantize(dst[:64], gguf.Q8_0, x.Data[:34]), "64 elements")
	assert.ErrorContains(t, gguf.Dequantize(dst[:32], gguf.Q8_0, x.Data[:33]), "33 bytes")
	assert.ErrorIs(t, gguf.Dequantize(dst, 10, nil), gguf.ErrUnsupported)
	assert.ErrorIs(t, gguf.Dequantize(dst, 1000, nil), gguf.ErrUnsupported)
	assert.NoError(t, gguf.Dequantize(nil, gguf.Q4_K, nil))
}

// What a file costs does not depend on how many strings it holds.
func TestAllocations(t *testing.T) {
	file := func(n int) []byte {
		words := make([]string, n)
		for i := range words {
			words[i] = strings.Repeat("w", i%13)
		}
		var b gguf.Builder
		require.NoError(t, b.Set("tokens", words))
		return write(t, &b)
	}
	cost := func(data []byte) float64 {
		return testing.AllocsPerRun(5, func() {
			if _, err := gguf.Parse(data); err != nil {
				panic(err)
			}
		})
	}
	few, many := file(10), file(100_000)
	assert.Equal(t, cost(few), cost(many))
	f, err := gguf.Parse(many)
	require.NoError(t, err)
	assert.Equal(t, 1.0, testing.AllocsPerRun(5, func() { _, _ = f.Strings("tokens") }))

	g := openFixture(t)
	for _, x := range g.Tensors() {
		dst := make([]float32, x.RowLen())
		assert.Zero(t, testing.AllocsPerRun(5, func() {
			if err := x.Row(dst, 0); err != nil {
				panic(err)
			}
		}), x.Name)
	}
}

// A count is refused before memory is set aside for it.
func TestBoundedMemory(t *testing.T) {
	for _, data := range []raw{
		header(1<<60, 0).data(64), header(0, 1<<60).data(64),
		header(0, 1).array("k", gguf.KindString, 1<<58).data(64),
		header(0, 1).kind("k", gguf.KindString).u64(1 << 40).data(64),
		header(1, 0).tensor("t", gguf.F32, 0, 1<<50).data(64),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := gguf.Parse(data)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, gguf.ErrCorrupt)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<16))
	}
}
