// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/model/gguf"
)

// ggufTypes are the formats as the reader of files names them, whose expansion is the reference here.
var ggufTypes = map[Format]gguf.Type{
	F32: gguf.F32, F16: gguf.F16, BF16: gguf.BF16, Q8_0: gguf.Q8_0, Q4_0: gguf.Q4_0, Q4_1: gguf.Q4_1, Q4_K: gguf.Q4_K, Q6_K: gguf.Q6_K,
}

// halfPlaces are the offsets in a block that hold half-precision scales.
var halfPlaces = map[Format][]int{F16: {0}, Q8_0: {0}, Q4_0: {0}, Q4_1: {0, 2}, Q4_K: {0, 2}, Q6_K: {208}}

// blocks returns n rows of k random weights as a file has them. Every quant and scale occurs; half-precision numbers are of either sign,
// sometimes zero or subnormal, never NaN.
func blocks(r *rand.Rand, f Format, n, k int) []byte {
	l := formats[f]
	src := make([]byte, n*k/l.block*l.bytes)
	for i := range src {
		src[i] = byte(r.Uint32())
	}
	for b := 0; b < len(src); b += l.bytes {
		switch f {
		case F32:
			binary.LittleEndian.PutUint32(src[b:], math.Float32bits(float32(r.NormFloat64())))
		case BF16:
			binary.LittleEndian.PutUint16(src[b:], uint16(math.Float32bits(float32(r.NormFloat64()))>>16))
		}
		for _, at := range halfPlaces[f] {
			h := uint16(r.UintN(1<<11)) | uint16(8+r.UintN(8))<<10 // magnitudes around 2⁻⁷ to 2
			switch r.UintN(20) {
			case 0:
				h = 0
			case 1:
				h = uint16(r.UintN(1 << 10))
			}
			binary.LittleEndian.PutUint16(src[b+at:], h&0x3fff|uint16(r.UintN(2))<<15)
		}
	}
	return src
}

// packBlocks packs rows as a file has them.
func packBlocks(f Format, src []byte, n, k int) *Matrix {
	m := NewMatrixOf(f, n, k)
	for i := range n {
		m.SetBlocks(i, src[i*len(src)/n:(i+1)*len(src)/n])
	}
	return m
}

// expanded returns the float32 weights [n][k] of rows as a file has them.
func expanded(t require.TestingT, f Format, src []byte, n, k int) []float32 {
	w := make([]float32, n*k)
	require.NoError(t, gguf.Dequantize(w, ggufTypes[f], src))
	return w
}

func forFormats(t *testing.T, f func(t *testing.T, f Format)) {
	require.Len(t, ggufTypes, len(formats))
	for format := range formats {
		t.Run(Format(format).String(), func(t *testing.T) {
			assert.Equal(t, ggufTypes[Format(format)].String(), Format(format).String())
			f(t, Format(format))
		})
	}
}

// Expanded panels have the bits that the file reader gives, in their places and nowhere else.
func TestExpandIsDequantize(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		if f == F32 {
			return
		}
		onEveryTier(t, func(t *testing.T) {
			for _, blocksPerRow := range []int{1, 2, 3, 7} {
				n, k := 3*Panel, blocksPerRow*f.Block()
				src := blocks(rand.New(rand.NewPCG(uint64(f), uint64(k))), f, n, k)
				want := pack(expanded(t, f, src, n, k), n, k)
				m := packBlocks(f, src, n, k)
				got, whole := guarded(n * k)
				packed, stride := m.blocks(0, 0)
				kernelsFor(cpu.Current()).expand(got, packed, f, stride, 3, k)
				require.Equal(t, bits(want.panels), bits(got), "k = %d", k)
				require.True(t, whole())
				require.EqualValues(t, len(m.packed), m.Bytes())
			}
		})
	})
}

