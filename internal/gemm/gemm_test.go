// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/pool"
)

// onEveryTier runs f once per tier that the machine has, with the higher ones switched off.
func onEveryTier(t *testing.T, f func(t *testing.T)) {
	for _, tier := range cpu.Tiers() {
		t.Run(tier.String(), func(t *testing.T) {
			defer cpu.Lower(tier)()
			f(t)
		})
	}
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// pack packs w [n][k].
func pack(w []float32, n, k int) *Matrix {
	m := NewMatrix(n, k)
	for i := range n {
		m.SetRow(i, w[i*k:(i+1)*k])
	}
	return m
}

// guarded returns n values inside a larger slice filled with a pattern, and a function that reports whether the pattern is whole.
func guarded(n int) (x []float32, whole func() bool) {
	const band = 64
	pattern := func(i int) float32 { return math.Float32frombits(0x7fc00000 | uint32(i)) } // NaNs: a stray read shows in a result
	all := make([]float32, n+2*band)
	for i := range all {
		all[i] = pattern(i)
	}
	return all[band : band+n : band+n], func() bool {
		for i, v := range all {
			if (i < band || i >= band+n) && math.Float32bits(v) != math.Float32bits(pattern(i)) {
				return false
			}
		}
		return true
	}
}

// product is a drawn problem with guard bands around every buffer and between rows.
type product struct {
	rows, n, k, lda, ldc int
	a, w, c              []float32
	m                    *Matrix
	whole                func() bool
}

func newProduct(r *rand.Rand, rows, n, k, lda, ldc int) *product {
	a, aWhole := guarded(max((rows-1)*lda+k, 0))
	c, cWhole := guarded(max((rows-1)*ldc+n, 0))
	w := normal(r, n*k)
	for i := range rows {
		copy(a[i*lda:i*lda+k], normal(r, k))
	}
	before := append([]float32(nil), a...)
	gap := append([]float32(nil), c...)
	p := &product{rows: rows, n: n, k: k, lda: lda, ldc: ldc, a: a, w: w, c: c, m: pack(w, n, k)}
	p.whole = func() bool {
		ok := aWhole() && cWhole()
		for i := range a {
			ok = ok && math.Float32bits(a[i]) == math.Float32bits(before[i])
		}
		for i := range c {
			if i%ldc >= n {
				ok = ok && math.Float32bits(c[i]) == math.Float32bits(gap[i])
			}
		}
		return ok
	}
	return p
}

// checkAgainstFloat64 holds every element against the sum in float64 with the a-priori bound γ_K·Σ|a||w| (Higham, Accuracy and Stability
// of Numerical Algorithms, section 3.1; γ_k = k·u/(1−k·u), u = 2⁻²⁴), to which the rounding of products adds one more.
func (p *product) checkAgainstFloat64(t require.TestingT) {
	u := 0x1p-24
	gamma := float64(p.k+1) * u / (1 - float64(p.k+1)*u)
	for i := range p.rows {
		for j := range p.n {
			var want, scale float64
			for x := range p.k {
				v := float64(p.a[i*p.lda+x]) * float64(p.w[j*p.k+x])
				want += v
				scale += math.Abs(v)
			}
			got := float64(p.c[i*p.ldc+j])
			if !(math.Abs(got-want) <= gamma*scale) {
				require.Failf(t, "wrong element", "[%d][%d] of %d×%d×%d: %v, want %v ± %v", i, j, p.rows, p.n, p.k, got, want, gamma*scale)
			}
		}
	}
}

func TestMulAgainstFloat64(t *testing.T) {
	pools := []*pool.Pool{nil, pool.New(1), pool.New(2), pool.New(5)}
	defer func() {
		for _, p := range pools[1:] {
			p.Close()
		}
	}()
	onEveryTier(t, func(t *testing.T) {
		var ws Workspace
		rapid.Check(t, func(t *rapid.T) {
			rows := rapid.IntRange(0, 40).Draw(t, "rows")
			n := rapid.IntRange(0, 150).Draw(t, "n")
			k := rapid.IntRange(0, 90).Draw(t, "k")
			lda := k + rapid.IntRange(0, 3).Draw(t, "lda − k")
			ldc := max(n+rapid.IntRange(0, 3).Draw(t, "ldc − n"), 1)
			p := newProduct(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), rows, n, k, lda, ldc)
			Mul(rapid.SampledFrom(pools).Draw(t, "pool"), &ws, p.c, ldc, p.a, lda, rows, p.m)
			p.checkAgainstFloat64(t)
			require.True(t, p.whole(), "written outside C")
		})
	})
}

