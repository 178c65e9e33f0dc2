// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/cpu"
)

// The name of an encoding tells formats apart, and fused arithmetic from that of the portable kernels; the assembly tiers share one.
func TestEncodingNamesFormatAndArithmetic(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range attention.Formats() {
		seen[encoding(f)] = true
	}
	require.Len(t, seen, len(attention.Formats()))
	names := make(map[bool]map[string]bool)
	for _, tier := range cpu.Tiers() {
		restore := cpu.Lower(tier)
		portable := tier == cpu.Portable
		if names[portable] == nil {
			names[portable] = make(map[string]bool)
		}
		names[portable][encoding(attention.F32)] = true
		restore()
	}
	for _, n := range names {
		require.Len(t, n, 1)
	}
	for n := range names[false] {
		require.NotContains(t, names[true], n)
	}
}

// Keys and values of any format: cached, encoded again, split into other batches and by another number of workers, a node and an answer are the same to the
// last bit.
func TestFormatsAreExactlyRepeatable(t *testing.T) {
	for _, f := range attention.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			cached := tinyEngine(t, WithKVFormat(f))
			again := tinyEngine(t, WithKVFormat(f), WithCacheBytes(0), WithBatchTokens(3), WithWorkers(3))
			rapid.Check(t, func(t *rapid.T) {
				p := compile(t, cached, drawRequest(t, Sequential, Block, PCW, GraphKV, GraphKVTopK, Ego, EgoBatch, DAG))
				first := logits(t, cached, p)
				require.Equal(t, first.Logits, logits(t, cached, p).Logits)
				require.Equal(t, first.Logits, logits(t, again, p).Logits)
				require.Equal(t, nodeKV(t, cached, p), nodeKV(t, again, p))
			})
		})
	}
}

// tinyBounds are how far the logits of the tiny model, whose deviation is 2, may be from those with float32: what f16 and bf16 keep of a number (11 and 8
// bits) and what i8 keeps of a row's largest (8 bits), summed over heads, layers and two rounds.
var tinyBounds = map[attention.Format]float64{attention.F32: 0, attention.F16: 0.01, attention.BF16: 0.08, attention.I8: 0.25}

func TestFormatsAreClose(t *testing.T) {
	r := rand.New(rand.NewPCG(61, 62))
	exact := tinyEngine(t)
	for f, bound := range tinyBounds {
		e := tinyEngine(t, WithKVFormat(f))
		worst := 0.0
		for range 20 {
			q := tenPassages(r)
			q.Strategy = GraphKV
			p := compile(t, exact, q)
			got := logits(t, e, p).Logits
			for i, want := range logits(t, exact, p).Logits {
				worst = max(worst, math.Abs(float64(got[i])-float64(want)))
			}
		}
		t.Logf("%v: max |Δlogit| %.1e", f, worst)
		require.LessOrEqual(t, worst, bound, f)
	}
}
