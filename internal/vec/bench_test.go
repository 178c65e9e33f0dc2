// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/gemm/fmapeak"
)

// BenchmarkKernels reports ns per element on arrays that stay in the first-level cache, on every tier, and, where arithmetic bounds a
// kernel, what part of the FMA rate its operations on the two FMA units use. BenchmarkKernels/copy is the memory roof: one load and one store
// an element.
func BenchmarkKernels(b *testing.B) {
	const n, dim = 1536, 64
	r := rand.New(rand.NewPCG(1, 1))
	dst, x, y := make([]float32, n), random(r, n), random(r, n)
	hidden := make([]float32, n) // as a softmax sees masked scores
	for i := range hidden {
		hidden[i] = float32(math.Inf(-1))
	}
	rows := Rows{
		Rows: n / dim / 3, Heads: 3, Dim: dim, Pairs: dim / 2, NextRow: 3 * dim, Stride: dim,
		Table: random(r, n/3), NextPosition: dim, CosFactor: 1, SinFactor: 1, Scale: 1,
	}
	for _, k := range []struct {
		name string
		ops  int // instructions on the FMA units for a register of elements
		run  func()
	}{
		{"copy", 0, func() { copy(dst, x) }},
		{"Add", 0, func() { Add(dst, x) }},
		{"Axpy", 0, func() { Axpy(0.001, x, dst) }},
		{"Dot", 0, func() { dst[0] = Dot(x, y) }},
		{"Exp", 15, func() { Exp(dst, x) }},
		{"ExpOfHidden", 15, func() { Exp(dst, hidden) }},
		{"SiLUMul", 0, func() { SiLUMul(dst, x, y) }},
		{"RMSNorm", 0, func() { RMSNorm(dst, x, y, 1e-5) }},
		{"RotateInterleaved", 0, func() { RotateInterleaved(dst, x, &rows) }},
		{"RotateHalfSplit", 0, func() { RotateHalfSplit(dst, x, &rows) }},
	} {
		for _, tier := range cpu.Tiers() {
			b.Run(fmt.Sprintf("%s/%v", k.name, tier), func(b *testing.B) {
				defer cpu.Lower(tier)()
				clear(dst)
				for b.Loop() {
					k.run()
				}
				ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / n
				b.ReportMetric(ns, "ns/elem")
				if peak := fmapeak.GFLOPS(tier); peak > 0 && k.ops > 0 {
					b.ReportMetric(2*float64(k.ops)/ns/peak, "of-peak")
				}
			})
		}
	}
}
