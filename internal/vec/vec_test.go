// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const eps32 = 0x1p-24 // half a unit in the last place of 1

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func TestRMSNormAgainstFloat64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 700).Draw(t, "n")
		scale := math.Pow(2, float64(rapid.IntRange(-60, 60).Draw(t, "log2 scale")))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		x, w, dst := random(r, n), random(r, n), make([]float32, n)
		var sum float64
		for i := range x {
			x[i] = float32(float64(x[i]) * scale)
			sum += float64(x[i]) * float64(x[i])
		}
		RMSNorm(dst, x, w, 1e-5)
		den := math.Sqrt(sum/float64(n) + float64(float32(1e-5)))
		for i := range dst {
			want := float64(x[i]) / den * float64(w[i])
			if math.Abs(float64(dst[i])-want) > math.Abs(want)*eps32*1.001+0x1p-149 {
				t.Fatalf("element %d of %d: %v, want %v", i, n, dst[i], want)
			}
		}
		RMSNorm(x, x, w, 1e-5)
		for i := range dst {
			if x[i] != dst[i] {
				t.Fatal("in place differs")
			}
		}
	})
	RMSNorm(nil, nil, nil, 1e-5)
	big := []float32{3e38, -3e38}
	RMSNorm(big, big, []float32{1, 1}, 0)
	assert.Equal(t, []float32{1, -1}, big, "the sum of squares must not overflow")
}

func TestAdd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		x, y := random(r, n), random(r, n)
		sum := append([]float32(nil), y...)
		Add(sum, x)
		for i := range x {
			assert.Equal(t, y[i]+x[i], sum[i])
		}
	}
}

func TestLengthMismatchPanicsAndWritesNothing(t *testing.T) {
	a, b := []float32{1, 2, 3}, []float32{1, 2}
	for name, call := range map[string]func(){
		"Add":     func() { Add(a, b) },
		"RMSNorm": func() { RMSNorm(a, a, b, 0) },
		"SiLUMul": func() { SiLUMul(a, a, b) },
	} {
		func() {
			defer func() {
				e, ok := recover().(*LengthError)
				require.True(t, ok, name)
				assert.Equal(t, name, e.Func)
				assert.Contains(t, e.Error(), "length 2 among slices of length 3")
			}()
			call()
		}()
		assert.Equal(t, []float32{1, 2, 3}, a, name)
	}
}

func TestNothingAllocates(t *testing.T) {
	x, y, z := make([]float32, 64), make([]float32, 64), make([]float32, 64)
	assert.Zero(t, testing.AllocsPerRun(20, func() {
		Add(x, y)
		RMSNorm(x, y, z, 1e-5)
		SiLUMul(x, y, z)
	}))
}
