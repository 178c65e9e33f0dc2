// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package evict

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Popularity that does not change, one size and one cost: frequency is all that counts.
func TestZipf(t *testing.T) {
	trace := zipfTrace(100000)
	policy, lru, belady, bound := trace.policy(), trace.lru(), trace.belady(), trace.bound()
	t.Logf("policy %.3f, LRU %.3f, Belady %.3f, bound %.3f", policy, lru, belady, bound)
	require.Greater(t, policy.hits, lru.hits-0.01)
	require.LessOrEqual(t, policy.hits, belady.hits)
	require.LessOrEqual(t, belady.hits, bound.hits)
}

// Requests over a link graph.
func TestRAG(t *testing.T) {
	trace := ragTrace(5000)
	policy, lru, belady, bound := trace.policy(), trace.lru(), trace.belady(), trace.bound()
	t.Logf("policy %.3f, LRU %.3f, Belady %.3f, bound %.3f", policy, lru, belady, bound)
	require.GreaterOrEqual(t, policy.cost, lru.cost)
	require.LessOrEqual(t, policy.hits, bound.hits)
	require.LessOrEqual(t, policy.cost, bound.cost)
	require.LessOrEqual(t, lru.cost, bound.cost)
	require.LessOrEqual(t, belady.cost, bound.cost)
}

// BenchmarkTraces reports what part of the lookups is answered from the cache (hits/lookup) and what part of the cost of encoding that saves
// (saved/cost).
func BenchmarkTraces(b *testing.B) {
	for _, of := range []struct {
		name  string
		trace trace
	}{{"zipf", zipfTrace(300000)}, {"rag", ragTrace(20000)}} {
		for _, by := range []struct {
			name string
			run  func(*trace) saved
		}{{"policy", (*trace).policy}, {"lru", (*trace).lru}, {"belady", (*trace).belady}, {"bound", (*trace).bound}} {
			b.Run(of.name+"/"+by.name, func(b *testing.B) {
				var s saved
				for b.Loop() {
					s = by.run(&of.trace)
				}
				b.ReportMetric(s.hits, "hits/lookup")
				b.ReportMetric(s.cost, "saved/cost")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(of.trace.calls)), "ns/lookup")
			})
		}
	}
}
