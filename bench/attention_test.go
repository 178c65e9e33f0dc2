// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/pool"
)

// rotated turns x [d] to position pos by the definition of the rotary embedding.
func rotated(x []float32, pos int) []float64 {
	d := len(x)
	out := make([]float64, d)
	for i := range d / 2 {
		sin, cos := math.Sincos(float64(pos) * math.Pow(RoPEBase, -2*float64(i)/float64(d)))
		a, b := float64(x[i]), float64(x[i+d/2])
		out[i], out[i+d/2] = a*cos-b*sin, a*sin+b*cos
	}
	return out
}

// reference computes one row of the output in float64: every token rotated to its
// absolute position, one softmax over what the row sees.
func reference(l Layout, s Shape, row int) []float64 {
	d, width := s.HeadDim, s.KVHeads*s.HeadDim
	q := Values(l.Rows()*s.Heads*d, seedQ)
	k, v := Values(l.Tokens()*width, seedK), Values(l.Tokens()*width, seedV)
	segment, local := 0, row
	for local >= l.Segments[segment].Rows {
		local -= l.Segments[segment].Rows
		segment++
	}
	seg := l.Segments[segment]
	at := l.Start(segment) + seg.Tokens - seg.Rows + local // the row's token
	var sees []int
	for _, src := range seg.Sources {
		for t := range l.Segments[src].Tokens {
			sees = append(sees, l.Start(src)+t)
		}
	}
	for t := l.Start(segment); t <= at; t++ {
		sees = append(sees, t)
	}
	out := make([]float64, s.Heads*d)
	group := s.Heads / s.KVHeads
	for kvh := range s.KVHeads {
		keys := make([][]float64, len(sees))
		for n, t := range sees {
			keys[n] = rotated(k[t*width+kvh*d:][:d], t)
		}
		for h := kvh * group; h < (kvh+1)*group; h++ {
			qh := rotated(q[(row*s.Heads+h)*d:][:d], at)
			sum := 0.0
			for n, t := range sees {
				dot := 0.0
				for i, x := range keys[n] {
					dot += x * qh[i]
				}
				w := math.Exp(dot / math.Sqrt(float64(d))) // values of variance 1: no overflow
				sum += w
				for i := range d {
					out[h*d+i] += w * float64(v[t*width+kvh*d+i])
				}
			}
			for i := range d {
				out[h*d+i] /= sum
			}
		}
	}
	return out
}

// What is timed is what the layouts say.
func TestAttentionAgainstReference(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	for name, s := range Shapes {
		for _, l := range Layouts(32) {
			a, err := NewAttention(l, s, attention.F32, p)
			require.NoError(t, err)
			require.NoError(t, a.Run())
			rows := l.CheckRows()
			got := a.Rows(rows)
			var flat *Masked
			if l.Flat() {
				flat, err = NewMasked(l, s, p)
				require.NoError(t, err)
				require.NoError(t, flat.Run())
			}
			width := s.Heads * s.HeadDim
			for i, r := range rows {
				for j, want := range reference(l, s, r) {
					require.InDelta(t, want, got[i*width+j], 2e-5, "%s %s row %d", l.Name, name, r)
					if flat != nil {
						require.InDelta(t, want, flat.query.Out[r*width+j], 2e-5, "%s %s row %d under a mask", l.Name, name, r)
					}
				}
			}
		}
	}
}

func TestAttendAllocatesNothing(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	for _, l := range Layouts(32) {
		a, err := NewAttention(l, Shapes["A"], attention.F32, p)
		require.NoError(t, err)
		require.NoError(t, a.Run())
		require.Zero(t, testing.AllocsPerRun(3, func() {
			if err := a.Run(); err != nil {
				t.Fatal(err)
			}
		}), l.Name)
	}
}

func benchAttention(b *testing.B, l Layout, s Shape, f attention.Format, threads int) {
	p := pool.New(threads)
	defer p.Close()
	a, err := NewAttention(l, s, f, p)
	require.NoError(b, err)
	require.NoError(b, a.Run())
	peak := FMAPeak(threads)
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Run(); err != nil {
			b.Fatal(err)
		}
	}
	perOp := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(l.FLOP(s)/perOp/1e9, "GFLOP/s")
	if l.Rows() == len(l.Segments) { // decode is bound by memory
		rate := float64(a.Bytes()) / perOp / 1e9
		b.ReportMetric(rate, "GB/s")
		b.ReportMetric(rate/ReadBandwidth(int(a.Bytes()), threads), "ofbandwidth")
		return
	}
	if peak > 0 {
		b.ReportMetric(l.FLOP(s)/perOp/1e9/peak, "ofpeak")
	}
}

func BenchmarkAttention(b *testing.B) {
	for _, l := range Layouts(1) {
		for _, shape := range []string{"A", "B"} {
			for _, threads := range Threads() {
				b.Run(fmt.Sprintf("layout=%s/shape=%s/threads=%d", l.Name, shape, threads), func(b *testing.B) {
					benchAttention(b, l, Shapes[shape], attention.F32, threads)
				})
			}
		}
	}
}

// The same layouts as one sequence under a block-sparse mask.
func BenchmarkMasked(b *testing.B) {
	for _, l := range Layouts(1) {
		if !l.Flat() {
			continue
		}
		for _, shape := range []string{"A", "B"} {
			b.Run(fmt.Sprintf("layout=%s/shape=%s/threads=1", l.Name, shape), func(b *testing.B) {
				p := pool.New(1)
				defer p.Close()
				m, err := NewMasked(l, Shapes[shape], p)
				require.NoError(b, err)
				peak := FMAPeak(1)
				b.ReportAllocs()
				for b.Loop() {
					if err := m.Run(); err != nil {
						b.Fatal(err)
					}
				}
				rate := l.FLOP(Shapes[shape]) / b.Elapsed().Seconds() * float64(b.N) / 1e9
				b.ReportMetric(rate, "GFLOP/s")
				if peak > 0 {
					b.ReportMetric(rate/peak, "ofpeak")
				}
			})
		}
	}
}

// Caches from the second-level cache's size to beyond the last level's.
func BenchmarkDecodeLengths(b *testing.B) {
	for f := attention.F32; f.Valid(); f++ {
		for _, keys := range []int{128, 1024, 4096, 32768, 131072} {
			for _, threads := range Threads() {
				b.Run(fmt.Sprintf("format=%v/keys=%d/threads=%d", f, keys, threads), func(b *testing.B) {
					benchAttention(b, Decode(keys), Shapes["B"], f, threads)
				})
			}
		}
	}
}

// Eight times the segments at the same degree should cost eight times as much.
func BenchmarkCitationsScaling(b *testing.B) {
	for _, segments := range []int{64, 512} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			l := Citations(segments, 128, 4)
			p := pool.New(1)
			defer p.Close()
			a, err := NewAttention(l, Shapes["A"], attention.F32, p)
			require.NoError(b, err)
			for b.Loop() {
				if err := a.Run(); err != nil {
					b.Fatal(err)
				}
			}
			edges := 0
			for _, s := range l.Segments {
				edges += len(s.Sources)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(edges)*1e6, "µs/edge")
		})
	}
}
