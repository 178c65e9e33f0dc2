// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/graphkv/graphkv/internal/cpu"
)

// BenchmarkKernels reports ns per element on arrays that stay in the first-level cache, on every tier. BenchmarkKernels/copy is the memory
// roof: one load and one store an element.
func BenchmarkKernels(b *testing.B) {
	const n, dim = 1536, 64
	r := rand.New(rand.NewPCG(1, 1))
	dst, x, y := make([]float32, n), random(r, n), random(r, n)
	rows := Rows{
		Rows: n / dim / 3, Heads: 3, Dim: dim, Pairs: dim / 2, NextRow: 3 * dim, Stride: dim,
		Table: random(r, n/3), NextPosition: dim, CosFactor: 1, SinFactor: 1, Scale: 1,
	}
	for _, k := range []struct {
		name string
		run  func()
	}{
		{"copy", func() { copy(dst, x) }},
		{"Add", func() { Add(dst, x) }},
		{"SiLUMul", func() { SiLUMul(dst, x, y) }},
		{"RMSNorm", func() { RMSNorm(dst, x, y, 1e-5) }},
		{"RotateInterleaved", func() { RotateInterleaved(dst, x, &rows) }},
		{"RotateHalfSplit", func() { RotateHalfSplit(dst, x, &rows) }},
	} {
		for _, tier := range cpu.Tiers() {
			b.Run(fmt.Sprintf("%s/%v", k.name, tier), func(b *testing.B) {
				defer cpu.Lower(tier)()
				clear(dst)
				for b.Loop() {
					k.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/elem")
			})
		}
	}
}
