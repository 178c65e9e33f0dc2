// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

// openFixture opens the file made by testdata/dequant.py with the Python
// package gguf.
func openFixture(t testing.TB) *gguf.File {
	f, err := gguf.Open("testdata/dequant.gguf")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// sameFloats requires equal bits, save that any NaN equals any other.
func sameFloats(t *testing.T, want, got []float32, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) && !(want[i] != want[i] && got[i] != got[i]) {
			t.Fatalf("%s[%d] = %v (%#x), want %v (%#x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// expand returns all rows of a tensor.
func expand(t testing.TB, x gguf.Tensor) []float32 {
	out := make([]float32, x.RowLen()*x.Rows())
	for i := range x.Rows() {
		require.NoError(t, x.Row(out[i*x.RowLen():], i))
	}
	return out
}

func TestDequantizeAgainstPython(t *testing.T) {
	f := openFixture(t)
	for name, typ := range map[string]gguf.Type{
		"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0,
		"q4_0": gguf.Q4_0, "q4_1": gguf.Q4_1, "q4_k": gguf.Q4_K, "q6_k": gguf.Q6_K,
	} {
		t.Run(typ.String(), func(t *testing.T) {
			x, ok := f.Tensor(name)
			require.True(t, ok)
			require.Equal(t, typ, x.Type)
			e, ok := f.Tensor(name + ".expect")
			require.True(t, ok)
			require.Equal(t, x.Shape, e.Shape)
			want := make([]float32, len(e.Data)/4)
			for i := range want {
				want[i] = math.Float32frombits(binary.LittleEndian.Uint32(e.Data[4*i:]))
			}
			sameFloats(t, want, expand(t, x), name)

			whole := make([]float32, len(want))
			require.NoError(t, gguf.Dequantize(whole, x.Type, x.Data))
			sameFloats(t, want, whole, name)
		})
	}
}

// Every half-precision number, by a checksum over the bits of all that are not
// NaN.
func TestAllHalves(t *testing.T) {
	want, err := openFixture(t).Uint("f16.bits_sum")
	require.NoError(t, err)
	src := make([]byte, 2*65536)
	for i := range 65536 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	dst := make([]float32, 65536)
	require.NoError(t, gguf.Dequantize(dst, gguf.F16, src))
	var sum uint64
	for i, x := range dst {
		if isNaN := i&0x7fff > 0x7c00; isNaN {
			assert.True(t, x != x, "half %#x", i)
		} else {
			sum += uint64(math.Float32bits(x)) * uint64(i+1)
		}
	}
	assert.Equal(t, want, sum)
}

func TestMetadataAgainstPython(t *testing.T) {
	f := openFixture(t)
	for key, want := range map[string]any{
		"general.architecture": "fixture",
		"one.uint8":            uint8(250), "one.int8": int8(-100),
		"one.uint16": uint16(65000), "one.int16": int16(-30000),
		"one.uint32": uint32(4_000_000_000), "one.int32": int32(-2_000_000_000),
		"one.uint64": uint64(18_000_000_000_000_000_000), "one.int64": int64(-9_000_000_000_000_000_000),
		"one.float32": float32(0.1), "one.float64": 0.1, "one.bool": true, "one.string": "Ġé\n",
		"array.int32": []int32{-1, 0, 7}, "array.float32": []float32{0.5, -2.25},
		"array.bool": []bool{true, false}, "array.string": []string{"", "a", " b\n", "日本"},
		"array.nested": []any{[]int32{1, 2}, []int32{3}},
	} {
		v, ok := f.Value(key)
		require.True(t, ok, key)
		assert.Equal(t, want, v.Any(), key)
	}
	assert.Equal(t, "general.architecture", f.Keys()[0])
	assert.Equal(t, uint32(3), f.Version())
}

func TestGetters(t *testing.T) {
	f := openFixture(t)
	get := map[string]func(string) (any, error){
		"String":  func(k string) (any, error) { return f.String(k) },
		"Uint":    func(k string) (any, error) { return f.Uint(k) },
		"Int":     func(k string) (any, error) { return f.Int(k) },
		"Float":   func(k string) (any, error) { return f.Float(k) },
		"Bool":    func(k string) (any, error) { return f.Bool(k) },
		"Strings": func(k string) (any, error) { return f.Strings(k) },
		"Ints":    func(k string) (any, error) { return f.Ints(k) },
		"Floats":  func(k string) (any, error) { return f.Floats(k) },
	}
	// What each getter makes of each key; any getter not named refuses it.
	want := map[string]map[string]any{
		"one.uint8":     {"Uint": uint64(250), "Int": int64(250)},
		"one.int8":      {"Int": int64(-100)},
		"one.uint16":    {"Uint": uint64(65000), "Int": int64(65000)},
		"one.int16":     {"Int": int64(-30000)},
		"one.uint32":    {"Uint": uint64(4e9), "Int": int64(4e9)},
		"one.int32":     {"Int": int64(-2e9)},
		"one.uint64":    {"Uint": uint64(18e18)},
		"one.int64":     {"Int": int64(-9e18)},
		"one.float32":   {"Float": float64(float32(0.1))},
		"one.float64":   {"Float": 0.1},
		"one.bool":      {"Bool": true},
		"one.string":    {"String": "Ġé\n"},
		"array.int32":   {"Ints": []int64{-1, 0, 7}},
		"array.float32": {"Floats": []float64{0.5, -2.25}},
		"array.bool":    {},
		"array.string":  {"Strings": []string{"", "a", " b\n", "日本"}},
		"array.nested":  {},
	}
	for key, allowed := range want {
		for name, call := range get {
			got, err := call(key)
			if x, ok := allowed[name]; ok {
				require.NoError(t, err, "%s(%s)", name, key)
				assert.Equal(t, x, got, "%s(%s)", name, key)
				continue
			}
			assert.ErrorIs(t, err, gguf.ErrType, "%s(%s)", name, key)
			assert.ErrorContains(t, err, `"`+key+`"`)
		}
	}
	for name, call := range get {
		_, err := call("no.such.key")
		assert.ErrorIs(t, err, gguf.ErrMissing, name)
		assert.False(t, errors.Is(err, gguf.ErrType), name)
		assert.ErrorContains(t, err, `"no.such.key"`)
	}
}
