// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/graphkv/graphkv/bench"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
)

// smolLM2 opens the model that the hub's default reference pulls, and skips the benchmark where it has not been pulled.
func smolLM2(b *testing.B) *gguf.File {
	dir, err := os.UserCacheDir()
	if err != nil {
		b.Skip(err)
	}
	f, err := gguf.Open(filepath.Join(dir, "graphkv", "models", "SmolLM2-135M-Instruct.Q4_1.gguf"))
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func load(b *testing.B, f *gguf.File, workers int) *model.Model {
	p := pool.New(workers)
	b.Cleanup(p.Close)
	m, err := model.Load(f, p)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func tokens(n, vocab int) []int32 {
	t := make([]int32, n)
	for i := range t {
		t[i] = int32((i*7919 + 13) % vocab)
	}
	return t
}

func forward(b *testing.B, m *model.Model, ws *model.Workspace, runs []model.Run) {
	if err := m.Forward(b.Context(), ws, runs); err != nil {
		b.Fatal(err)
	}
}

// shortest runs f until b has enough and returns the shortest time it took: the machine may be shared.
func shortest(b *testing.B, f func()) time.Duration {
	f()
	best := time.Duration(1 << 62)
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

// BenchmarkDecode is one step of generation after so many tokens, logits included.
func BenchmarkDecode(b *testing.B) {
	f := smolLM2(b)
	for _, workers := range []int{1, 2} {
		m := load(b, f, workers)
		c := m.Config()
		for _, after := range []int{1, 128, 2048} {
			b.Run(fmt.Sprintf("workers=%d/after=%d", workers, after), func(b *testing.B) {
				var ws model.Workspace
				kv := kvcache.NewKV(c.KVShape(), after+1)
				forward(b, m, &ws, []model.Run{{Tokens: tokens(after, c.Vocab), KV: kv}})
				step := []model.Run{{Tokens: []int32{42}, KV: kv, At: after, Logits: make([]float32, c.Vocab)}}
				b.ReportAllocs()
				best := shortest(b, func() { forward(b, m, &ws, step) })
				b.ReportMetric(1/best.Seconds(), "tokens/s")
				b.ReportMetric(float64(m.WeightBytes())/float64(best.Nanoseconds()), "GB/s")
			})
		}
	}
}

// BenchmarkDecodeTogether is one step of generation of several answers at once, each after 128 tokens of its own, logits included. It
// reports the share of what the FMA units of as many cores as there are workers give at that moment.
func BenchmarkDecodeTogether(b *testing.B) {
	const after = 128
	f := smolLM2(b)
	for _, workers := range []int{1, 2} {
		m := load(b, f, workers)
		c := m.Config()
		for _, answers := range []int{1, 2, 4, 8, 16} {
			b.Run(fmt.Sprintf("workers=%d/answers=%d", workers, answers), func(b *testing.B) {
				var ws model.Workspace
				var runs []model.Run
				for i := range answers {
					kv := kvcache.NewKV(c.KVShape(), after+1)
					forward(b, m, &ws, []model.Run{{Tokens: tokens(after, c.Vocab), KV: kv}})
					runs = append(runs, model.Run{
						Tokens: []int32{int32(42 + i)}, KV: kv, At: after, Decode: true, Logits: make([]float32, c.Vocab),
					})
				}
				b.ReportAllocs()
				best := shortest(b, func() { forward(b, m, &ws, runs) })
				rate := float64(answers) / best.Seconds()
				b.ReportMetric(rate, "tokens/s")
				work := 2 * (c.Work(1, after+1) + float64(c.Hidden)*float64(c.Vocab))
				b.ReportMetric(100*rate*work/1e9/bench.FMAPeak(workers), "%FMA")
			})
		}
	}
}

// BenchmarkPrefill encodes one node of so many tokens, without logits.
func BenchmarkPrefill(b *testing.B) {
	f := smolLM2(b)
	for _, workers := range []int{1, 2} {
		m := load(b, f, workers)
		c := m.Config()
		for _, n := range []int{16, 64, 512, 2048} {
			b.Run(fmt.Sprintf("workers=%d/tokens=%d", workers, n), func(b *testing.B) {
				var ws model.Workspace
				runs := []model.Run{{Tokens: tokens(n, c.Vocab), KV: kvcache.NewKV(c.KVShape(), n)}}
				b.ReportAllocs()
				best := shortest(b, func() { forward(b, m, &ws, runs) })
				b.ReportMetric(float64(n)/best.Seconds(), "tokens/s")
			})
		}
	}
}

// BenchmarkLoad reads the file, which the page cache holds, and packs its weights.
func BenchmarkLoad(b *testing.B) {
	f := smolLM2(b)
	var m *model.Model
	best := shortest(b, func() {
		m = nil
		runtime.GC()
		var err error
		if m, err = model.Load(f, nil); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64(best.Milliseconds()), "ms/load")
	b.ReportMetric(float64(m.WeightBytes())/1e6, "MB")
}
