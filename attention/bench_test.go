// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/attention/attentiontest"
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/gemm/fmapeak"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/posenc"
)

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// BenchmarkLayouts reports GFLOP/s of useful work and the fraction of the FMA peak of as many threads, of the fastest run: the machine may
// be shared.
func BenchmarkLayouts(b *testing.B) {
	for _, tier := range cpu.Tiers() {
		for _, shape := range attentiontest.Shapes() {
			rope, err := posenc.NewRoPE(posenc.Config{HeadDim: shape.HeadDim, Base: 1e5})
			require.NoError(b, err)
			kernel, err := attention.New(attention.Config{Heads: shape.Heads, KVHeads: shape.KVHeads, HeadDim: shape.HeadDim, RoPE: rope})
			require.NoError(b, err)
			for _, l := range attentiontest.Layouts() {
				for _, workers := range []int{1, 2} {
					b.Run(fmt.Sprintf("%v/%s/%s/workers=%d", tier, shape.Name, l.Name, workers), func(b *testing.B) {
						defer cpu.Lower(tier)()
						p := pool.New(workers)
						defer p.Close()
						var ws attention.Workspace
						queries := l.Queries(shape, attention.F32)
						require.NoError(b, kernel.Attend(p, &ws, queries))
						peak := fmapeak.GFLOPS(tier)
						best := time.Duration(1 << 62)
						for b.Loop() {
							start := time.Now()
							if err := kernel.Attend(p, &ws, queries); err != nil {
								b.Fatal(err)
							}
							best = min(best, time.Since(start))
						}
						peak = max(peak, fmapeak.GFLOPS(tier)) * float64(workers)
						rate := l.Operations(shape) / float64(best.Nanoseconds())
						b.ReportMetric(rate, "GFLOP/s")
						if peak > 0 {
							b.ReportMetric(rate/peak, "ofpeak")
						}
						if l.Decode {
							b.ReportMetric(l.Bytes(shape, attention.F32)/float64(best.Nanoseconds()), "GB/s")
						}
					})
				}
			}
		}
	}
}

// BenchmarkStore writes the tokens of a segment.
func BenchmarkStore(b *testing.B) {
	for _, f := range attention.Formats() {
		for _, shape := range attentiontest.Shapes() {
			b.Run(fmt.Sprintf("%v/%s", f, shape.Name), func(b *testing.B) {
				const tokens = 256
				width := shape.KVHeads * shape.HeadDim
				x := normal(rand.New(rand.NewPCG(1, 2)), tokens*width)
				kv := attention.NewKV(f, shape.KVHeads, shape.HeadDim, tokens)
				for b.Loop() {
					for i := range tokens {
						kv.Store(i, x[i*width:(i+1)*width], x[i*width:(i+1)*width])
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*tokens*width), "ns/number")
			})
		}
	}
}

// BenchmarkDecode reports the rate at which one row reads keys and values of each format, from a cache that a core may hold and from memory.
func BenchmarkDecode(b *testing.B) {
	for _, shape := range attentiontest.Shapes() {
		kernel, err := attention.New(attention.Config{Heads: shape.Heads, KVHeads: shape.KVHeads, HeadDim: shape.HeadDim})
		require.NoError(b, err)
		for _, f := range attention.Formats() {
			for _, keys := range []int{512, 4096, 65536} {
				l := attentiontest.Layout{Segments: []attentiontest.Segment{{Rows: 1, History: keys - 1}}, Decode: true}
				b.Run(fmt.Sprintf("%s/%v/%d", shape.Name, f, keys), func(b *testing.B) {
					queries := l.Queries(shape, f)
					p := pool.New(1)
					defer p.Close()
					var ws attention.Workspace
					best := time.Duration(1 << 62)
					for b.Loop() {
						start := time.Now()
						if err := kernel.Attend(p, &ws, queries); err != nil {
							b.Fatal(err)
						}
						best = min(best, time.Since(start))
					}
					b.ReportMetric(l.Bytes(shape, f)/float64(best.Nanoseconds()), "GB/s")
					b.ReportMetric(l.Operations(shape)/float64(best.Nanoseconds()), "GFLOP/s")
				})
			}
		}
	}
}