// All 65536 halves, NaN aside whose payload conversion may change.
func TestExpandEveryHalf(t *testing.T) {
	const n, k = Panel, 1 << 16 / Panel
	src := make([]byte, 2*n*k)
	for i := range n * k {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	want := pack(expanded(t, F16, src, n, k), n, k)
	onEveryTier(t, func(t *testing.T) {
		got := make([]float32, n*k)
		kernelsFor(cpu.Current()).expand(got, packBlocks(F16, src, n, k).packed, F16, 2*Panel, 1, k)
		for i, w := range want.panels {
			if w != w {
				require.True(t, got[i] != got[i])
				continue
			}
			require.Equal(t, math.Float32bits(w), math.Float32bits(got[i]), i)
		}
	})
}

func TestMulQuantisedAgainstFloat64(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	forFormats(t, func(t *testing.T, f Format) {
		onEveryTier(t, func(t *testing.T) {
			var ws Workspace
			rapid.Check(t, func(t *rapid.T) {
				rows := rapid.IntRange(1, 20).Draw(t, "rows")
				n := rapid.IntRange(1, 150).Draw(t, "n")
				k := rapid.IntRange(1, max(80/f.Block(), 2)).Draw(t, "blocks") * f.Block()
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				x := newProduct(r, rows, n, k, k+rapid.IntRange(0, 3).Draw(t, "lda − k"), n+rapid.IntRange(0, 3).Draw(t, "ldc − n"))
				src := blocks(r, f, n, k)
				x.w, x.m = expanded(t, f, src, n, k), packBlocks(f, src, n, k)
				Mul(rapid.SampledFrom([]*pool.Pool{nil, p}).Draw(t, "pool"), &ws, x.c, x.ldc, x.a, x.lda, rows, x.m)
				x.checkAgainstFloat64(t)
				require.True(t, x.whole(), "written outside C")
			})
		})
	})
}

// Packed weights give the bits that expanded ones give, for every number of rows: one row straight from the packed form and many by way of
// float32 panels, on both assembly tiers.
func TestQuantisedEqualsExpanded(t *testing.T) {
	p := pool.New(3)
	defer p.Close()
	forFormats(t, func(t *testing.T, f Format) {
		for _, n := range []int{16, 77, 210, 320} {
			const rows = 33
			k := max(192/f.Block(), 1) * f.Block()
			if f.Block() == 1 {
				k += 3
			}
			r := rand.New(rand.NewPCG(uint64(f), uint64(n)))
			src := blocks(r, f, n, k)
			m, w := packBlocks(f, src, n, k), pack(expanded(t, f, src, n, k), n, k)
			a := normal(r, rows*k)
			var assembly []float32
			onEveryTier(t, func(t *testing.T) {
				var ws Workspace
				want, got := make([]float32, rows*n), make([]float32, rows*n)
				Mul(nil, &ws, want, n, a, k, rows, w)
				if cpu.Current() > cpu.Portable {
					if assembly == nil {
						assembly = want
					}
					require.Equal(t, bits(assembly), bits(want))
				}
				for _, count := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 29, rows} {
					clear(got)
					Mul([]*pool.Pool{nil, p}[count%2], &ws, got, n, a, k, count, m)
					require.Equal(t, bits(want[:count*n]), bits(got[:count*n]), "%d rows, n = %d", count, n)
				}
			})
		}
	})
}

func TestMulEach(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	const k = 512
	r := rand.New(rand.NewPCG(3, 4))
	var products []Product
	var want [][]float32
	const most = 20
	a := normal(r, most*k)
	for i, n := range []int{300, 33, 16, 150} {
		f := []Format{Q4_K, F32, Q6_K, F16}[i]
		m := packBlocks(f, blocks(r, f, n, k), n, k)
		products = append(products, Product{W: m, C: make([]float32, most*n), Ldc: n})
		want = append(want, make([]float32, most*n))
	}
	onEveryTier(t, func(t *testing.T) {
		var ws Workspace
		for _, rows := range []int{1, 2, 4, 5, 14, 15, most} {
			for i, x := range products {
				clear(x.C)
				Mul(nil, &ws, want[i], x.Ldc, a, k, rows, x.W)
			}
			MulEach(p, &ws, a, k, rows, products...)
			for i, x := range products {
				require.Equal(t, bits(want[i][:rows*x.Ldc]), bits(x.C[:rows*x.Ldc]), "product %d, %d rows", i, rows)
			}
			assert.Zero(t, testing.AllocsPerRun(5, func() { MulEach(p, &ws, a, k, rows, products...) }), "%d rows", rows)
			apart := slices.Clone(products)
			for i := range apart {
				x := &apart[i]
				x.Rows = make([][]float32, rows)
				for j := range x.Rows {
					x.Rows[j] = make([]float32, x.W.N())
				}
			}
			MulEach(p, &ws, a, k, rows, apart...)
			for i, x := range apart {
				for j, row := range x.Rows {
					require.Equal(t, bits(want[i][j*x.Ldc:][:x.W.N()]), bits(row), "product %d, row %d of %d", i, j, rows)
				}
			}
		}
	})
	assert.Equal(t, &ShapeError{"MulEach", "matrices of 512 and of 3 columns"}, recovered(func() {
		MulEach(nil, new(Workspace), a, k, 1, products[0], Product{W: NewMatrix(1, 3), C: make([]float32, 1), Ldc: 1})
	}))
}

