// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
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

// BenchmarkAttend counts useful work: 4·HeadDim·Heads operations for each pair
// of a row and a key that it sees. Shapes are those of SmolLM2-135M.
func BenchmarkAttend(b *testing.B) {
	const heads, kvHeads, d = 9, 3, 64
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: d, Base: 1e5})
	require.NoError(b, err)
	kernel, err := attention.New(attention.Config{Heads: heads, KVHeads: kvHeads, HeadDim: d, RoPE: rope})
	require.NoError(b, err)
	for _, c := range []struct {
		name           string
		rows, sources  int
		sourceLen, own int
	}{
		{"prefill", 512, 0, 0, 512}, // one causal text
		{"sources", 64, 8, 64, 64},  // a segment that reads eight others
		{"query", 16, 16, 128, 16},  // a short question over many passages
		{"decode", 1, 16, 128, 64},  // one token
		{"single", 1, 0, 0, 512},    // one token after one text
	} {
		b.Run(c.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			q := attention.Query{
				Q: normal(r, c.rows*heads*d), Out: make([]float32, c.rows*heads*d),
				LSE: make([]float32, c.rows*heads), Rows: c.rows,
			}
			pairs := 0
			for i := range c.sources {
				q.Parts = append(q.Parts, attention.Part{
					K: normal(r, kvHeads*c.sourceLen*d), V: normal(r, kvHeads*c.sourceLen*d), Len: c.sourceLen, Shift: (i + 1) * c.sourceLen,
				})
				pairs += c.rows * c.sourceLen
			}
			first := c.own - c.rows // keys before row 0
			q.Parts = append(q.Parts, attention.Part{
				K: normal(r, kvHeads*c.own*d), V: normal(r, kvHeads*c.own*d), Len: c.own, Shift: first, Causal: true, Offset: first,
			})
			pairs += c.rows*first + c.rows*(c.rows+1)/2

			p := pool.New(1)
			defer p.Close()
			var ws attention.Workspace
			queries := []attention.Query{q}
			for b.Loop() {
				if err := kernel.Attend(p, &ws, queries); err != nil {
					b.Fatal(err)
				}
			}
			flop := 4 * float64(d) * heads * float64(pairs) * float64(b.N)
			b.ReportMetric(flop/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
