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

// silu returns x·σ(x) in float64, without overflow.
func silu(x float64) float64 {
	if e := math.Exp(-math.Abs(x)); x < 0 {
		return x * e / (1 + e)
	} else {
		return x / (1 + e)
	}
}

// Every float32 is a gate when GRAPHKV_EXHAUSTIVE is set, which takes minutes. Otherwise the test walks them in steps of a prime.
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
