// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

// spacing returns the distance of float32 numbers at x, which is 2⁻¹⁴⁹ among denormals.
func spacing(x float64) float64 {
	if x == 0 {
		return 0x1p-149
	}
	_, e := math.Frexp(x)
	return math.Ldexp(1, max(e-24, -149))
}

// expULPs returns how far got is from e^x in units of the spacing of float32, with the spacing below 2¹²⁸ for +Inf.
func expULPs(got, x float32) float64 {
	want := min(math.Exp(float64(x)), 0x1p128)
	if math.IsInf(float64(got), 1) {
		return (0x1p128 - want) / 0x1p104
	}
	if want == 0x1p128 {
		return math.Inf(1)
	}
	return math.Abs(float64(got)-want) / spacing(want)
}

// All float32 are checked when GRAPHKV_EXHAUSTIVE is set, which takes minutes. Otherwise the test walks them in steps of a prime.
func TestExpError(t *testing.T) {
	step := uint64(4001)
	switch {
	case os.Getenv("GRAPHKV_EXHAUSTIVE") != "":
		step = 1
	case testing.Short():
		step = 40009
	}
	onEveryTier(t, func(t *testing.T) {
		bound := 1.02 // 1.0128 at 59.306, over all float32
		if cpu.Current() == cpu.Portable {
			bound = 0.51
		}
		src, dst := make([]float32, 0, 4096), make([]float32, 4096)
		worst, at := 0.0, float32(0)
		flush := func() {
			Exp(dst[:len(src)], src)
			for i, x := range src {
				got := dst[i]
				switch {
				case x != x:
					if got == got {
						t.Fatalf("e^NaN is %v", got)
					}
				case x > 89:
					if !math.IsInf(float64(got), 1) {
						t.Fatalf("e^%v is %v", x, got)
					}
				case x < -104:
					if math.Float32bits(got) != 0 {
						t.Fatalf("e^%v is %v", x, got)
					}
				default:
					if u := expULPs(got, x); !(u <= worst) {
						worst, at = u, x
					}
				}
			}
			src = src[:0]
		}
		for b := uint64(0); b < 1<<32; b += step {
			if src = append(src, math.Float32frombits(uint32(b))); len(src) == cap(src) {
				flush()
			}
		}
		flush()
		t.Logf("worst error %.4f ulp at %v", worst, at)
		assert.LessOrEqual(t, worst, bound)
		assert.Greater(t, worst, bound/2, "not a single result was rounded: nothing was compared")
	})
}

func TestExpSpecialValues(t *testing.T) {
	onEveryTier(t, func(t *testing.T) {
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		src := []float32{-inf, inf, 0, float32(math.Copysign(0, -1)), -1e30, 1e30, -104, 88.73, -700, -701, 700, 701, 1e-40, -1e-40}
		want := []float32{0, inf, 1, 1, 0, inf, 0, inf, 0, 0, inf, inf, 1, 1}
		dst := make([]float32, len(src))
		Exp(dst, src)
		assert.Equal(t, want, dst)
		Exp(dst[:2], []float32{nan, float32(math.Copysign(math.NaN(), -1))})
		assert.True(t, math.IsNaN(float64(dst[0])) && math.IsNaN(float64(dst[1])))
		Exp(dst[:3], []float32{-103.9, -87.4, 88.72})
		assert.EqualValues(t, math.SmallestNonzeroFloat32, dst[0], "gradual underflow")
		assert.InEpsilon(t, math.Exp(float64(float32(-87.4))), float64(dst[1]), 1e-6, "denormal result")
		assert.Less(t, dst[2], inf)
	})
}

// silu returns x·σ(x) in float64, without overflow.
func silu(x float64) float64 {
	if e := math.Exp(-math.Abs(x)); x < 0 {
		return x * e / (1 + e)
	} else {
		return x / (1 + e)
	}
}

// Every gate when GRAPHKV_EXHAUSTIVE is set, see TestExpError.
func TestSiLUMulError(t *testing.T) {
	step := uint64(4001)
	switch {
	case os.Getenv("GRAPHKV_EXHAUSTIVE") != "":
		step = 1
	case testing.Short():
		step = 40009
	}
	onEveryTier(t, func(t *testing.T) {
		bound, tiny := 3.4, 0x1p-150 // 3.3938 at −3.2112513, over all float32
		if cpu.Current() == cpu.Portable {
			bound, tiny = 0.51, 0
		}
		gate, up, dst := make([]float32, 0, 4096), make([]float32, 4096), make([]float32, 4096)
		for i := range up {
			up[i] = 1
		}
		worst, at := 0.0, float32(0)
		flush := func() {
			SiLUMul(dst[:len(gate)], gate, up[:len(gate)])
			for i, x := range gate {
				want := silu(float64(x))
				if math.IsInf(float64(x), -1) || x != x {
					if dst[i] == dst[i] {
						t.Fatalf("silu(%v) is %v", x, dst[i])
					}
					continue
				}
				if math.IsInf(want, 1) {
					if float64(dst[i]) != want {
						t.Fatalf("silu(%v) is %v", x, dst[i])
					}
					continue
				}
				off := max(math.Abs(float64(dst[i])-want)-math.Abs(float64(x))*tiny, 0)
				if u := off / spacing(want); !(u <= worst) {
					worst, at = u, x
				}
			}
			gate = gate[:0]
		}
		for b := uint64(0); b < 1<<32; b += step {
			if gate = append(gate, math.Float32frombits(uint32(b))); len(gate) == cap(gate) {
				flush()
			}
		}
		flush()
		t.Logf("worst error %.4f ulp at %v", worst, at)
		assert.LessOrEqual(t, worst, bound)
		assert.Greater(t, worst, bound/2)
	})
}

func TestSiLUMulAgainstFloat64(t *testing.T) {
	onEveryTier(t, func(t *testing.T) {
		bound, tiny := 3.4, 0x1p-150
		if cpu.Current() == cpu.Portable {
			bound, tiny = 0, 0
		}
		r := rand.New(rand.NewPCG(3, 4))
		const n = 20000
		g, u, dst := make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range g {
			g[i] = float32(r.NormFloat64() * math.Pow(2, float64(r.IntN(12)-4)))
			u[i] = float32(r.NormFloat64())
		}
		copy(g, []float32{0, -1e30, 1e30, -150, 150, -800, 800})
		SiLUMul(dst, g, u)
		for i := range g {
			unit := silu(float64(g[i]))
			want := unit * float64(u[i])
			limit := (bound*spacing(unit)+tiny*math.Abs(float64(g[i])))*math.Abs(float64(u[i])) + 0.51*spacing(want)
			require.LessOrEqual(t, math.Abs(float64(dst[i])-want), limit, "gate %v up %v: %v, want %v", g[i], u[i], dst[i], want)
		}
		in := append([]float32(nil), g...)
		SiLUMul(in, in, u)
		assert.Equal(t, dst, in, "in place")

		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		SiLUMul(dst[:4], []float32{nan, 1, inf, -inf}, []float32{1, nan, 1, 1})
		assert.True(t, math.IsNaN(float64(dst[0])))
		assert.True(t, math.IsNaN(float64(dst[1])))
		assert.Equal(t, inf, dst[2])
		assert.True(t, math.IsNaN(float64(dst[3])))
	})
}
