// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/graph"
)

// citations makes the edges of a random citation graph: node i has up to degree
// different sources among the nodes before it, so there is no cycle.
func citations(nodes, degree int, add func(source, target int)) {
	rng := rand.New(rand.NewPCG(1, 2))
	row := make([]int, 0, degree)
	for t := 1; t < nodes; t++ {
		row = row[:0]
	draw:
		for range min(degree, t) {
			s := rng.IntN(t)
			for _, r := range row {
				if r == s {
					continue draw
				}
			}
			row = append(row, s)
			add(s, t)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The promised size: a million segments and ten million edges, added by id, in
// less than 1 GiB and in seconds.
func TestMillionSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a graph of 1,000,000 segments and 10,000,000 edges")
	}
	const nodes, edges, limit = 1_000_000, 10_000_000, 1 << 30
	before := heap()
	segments := make([]graph.Segment, nodes)
	for i := range segments {
		segments[i] = graph.Segment{ID: fmt.Sprintf("paper-%07d", i)}
	}
	start := time.Now()
	b := graph.NewBuilder()
	for _, s := range segments {
		_, err := b.AddSegment(s)
		require.NoError(t, err)
	}
	added := 0
	var failed error
	citations(nodes, 11, func(s, target int) {
		if added == edges {
			return
		}
		added++
		if err := b.AddEdge(segments[s].ID, segments[target].ID); err != nil {
			failed = err
		}
	})
	require.NoError(t, failed)
	segments = nil
	collected := heap() - before
	g, err := b.Build()
	require.NoError(t, err)
	built := time.Since(start)
	held := heap() - before

	start = time.Now()
	levels, err := g.Levels()
	require.NoError(t, err)
	layered := time.Since(start)

	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("builder %d MiB, graph %d MiB, heap from the system %d MiB; built in %v, levels in %v",
		collected>>20, held>>20, m.HeapSys>>20, built, layered)
	assert.Equal(t, nodes, g.Len())
	assert.Equal(t, edges, g.NumEdges())
	assert.Less(t, collected, uint64(limit))
	assert.Less(t, held, uint64(limit))
	assert.Less(t, built, 2*time.Minute) // seconds on a quiet machine
	assert.Less(t, layered, time.Minute)
	for target := range g.Len() {
		for _, s := range g.Sources(target) {
			if levels[s] >= levels[target] {
				t.Fatalf("edge %d → %d does not go down", s, target)
			}
		}
	}
	assert.Len(t, levels, nodes)
	runtime.KeepAlive(g)
}

func BenchmarkBuild(b *testing.B) {
	const nodes, degree = 100_000, 8
	segments := numbered(nodes)
	var pairs [][2]int
	citations(nodes, degree, func(s, t int) { pairs = append(pairs, [2]int{s, t}) })
	edges := make([]graph.Edge, len(pairs))
	for i, p := range pairs {
		edges[i] = graph.Edge{Source: segments[p[0]].ID, Target: segments[p[1]].ID}
	}
	b.Run("ids", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := graph.FromEdges(segments, edges); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(edges)), "ns/edge")
	})
	b.Run("indices", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			builder := graph.NewBuilder()
			builder.Grow(nodes, len(pairs))
			for _, s := range segments {
				if _, err := builder.AddSegment(s); err != nil {
					b.Fatal(err)
				}
			}
			for _, p := range pairs {
				if err := builder.AddEdgeAt(p[0], p[1]); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := builder.Build(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(pairs)), "ns/edge")
	})
}

func BenchmarkLevels(b *testing.B) {
	g := citationGraph(b, 100_000, 8)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Levels(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAncestors(b *testing.B) {
	g := citationGraph(b, 100_000, 8)
	b.ReportAllocs()
	for b.Loop() {
		if g.Ancestors(g.Len() - 1).IsEmpty() {
			b.Fatal("no ancestors")
		}
	}
}

func citationGraph(tb testing.TB, nodes, degree int) *graph.Graph {
	b := graph.NewBuilder()
	for _, s := range numbered(nodes) {
		_, err := b.AddSegment(s)
		require.NoError(tb, err)
	}
	citations(nodes, degree, func(s, t int) {
		if err := b.AddEdgeAt(s, t); err != nil {
			tb.Fatal(err)
		}
	})
	g, err := b.Build()
	require.NoError(tb, err)
	return g
}