func TestMulLargeAgainstGonum(t *testing.T) {
	for _, s := range [][3]int{{1, 1536, 576}, {67, 576, 1536}, {200, 200, 2100}, {3, 5003, 64}, {1200, 33, 1000}} {
		rows, n, k := s[0], s[1], s[2]
		r := rand.New(rand.NewPCG(uint64(rows), uint64(n)))
		p := newProduct(r, rows, n, k, k, n)
		want := make([]float32, rows*n)
		gonum.Implementation{}.Sgemm(blas.NoTrans, blas.Trans, rows, n, k, 1, p.a, k, p.w, k, 0, want, n)
		// Both sides are within γ_K·Σ|a||w| of the truth, and Σ|a||w| ≤ ‖a‖·‖w‖.
		normsA, normsW := norms(p.a, k), norms(p.w, k)
		u := float64(k+1) * 0x1p-24
		onEveryTier(t, func(t *testing.T) {
			var ws Workspace
			Mul(pool.Default(), &ws, p.c, n, p.a, k, rows, p.m)
			worst := 0.0
			for i := range want {
				diff := math.Abs(float64(p.c[i]) - float64(want[i]))
				if bound := 2 * u / (1 - u) * normsA[i/n] * normsW[i%n]; !(diff <= bound) {
					t.Fatalf("%v: element %d: %v, want %v ± %v", s, i, p.c[i], want[i], bound)
				}
				worst = max(worst, diff)
			}
			assert.Less(t, worst, 1e-2, "%v: within the bound, but far from what rounding of normal values gives", s)
			assert.True(t, p.whole())
		})
	}
}

// norms returns the Euclidean norms of the rows of x [...][k].
func norms(x []float32, k int) []float64 {
	out := make([]float64, len(x)/k)
	for i, v := range x {
		out[i/k] += float64(v) * float64(v)
	}
	for i := range out {
		out[i] = math.Sqrt(out[i])
	}
	return out
}

// A row's bits must not depend on the other rows, its place, the workers, or (among assembly tiers) the tier.
func TestRowsAreBitwiseIndependent(t *testing.T) {
	pools := []*pool.Pool{nil, pool.New(2), pool.New(3)}
	defer pools[1].Close()
	defer pools[2].Close()
	for _, s := range [][2]int{{16, 1}, {64, 576}, {70, 33}, {37, 257}, {130, 1536}, {16, 5000}} {
		n, k := s[0], s[1]
		const rows = 31
		r := rand.New(rand.NewPCG(uint64(n), uint64(k)))
		a, w := normal(r, rows*k), normal(r, n*k)
		m := pack(w, n, k)
		var assembly []float32
		onEveryTier(t, func(t *testing.T) {
			var ws Workspace
			alone := make([]float32, rows*n) // every row in a call of its own
			for i := range rows {
				Mul(nil, &ws, alone[i*n:(i+1)*n], n, a[i*k:(i+1)*k], k, 1, m)
			}
			if cpu.Current() > cpu.Portable {
				if assembly == nil {
					assembly = alone
				}
				require.Equal(t, bits(assembly), bits(alone), "tiers differ, %v", s)
			}
			c := make([]float32, rows*n)
			for from := range 2 {
				for count := 1; count <= rows-from; count++ {
					clear(c)
					Mul(pools[count%3], &ws, c, n, a[from*k:], k, count, m)
					require.Equal(t, bits(alone[from*n:(from+count)*n]), bits(c[:count*n]), "rows %d + %d, %v", from, count, s)
				}
			}
		})
	}
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func TestNonFiniteValuesPropagate(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	const rows, n, k = 9, 35, 20
	onEveryTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		a, w := normal(r, rows*k), normal(r, n*k)
		a[2*k+3], a[4*k+5], a[7*k] = nan, inf, -inf
		w[11*k+4], w[34*k+19] = nan, inf
		for j := range n {
			if j%2 == 0 {
				w[j*k+5] = 0 // inf·0
			}
		}
		c := make([]float32, rows*n)
		var ws Workspace
		Mul(pool.Default(), &ws, c, n, a, k, rows, pack(w, n, k))
		for i := range rows {
			for j := range n {
				var want float64
				for x := range k {
					want += float64(a[i*k+x]) * float64(w[j*k+x])
				}
				got := float64(c[i*n+j])
				switch {
				case math.IsNaN(want):
					assert.True(t, math.IsNaN(got), "[%d][%d]", i, j)
				case math.IsInf(want, 0):
					assert.Equal(t, want, got, "[%d][%d]", i, j)
				default:
					assert.InDelta(t, want, got, 1e-4, "[%d][%d]", i, j)
				}
			}
		}
	})
}

