// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/gemm/fmapeak"
	"github.com/graphkv/graphkv/internal/pool"
)

// BenchmarkMul reports GFLOP/s, the fraction of the FMA peak of as many threads, and for one row the rate at which weights are read.
func BenchmarkMul(b *testing.B) {
	for _, tier := range cpu.Tiers() {
		for _, s := range [][3]int{{512, 1536, 576}, {512, 576, 1536}, {512, 576, 576}, {64, 1536, 576}, {8, 1536, 576}, {4, 1536, 576}, {2, 1536, 576}, {1, 1536, 576}, {1, 576, 576}, {1, 49152, 576}} {
			for _, workers := range []int{1, 2} {
				b.Run(fmt.Sprintf("%v/%dx%dx%d/workers=%d", tier, s[0], s[1], s[2], workers), func(b *testing.B) {
					defer cpu.Lower(tier)()
					p := pool.New(workers)
					defer p.Close()
					rows, n, k := s[0], s[1], s[2]
					var ws Workspace
					w := NewMatrix(n, k)
					row := make([]float32, k)
					for i := range row {
						row[i] = float32(i%7) - 3
					}
					for i := range n {
						w.SetRow(i, row)
					}
					a, c := make([]float32, rows*k), make([]float32, rows*n)
					for i := range a {
						a[i] = float32(i%5) - 2
					}
					Mul(p, &ws, c, n, a, k, rows, w)
					// The minimum over the runs: the machine may be shared.
					best := time.Duration(1 << 62)
					for b.Loop() {
						start := time.Now()
						Mul(p, &ws, c, n, a, k, rows, w)
						best = min(best, time.Since(start))
					}
					rate := 2 * float64(rows) * float64(n) * float64(k) / float64(best.Nanoseconds())
					b.ReportMetric(rate, "GFLOP/s")
					if peak := fmapeak.GFLOPS(tier); peak > 0 {
						b.ReportMetric(rate/peak/float64(workers), "ofpeak")
					}
					if rows == 1 {
						b.ReportMetric(float64(w.Bytes())/float64(best.Nanoseconds()), "GB/s")
					}
				})
			}
		}
	}
}

// BenchmarkMulQuantised is BenchmarkMul on packed weights. For few rows the rate at which packed weights are read and the cycles of the FMA
// peak loop that pass for 16 weights tell more than GFLOP/s.
func BenchmarkMulQuantised(b *testing.B) {
	for _, tier := range cpu.Tiers() {
		if tier == cpu.Portable {
			continue
		}
		lanes := map[cpu.Tier]float64{cpu.AVX2: 8, cpu.AVX512: 16}[tier]
		for f := F16; int(f) < len(formats); f++ {
			for _, s := range [][3]int{{1, 1536, 512}, {2, 1536, 512}, {4, 1536, 512}, {8, 1536, 576}, {8, 576, 1536}, {8, 576, 576}, {16, 1536, 512}, {64, 1536, 512}, {512, 1536, 512}, {512, 512, 1536}} {
				b.Run(fmt.Sprintf("%v/%v/%dx%dx%d", tier, f, s[0], s[1], s[2]), func(b *testing.B) {
					defer cpu.Lower(tier)()
					rows, n, k := s[0], s[1], s[2]
					r := rand.New(rand.NewPCG(1, 1))
					w := packBlocks(f, blocks(r, f, n, k), n, k)
					a, c := normal(r, rows*k), make([]float32, rows*n)
					var ws Workspace
					best := time.Duration(1 << 62)
					for b.Loop() {
						start := time.Now()
						Mul(nil, &ws, c, n, a, k, rows, w)
						best = min(best, time.Since(start))
					}
					rate := 2 * float64(rows) * float64(n) * float64(k) / float64(best.Nanoseconds())
					peak := fmapeak.GFLOPS(tier)
					b.ReportMetric(rate, "GFLOP/s")
					b.ReportMetric(rate/peak, "ofpeak")
					if rows <= 8 {
						hertz := peak / (4 * lanes) // 10⁹ cycles per second, two FMAs each
						b.ReportMetric(float64(best.Nanoseconds())*hertz/(float64(n)*float64(k)/16), "cycles/16w")
						b.ReportMetric(float64(w.Bytes())/float64(best.Nanoseconds()), "GB/s")
					}
				})
			}
		}
	}
}
