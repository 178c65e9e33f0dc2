// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
)

const modelRef = "smollm2-135m-instruct"

// engine opens the real model; tests that need it are skipped without it, or fail
// where GRAPHKV_REQUIRE_MODEL is set.
func engine(t testing.TB, s *Spec, threads int, options ...graphkv.Option) *Engine {
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
	e, err := OpenEngine(s, threads, options...)
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

// BenchmarkDisk compares the time to the first token of a question over ten passages: encoding them, with the passages in a folder that another
// engine has filled, and with them in memory.
func BenchmarkDisk(b *testing.B) {
	s, threads, disk := NewSpec(1), runtime.GOMAXPROCS(0), graphkv.WithDisk(b.TempDir(), 0)
	first := func(e *Engine) float64 {
		d, err := e.TTFT(graphkv.Block, SameOrder)
		require.NoError(b, err)
		return float64(d.Microseconds()) / 1000
	}
	filler := engine(b, s, threads, disk)
	encoding := first(filler)
	require.NoError(b, filler.Flush(b.Context()))
	var stored, memory []float64
	for b.Loop() {
		e, err := OpenEngine(s, threads, disk)
		require.NoError(b, err)
		stored = append(stored, first(e))
		require.Zero(b, e.Stats().Cache.Tiers[1].Misses)
		memory = append(memory, first(e))
		require.NoError(b, e.Close())
	}
	slices.Sort(stored)
	slices.Sort(memory)
	fromDisk, fromMemory := stored[len(stored)/2], memory[len(memory)/2]
	b.ReportMetric(encoding, "encoding-ms")
	b.ReportMetric(fromDisk, "disk-ms")
	b.ReportMetric(fromMemory, "memory-ms")
	b.ReportMetric(encoding/fromDisk, "encoding/disk")
	b.ReportMetric(fromDisk/fromMemory, "disk/memory")
}

// BenchmarkSharing runs 64 questions at once over the same cached passages. The bytes
// that each allocates are to be of the size of its own keys and values; that the
// passages' stay as they are is a test of the engine.
func BenchmarkSharing(b *testing.B) {
	const n = 64
	s := NewSpec(1)
	e := engine(b, s, runtime.GOMAXPROCS(0))
	p, err := e.Compile(e.passages(graphkv.Block, upTo(s.Passages.Count), cached))
	require.NoError(b, err)
	_, err = e.Generate(b.Context(), p)
	require.NoError(b, err)
	ask := func() {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				_, err := e.Generate(b.Context(), p)
				assert.NoError(b, err)
			})
		}
		wg.Wait()
	}
	ask() // grows what is used again
	before := e.Stats().Cache
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	for b.Loop() {
		ask()
	}
	runtime.ReadMemStats(&m)
	own, err := e.Model().Config().KVShape().Bytes(s.Passages.Question)
	require.NoError(b, err)
	b.ReportMetric(float64(m.TotalAlloc-allocated)/float64(n*b.N), "B/request")
	b.ReportMetric(float64(own), "ownKV-B/request")
	b.ReportMetric(float64(before.Bytes), "passages-B")
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "requests/s")
	require.Equal(b, before.Bytes, e.Stats().Cache.Bytes)
}
