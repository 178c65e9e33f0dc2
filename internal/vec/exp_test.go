// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ulps returns |got − want| in units of the float32 spacing at want, which is 2⁻¹⁴⁹ among denormals.
func ulps(got float32, want float64) float64 {
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

// Every float32 whose result is neither 0 nor +Inf is in reach; -short walks them in steps of a prime.
func TestExpError(t *testing.T) {
	step := uint32(1009)
	if testing.Short() {
		step = 20011
	}
	buf, dst := make([]float32, 0, 4096), make([]float32, 4096)
	worst, at, checked := 0.0, float32(0), 0
	flush := func() {
		Exp(dst[:len(buf)], buf)
		for i, x := range buf {
			want := math.Exp(float64(x))
			if want >= math.MaxFloat32 || want < 0x1p-150 {
				continue
			}
			checked++
			if u := ulps(dst[i], want); !(u <= worst) {
				worst, at = u, x
			}
		}
		buf = buf[:0]
	}
	for _, sign := range []uint32{0, 1 << 31} {
		last := math.Float32bits(104)
		for b := uint32(0); b <= last; b += step {
			if buf = append(buf, math.Float32frombits(b|sign)); len(buf) == cap(buf) {
				flush()
			}
		}
	}
	flush()
	t.Logf("%d values, worst error %.4f ulp at %v", checked, worst, at)
	require.Greater(t, checked, 50000)
	assert.LessOrEqual(t, worst, 0.51)
}

func TestExpSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	src := []float32{-inf, inf, 0, float32(math.Copysign(0, -1)), -1e30, 1e30, -104, 88.73, -700, -701, 700, 701, 1e-40, -1e-40}
	want := []float32{0, inf, 1, 1, 0, inf, 0, inf, 0, 0, inf, inf, 1, 1}
	dst := make([]float32, len(src))
	Exp(dst, src)
	assert.Equal(t, want, dst)
	Exp(dst[:1], []float32{nan})
	assert.True(t, math.IsNaN(float64(dst[0])))
	Exp(dst[:3], []float32{-103.9, -87.4, 88.72})
	assert.EqualValues(t, math.SmallestNonzeroFloat32, dst[0], "gradual underflow")
	assert.InEpsilon(t, math.Exp(float64(float32(-87.4))), float64(dst[1]), 1e-6, "denormal result")
	assert.Less(t, dst[2], inf)
}

func TestSiLUMulAgainstFloat64(t *testing.T) {
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
		x := float64(g[i])
		want := x / (1 + math.Exp(-x)) * float64(u[i])
		require.LessOrEqual(t, ulps(dst[i], want), 0.51, "gate %v up %v: %v, want %v", g[i], u[i], dst[i], want)
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
}

func BenchmarkExp(b *testing.B) {
	src, dst := random(rand.New(rand.NewPCG(1, 1)), 1024), make([]float32, 1024)
	b.SetBytes(4 * 1024)
	for b.Loop() {
		Exp(dst, src)
	}
}

func BenchmarkSiLUMul(b *testing.B) {
	src, dst := random(rand.New(rand.NewPCG(1, 1)), 1536), make([]float32, 1536)
	b.SetBytes(4 * 1536)
	for b.Loop() {
		SiLUMul(dst, src, src)
	}
}
