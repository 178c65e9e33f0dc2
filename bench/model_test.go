// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
	"github.com/graphkv/graphkv/kvcache"
)

const modelRef = "smollm2-135m-instruct"

// engine opens the real model; tests that need it are skipped without it, or fail
// where GRAPHKV_REQUIRE_MODEL is set.
func engine(t testing.TB, s *Spec, threads int) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the real model; not under -short")
	}
	path, err := hub.Locate(t.Context(), modelRef, hub.Options{})
	if err != nil {
		if os.Getenv("GRAPHKV_REQUIRE_MODEL") != "" {
			t.Fatalf("the real model is missing: %v", err)
		}
		t.Skipf("the real model is missing (graphkv pull %s): %v", modelRef, err)
	}
	s.Model = path
	e, err := OpenEngine(s, threads)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func benchModel(b *testing.B, e *Engine, perOp float64, unit string, run func() (time.Duration, error)) {
	_, err := run()
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	var sum time.Duration
	for b.Loop() {
		d, err := run()
		if err != nil {
			b.Fatal(err)
		}
		sum += d
	}
	each := sum.Seconds() / float64(b.N)
	if unit == "s" {
		b.ReportMetric(each, "s")
		return
	}
	b.ReportMetric(perOp/each, unit)
}

func BenchmarkModel(b *testing.B) {
	for _, threads := range Threads() {
		s := NewSpec(1)
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			e := engine(b, s, threads)
			weights := float64(e.Model().WeightBytes())
			for _, c := range s.Cases {
				switch c.Kind {
				case KindPrefill:
					b.Run(c.ID, func(b *testing.B) {
						benchModel(b, e, c.Work, c.Unit, func() (time.Duration, error) { return e.Prefill(c.Tokens) })
					})
				case KindDecode:
					b.Run(c.ID, func(b *testing.B) {
						var last time.Duration
						benchModel(b, e, c.Work, c.Unit, func() (d time.Duration, err error) {
							last, err = e.Decode(c.Tokens)
							return last, err
						})
						kv, err := e.Model().Config().KVShape().Bytes(c.Tokens)
						require.NoError(b, err)
						rate := (weights + float64(kv)) * c.Work / last.Seconds() / 1e9
						b.ReportMetric(rate, "GB/s")
						b.ReportMetric(rate/ReadBandwidth(int(weights), threads), "ofbandwidth")
					})
				case KindGraph:
					b.Run(c.ID, func(b *testing.B) {
						benchModel(b, e, 0, "s", func() (time.Duration, error) { return e.Graph(c.Variant) })
					})
				case KindTTFT:
					for _, strategy := range []graphkv.Strategy{graphkv.Sequential, graphkv.Block, graphkv.PCW, graphkv.GraphKV} {
						b.Run(c.ID+"/"+string(strategy), func(b *testing.B) {
							benchModel(b, e, 0, "s", func() (time.Duration, error) { return e.TTFT(strategy, c.Variant) })
						})
					}
				}
			}
		})
	}
}

// sharing runs n questions at once over the same cached passages and returns the
// bytes that each allocated.
func sharing(t testing.TB, e *Engine, n int) (perRequest int64, before, after kvcache.Stats) {
	order := upTo(e.spec.Passages.Count)
	plan := func() *graphkv.Plan {
		p, err := e.Compile(e.passages(graphkv.Block, order, cached))
		require.NoError(t, err)
		return p
	}
	for range 2 { // the second finds every buffer grown
		_, err := e.Generate(t.Context(), plan())
		require.NoError(t, err)
	}
	plans := make([]*graphkv.Plan, n)
	for i := range plans {
		plans[i] = plan()
	}
	before = e.CacheStats()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	var wg sync.WaitGroup
	for _, p := range plans {
		wg.Go(func() {
			_, err := e.Generate(t.Context(), p)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc-allocated) / int64(n), before, e.CacheStats()
}

// Questions that run at once over the same passages share one copy of their keys and
// values: what each needs beside them is its own.
func TestSharing(t *testing.T) {
	s := NewSpec(8) // shorter passages, to be quick
	e := engine(t, s, 2)
	const n = 64
	perRequest, before, after := sharing(t, e, n)
	shape := e.Model().Config().KVShape()
	own, err := shape.Bytes(s.Passages.Question)
	require.NoError(t, err)
	passages, err := shape.Bytes(s.Passages.Count * s.Passages.Tokens)
	require.NoError(t, err)
	t.Logf("%d bytes a request; its own keys and values take %d, the passages' %d", perRequest, own, passages)

	assert.Equal(t, before.Bytes, after.Bytes, "the cache has grown")
	assert.Equal(t, before.Misses, after.Misses)
	assert.Equal(t, s.Passages.Count, after.Entries)
	assert.LessOrEqual(t, after.Bytes, passages+int64(s.Passages.Count)*kvcache.EntryOverhead)
	// Beside its keys and values a request has logits and bookkeeping, and each of the
	// first ones a workspace that later ones use again.
	assert.Less(t, perRequest, own+passages/8)
}

// Passages in a new order take no longer than in the old one. This is a smoke test
// on a busy machine; the comparison proper is bench/compare's.
func TestMoving(t *testing.T) {
	e := engine(t, NewSpec(4), 2)
	best := func(variant string) time.Duration {
		least := time.Hour
		for range 5 {
			d, err := e.TTFT(graphkv.Block, variant)
			require.NoError(t, err)
			least = min(least, d)
		}
		return least
	}
	best(SameOrder) // encodes the passages
	same, moved := best(SameOrder), best(NewOrder)
	t.Logf("same order %v, new order %v", same, moved)
	assert.Less(t, moved.Seconds(), same.Seconds()*1.5)
}