func TestMulFromManyGoroutines(t *testing.T) {
	p := pool.New(3)
	defer p.Close()
	const rows, n, k = 29, 100, 300
	r := rand.New(rand.NewPCG(9, 9))
	a, m := normal(r, rows*k), pack(normal(r, n*k), n, k)
	want := make([]float32, rows*n)
	Mul(nil, new(Workspace), want, n, a, k, rows, m)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			var ws Workspace
			for range 4 {
				c := make([]float32, rows*n)
				Mul(p, &ws, c, n, a, k, rows, m)
				assert.Equal(t, bits(want), bits(c))
			}
		})
	}
	wg.Wait()
}

func TestMulDoesNotAllocate(t *testing.T) {
	onEveryTier(t, func(t *testing.T) {
		p := pool.New(2)
		defer p.Close()
		var ws Workspace
		const n, k = 200, 300
		m := NewMatrix(n, k)
		for _, rows := range []int{1, 2, 40} {
			a, c := make([]float32, rows*k), make([]float32, rows*n)
			Mul(p, &ws, c, n, a, k, rows, m)
			assert.Zero(t, testing.AllocsPerRun(10, func() { Mul(p, &ws, c, n, a, k, rows, m) }), "%d rows", rows)
		}
	})
}

func TestSetRowFromManyGoroutines(t *testing.T) {
	const n, k = 50, 40
	w := normal(rand.New(rand.NewPCG(1, 1)), n*k)
	want := pack(w, n, k)
	m := NewMatrix(n, k)
	pool.Default().For(n, func(_, i int) { m.SetRow(i, w[i*k:(i+1)*k]) })
	assert.Equal(t, want.panels, m.panels)
	assert.Equal(t, n, m.N())
	assert.Equal(t, k, m.K())
	assert.EqualValues(t, 64*40*4, m.Bytes())
	for i := range n { // the layout is part of the contract: other kernels may read it
		for x := range k {
			assert.Equal(t, w[i*k+x], m.panels[(i/16*k+x)*16+i%16])
		}
	}
}

func TestShapeErrors(t *testing.T) {
	var ws Workspace
	m := NewMatrix(20, 10)
	f := func(n int) []float32 { return make([]float32, n) }
	for want, call := range map[string]func(){
		"negative dimension in -1 × 3":                     func() { NewMatrix(-1, 3) },
		"row 20 of a matrix of 20 rows":                    func() { m.SetRow(20, f(10)) },
		"row -1 of a matrix of 20 rows":                    func() { m.SetRow(-1, f(10)) },
		"row of 9 values for a matrix of 10 columns":       func() { m.SetRow(0, f(9)) },
		"negative number of rows -1":                       func() { Mul(nil, &ws, nil, 20, nil, 10, -1, m) },
		"ldc 19 is below N = 20":                           func() { Mul(nil, &ws, f(40), 19, f(20), 10, 2, m) },
		"lda 9 is below K = 10":                            func() { Mul(nil, &ws, f(40), 20, f(20), 9, 2, m) },
		"c has 39 values, 2 rows of stride 20 need 40":     func() { Mul(nil, &ws, f(39), 20, f(20), 10, 2, m) },
		"a has 19 values, 2 rows of stride 10 need 20":     func() { Mul(nil, &ws, f(40), 20, f(19), 10, 2, m) },
		"c has 100 values, 5 rows of stride 21 need 104":   func() { Mul(nil, &ws, f(100), 21, f(50), 10, 5, m) },
		"a has 50 values, 5 rows of stride 2000 need 8010": func() { Mul(nil, &ws, f(100), 20, f(50), 2000, 5, m) },
	} {
		func() {
			defer func() {
				e, ok := recover().(*ShapeError)
				require.True(t, ok, want)
				assert.Equal(t, want, e.Detail)
				assert.Equal(t, fmt.Sprintf("gemm: %s: %s", e.Func, want), e.Error())
			}()
			call()
		}()
	}
}
