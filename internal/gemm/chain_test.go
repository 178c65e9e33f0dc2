// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

// fma32 returns x·y+z rounded once. The product is exact in float64; the sum is rounded to odd (Boldo and Melquiond 2008), after which
// rounding to float32 gives what one rounding would.
func fma32(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	t := s - p
	if e := (p - (s - t)) + (c - t); e != 0 && math.Float64bits(s)&1 == 0 {
		if (e > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}

func TestFMA32AgainstExactArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	differs := 0
	for range 20000 {
		x, y := float32(r.NormFloat64()), float32(r.NormFloat64())
		z := float32(math.Ldexp(r.NormFloat64(), r.IntN(60)-30))
		exact := new(big.Float).SetPrec(300).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
		exact.Add(exact, big.NewFloat(float64(z)))
		want, _ := exact.Float32()
		require.Equal(t, want, fma32(x, y, z), "%v·%v+%v", x, y, z)
		if want != float32(x*y)+z {
			differs++
		}
	}
	require.Greater(t, differs, 1000, "the two roundings must be told apart")
}

// Every element is one chain along k from 0, bit for bit: of fused multiply-adds in assembly, of rounded products in portable code.
func TestEveryElementIsOneChain(t *testing.T) {
	onEveryTier(t, func(t *testing.T) {
		step := fma32
		if cpu.Current() == cpu.Portable {
			step = func(x, y, z float32) float32 { return float32(x*y) + z }
		}
		var ws Workspace
		r := rand.New(rand.NewPCG(11, 12))
		for _, k := range []int{1, 3, 4, 129, 576} {
			const n = 69
			w := normal(r, n*k)
			m := pack(w, n, k)
			for rows := 1; rows <= 16; rows++ {
				a, c := normal(r, rows*k), make([]float32, rows*n)
				Mul(nil, &ws, c, n, a, k, rows, m)
				for i := range rows {
					for j := range n {
						var want float32
						for x := range k {
							want = step(a[i*k+x], w[j*k+x], want)
						}
						if math.Float32bits(want) != math.Float32bits(c[i*n+j]) {
							t.Fatalf("[%d][%d] of %d×%d×%d: %v, want %v", i, j, rows, n, k, c[i*n+j], want)
						}
					}
				}
			}
		}
	})
}
