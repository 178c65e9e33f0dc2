// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// How far the real model's answers are from those of a full prefill, by how much is repaired, over the golden cases' texts: as
// the Kullback-Leibler divergence of the distribution of the first token, in nats. Repairing helps, and repairing all is exact.
func TestRepairSmolLM2(t *testing.T) {
	e := smolLM2(t)
	var requests []*graphkv.Request
	for _, c := range readGolden(t) {
		if c.Preset != "block" || string(c.Request) == "null" {
			continue
		}
		r, err := graphkv.ParseRequest(c.Request)
		require.NoError(t, err)
		if len(r.Segments) > 1 {
			r.MaxTokens = graphkv.NoTokens
			requests = append(requests, r)
		}
	}
	require.NotEmpty(t, requests)
	mean := func(s graphkv.Strategy, repair graphkv.RepairParams) float64 {
		sum := 0.0
		for _, r := range requests {
			answer := func(s graphkv.Strategy) []float64 {
				q := *r
				q.Strategy, q.Repair = s, repair
				p, err := e.Compile(&q)
				require.NoError(t, err)
				a, err := e.Generate(t.Context(), p, graphkv.WithLogits())
				require.NoError(t, err)
				return logSoftmax(a.Logits)
			}
			full, got := answer(graphkv.Sequential), answer(s)
			for i := range full {
				sum += math.Exp(full[i]) * (full[i] - got[i])
			}
		}
		return sum / float64(len(requests))
	}
	block := mean(graphkv.Block, graphkv.RepairParams{})
	t.Logf("%d texts; block: %.4f", len(requests), block)
	for _, f := range []float64{0.05, 0.15, 0.3, 0.6, 1} {
		d := mean(graphkv.CacheBlend, graphkv.RepairParams{Fraction: new(f)})
		t.Logf("cacheblend, %.2f of the tokens: %.4f", f, d)
		switch {
		case f == 1:
			require.Zero(t, d)
		case f >= graphkv.DefaultRepairFraction:
			require.Less(t, d, block)
		}
	}
	for _, k := range []int{2, graphkv.DefaultRepairFirst, 32} {
		d := mean(graphkv.EPIC, graphkv.RepairParams{First: new(k)})
		t.Logf("epic, the first %d tokens: %.4f", k, d)
	}
}

func logSoftmax(logits []float32) []float64 {
	most, sum := math.Inf(-1), 0.0
	for _, x := range logits {
		most = math.Max(most, float64(x))
	}
	for _, x := range logits {
		sum += math.Exp(float64(x) - most)
	}
	out := make([]float64, len(logits))
	for i, x := range logits {
		out[i] = float64(x) - most - math.Log(sum)
	}
	return out
}