// Rows of a result that stand apart are checked one by one.
func TestMulEachRows(t *testing.T) {
	w, a := NewMatrix(20, 3), make([]float32, 6)
	for want, rows := range map[string][][]float32{
		"1 rows for the result, want 2":              {make([]float32, 20)},
		"row 1 of the result has 19 values, want 20": {make([]float32, 20), make([]float32, 19)},
	} {
		assert.Equal(t, &ShapeError{"MulEach", want}, recovered(func() { MulEach(nil, new(Workspace), a, 3, 2, Product{W: w, Rows: rows}) }))
	}
}

func recovered(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// Large products are cut into parts of fewer rows and blocks of fewer tiles.
func TestQuantisedLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work")
	}
	const rows, n, k = 700, 80, 2048
	r := rand.New(rand.NewPCG(8, 8))
	src := blocks(r, Q4_1, n, k)
	m, w := packBlocks(Q4_1, src, n, k), pack(expanded(t, Q4_1, src, n, k), n, k)
	a, want, got := normal(r, rows*k), make([]float32, rows*n), make([]float32, rows*n)
	onEveryTier(t, func(t *testing.T) {
		var ws Workspace
		Mul(pool.Default(), &ws, want, n, a, k, rows, w)
		Mul(pool.Default(), &ws, got, n, a, k, rows, m)
		require.Equal(t, bits(want), bits(got))
	})
}

func TestSetBlocksFromManyGoroutines(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		n, k := 40, 2*f.Block()
		src := blocks(rand.New(rand.NewPCG(1, 2)), f, n, k)
		want, m := packBlocks(f, src, n, k), NewMatrixOf(f, n, k)
		pool.Default().For(n, func(_, i int) { m.SetBlocks(i, src[i*len(src)/n:(i+1)*len(src)/n]) })
		assert.Equal(t, want.packed, m.packed)
		assert.Equal(t, want.panels, m.panels)
		assert.Equal(t, f, m.Format())
	})
}

func TestFormatErrors(t *testing.T) {
	m := NewMatrixOf(Q4_1, 20, 64)
	for want, call := range map[string]func(){
		"65 columns are not blocks of 32, as Q8_0 has them": func() { NewMatrixOf(Q8_0, 1, 65) },
		"unknown format 8":                                      func() { NewMatrixOf(8, 1, 65) },
		"float32 row for a matrix in Q4_1":                      func() { m.SetRow(0, make([]float32, 64)) },
		"row 20 of a matrix of 20 rows":                         func() { m.SetBlocks(20, make([]byte, 40)) },
		"row of 41 bytes for 64 columns in Q4_1, which take 40": func() { m.SetBlocks(0, make([]byte, 41)) },
	} {
		e, ok := recovered(call).(*ShapeError)
		require.True(t, ok, want)
		assert.Equal(t, want, e.Detail)
	}
	assert.Equal(t, "Format(9)", Format(9).String())
}

// Matrices of an arena are what others are, and do not share memory: those that fit a slab together, those that do not, and a large one.
func TestArena(t *testing.T) {
	var arena Arena
	type matrix struct{ got, want *Matrix }
	var ms []matrix
	r := rand.New(rand.NewPCG(6, 6))
	for _, s := range []struct {
		f    Format
		n, k int
	}{{Q4_1, 33, 64}, {F32, 5, 7}, {Q6_K, 40, 256}, {F32, 1024, 1600}, {Q8_0, 2, 32}, {F32, 1024, 1900}, {F16, 3000, 1500}, {F32, 0, 9}, {BF16, 20, 3}} {
		src := blocks(r, s.f, s.n, s.k)
		m := matrix{arena.NewMatrix(s.f, s.n, s.k), NewMatrixOf(s.f, s.n, s.k)}
		for i := range s.n {
			row := src[i*len(src)/s.n : (i+1)*len(src)/s.n]
			m.got.SetBlocks(i, row)
			m.want.SetBlocks(i, row)
		}
		ms = append(ms, m)
	}
	for i, m := range ms {
		require.True(t, slices.Equal(bits(m.want.panels), bits(m.got.panels)) && bytes.Equal(m.want.packed, m.got.packed), "matrix %d", i)
		for _, start := range []unsafe.Pointer{unsafe.Pointer(unsafe.SliceData(m.got.panels)), unsafe.Pointer(unsafe.SliceData(m.got.packed))} {
			assert.Zero(t, uintptr(start)%64, "matrix %d", i)
		}
	}
}
