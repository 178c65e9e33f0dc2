// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// named returns segments with the given ids and no content.
func named(ids ...string) []graph.Segment {
	s := make([]graph.Segment, len(ids))
	for i, id := range ids {
		s[i].ID = id
	}
	return s
}

// numbered returns n segments s0, s1, ….
func numbered(n int) []graph.Segment {
	s := make([]graph.Segment, n)
	for i := range s {
		s[i].ID = fmt.Sprintf("s%d", i)
	}
	return s
}

// rows returns the sources of every segment.
func rows(g *graph.Graph) [][]uint32 {
	r := make([][]uint32, g.Len())
	for i := range r {
		r[i] = append([]uint32{}, g.Sources(i)...)
	}
	return r
}

func TestFromEdges(t *testing.T) {
	segments := []graph.Segment{
		{ID: "c", Text: "centre"},
		{ID: "a", Tokens: []int32{1, 2}},
		{ID: "b"},
	}
	g, err := graph.FromEdges(segments, []graph.Edge{{"b", "c"}, {"a", "c"}, {"a", "b"}})
	require.NoError(t, err)

	assert.Equal(t, 3, g.Len())
	assert.Equal(t, 3, g.NumEdges())
	for i, s := range segments {
		assert.Equal(t, s, g.Segment(i))
		assert.Equal(t, s.ID, g.ID(i))
		at, ok := g.Index(s.ID)
		assert.True(t, ok)
		assert.Equal(t, i, at)
	}
	_, ok := g.Index("d")
	assert.False(t, ok)

	assert.Equal(t, [][]uint32{{2, 1}, {}, {1}}, rows(g), "sources keep the order of insertion")
	assert.Equal(t, []uint32{0, 2}, g.Targets(1), "targets ascend")
	assert.Empty(t, g.Targets(0))
	assert.True(t, g.HasEdge(2, 0))
	assert.False(t, g.HasEdge(0, 2))
	assert.False(t, g.HasEdge(-1, 0))
	assert.False(t, g.HasEdge(0, 3))
	assert.False(t, g.HasSelfEdges())
}

func TestEmpty(t *testing.T) {
	built, err := graph.NewBuilder().Build()
	require.NoError(t, err)
	for name, g := range map[string]*graph.Graph{"zero": {}, "built": built} {
		t.Run(name, func(t *testing.T) {
			assert.Zero(t, g.Len())
			assert.Zero(t, g.NumEdges())
			levels, err := g.Levels()
			require.NoError(t, err)
			assert.Empty(t, levels)
			_, ok := g.Index("")
			assert.False(t, ok)
			u, err := g.Unroll(5)
			require.NoError(t, err)
			assert.Zero(t, u.Len())
			assert.Zero(t, g.Nodes().Len())
			var buf bytes.Buffer
			require.NoError(t, g.WriteJSON(&buf))
			back, err := graph.ReadJSON(&buf)
			require.NoError(t, err)
			assert.Zero(t, back.Len())
		})
	}
}

func TestBuilderErrors(t *testing.T) {
	tests := []struct {
		name string
		add  func(b *graph.Builder) error
		is   error
		want string
	}{
		{"duplicate id", func(b *graph.Builder) error { _, err := b.AddSegment(graph.Segment{ID: "a"}); return err },
			graph.ErrDuplicateSegment, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"empty id", func(b *graph.Builder) error { _, err := b.AddSegment(graph.Segment{Text: "x"}); return err },
			graph.ErrBadID, `graph: segment 2: bad id: empty`},
		{"invalid id", func(b *graph.Builder) error { _, err := b.AddSegment(graph.Segment{ID: "x\xff"}); return err },
			graph.ErrBadID, `graph: segment 2 "x\xff": bad id: not valid UTF-8`},
		{"text and tokens", func(b *graph.Builder) error {
			_, err := b.AddSegment(graph.Segment{ID: "x", Text: "x", Tokens: []int32{1}})
			return err
		}, graph.ErrBadSegment, `graph: segment 2 "x": bad segment: both text and tokens`},
		{"negative token", func(b *graph.Builder) error {
			_, err := b.AddSegment(graph.Segment{ID: "x", Tokens: []int32{1, -7}})
			return err
		}, graph.ErrBadSegment, `graph: segment 2 "x": bad segment: token 1 is negative (-7)`},
		{"unknown source", func(b *graph.Builder) error { return b.AddEdge("x", "a") },
			graph.ErrUnknownSource, `graph: edge "x" → "a": unknown source "x"`},
		{"unknown target", func(b *graph.Builder) error { return b.AddEdge("a", "x") },
			graph.ErrUnknownTarget, `graph: edge "a" → "x": unknown target "x"`},
		{"source index", func(b *graph.Builder) error { return b.AddEdgeAt(-1, 0) },
			graph.ErrUnknownSource, `graph: edge "#-1" → "a": unknown source: index -1 of 2 segments`},
		{"target index", func(b *graph.Builder) error { return b.AddEdgeAt(1, 2) },
			graph.ErrUnknownTarget, `graph: edge "b" → "#2": unknown target: index 2 of 2 segments`},
		{"self edge", func(b *graph.Builder) error { return b.AddEdge("b", "b") },
			graph.ErrSelfEdge, `graph: edge "b" → "b": self edge: not allowed without SelfEdges`},
		{"duplicate edge", func(b *graph.Builder) error {
			require.NoError(t, b.AddEdge("a", "b"))
			require.NoError(t, b.AddEdgeAt(0, 1))
			_, err := b.Build()
			return err
		}, graph.ErrDuplicateEdge, `graph: edge "a" → "b": duplicate edge`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := graph.NewBuilder()
			require.NoError(t, func() error { _, err := b.AddSegment(graph.Segment{ID: "a"}); return err }())
			require.NoError(t, func() error { _, err := b.AddSegment(graph.Segment{ID: "b"}); return err }())
			err := tt.add(b)
			require.ErrorIs(t, err, tt.is)
			assert.EqualError(t, err, tt.want)

			// The builder stays failed: nothing is built from half of the input.
			_, again := b.Build()
			assert.Equal(t, err, again)
			assert.Equal(t, err, b.AddEdge("a", "b"))
			assert.Equal(t, err, b.AddEdgeAt(0, 1))
			_, again = b.AddSegment(graph.Segment{ID: "new"})
			assert.Equal(t, err, again)
		})
	}
}

func TestErrorsCarryTheOffender(t *testing.T) {
	_, err := graph.FromEdges(named("a"), []graph.Edge{{"a", "gone"}})
	var edge *graph.EdgeError
	require.ErrorAs(t, err, &edge)
	assert.Equal(t, "a", edge.Source)
	assert.Equal(t, "gone", edge.Target)

	_, err = graph.FromEdges(named("a", "b", "a"), nil)
	var segment *graph.SegmentError
	require.ErrorAs(t, err, &segment)
	assert.Equal(t, 2, segment.Index)
	assert.Equal(t, "a", segment.ID)

	long := string(bytes.Repeat([]byte("é"), 1000))
	_, err = graph.FromEdges(named(long), []graph.Edge{{long, long}})
	require.ErrorIs(t, err, graph.ErrSelfEdge)
	assert.Less(t, len(err.Error()), 400, "a long id is cut in messages")
	assert.NotContains(t, err.Error(), `\x`, "not in the middle of a rune")
}

func TestBuilderIsReusable(t *testing.T) {
	b := graph.NewBuilder(graph.SelfEdges())
	b.Grow(1, 1)
	_, err := b.AddSegment(graph.Segment{ID: "a"})
	require.NoError(t, err)
	require.NoError(t, b.AddEdge("a", "a"))
	first, err := b.Build()
	require.NoError(t, err)
	assert.True(t, first.HasSelfEdges())

	assert.Zero(t, b.Len())
	_, err = b.AddSegment(graph.Segment{ID: "b"})
	require.NoError(t, err)
	require.NoError(t, b.AddEdge("b", "b"), "options stay")
	second, err := b.Build()
	require.NoError(t, err)

	assert.Equal(t, "a", first.ID(0))
	assert.Equal(t, "b", second.ID(0))
	_, ok := first.Index("b")
	assert.False(t, ok, "a graph does not change after Build")
}

func TestViewsDoNotAllocate(t *testing.T) {
	g, err := graph.Causal(numbered(50))
	require.NoError(t, err)
	u, err := g.Unroll(2)
	require.NoError(t, err)
	buf := make([]uint32, 0, 64)
	sum := 0
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range g.Len() {
			sum += len(g.Sources(i)) + len(g.Targets(i))
			if g.HasEdge(i, 49) {
				sum++
			}
			at, _ := g.Index(g.ID(i))
			sum += at
		}
		for i := range u.Len() {
			buf = u.AppendSources(buf[:0], i)
			sum += len(buf)
		}
	}))
	assert.Positive(t, sum)
}

func TestViewsCannotBeAppendedInto(t *testing.T) {
	g, err := graph.Chain(numbered(4))
	require.NoError(t, err)
	_ = append(g.Sources(1), 99)
	_ = append(g.Targets(0), 99)
	assert.Equal(t, []uint32{1}, g.Sources(2))
	assert.Equal(t, []uint32{2}, g.Targets(1))
}

// Against a naive adjacency matrix: every accessor, for any edges.
func TestRapidCSRAgainstMatrix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 24).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)

		matrix := make([][]bool, n)
		order := make([][]uint32, n)
		for i := range matrix {
			matrix[i] = make([]bool, n)
			order[i] = []uint32{}
		}
		self := false
		for _, e := range edges {
			matrix[e[0]][e[1]] = true
			order[e[1]] = append(order[e[1]], uint32(e[0]))
			self = self || e[0] == e[1]
		}
		require.Equal(t, len(edges), g.NumEdges())
		require.Equal(t, order, rows(g))
		require.Equal(t, self, g.HasSelfEdges())
		for s := range n {
			var targets []uint32
			for d := range n {
				require.Equal(t, matrix[s][d], g.HasEdge(s, d))
				if matrix[s][d] {
					targets = append(targets, uint32(d))
				}
			}
			require.ElementsMatch(t, targets, g.Targets(s))
			require.IsIncreasing(t, append([]uint32{}, append(g.Targets(s), ^uint32(0))...))
		}
	})
}

// drawEdges draws different pairs in random order.
func drawEdges(t *rapid.T, n int, self bool) [][2]int {
	if n == 0 {
		return nil
	}
	pairs := rapid.SliceOfNDistinct(rapid.IntRange(0, n*n-1), 0, min(n*n, 4*n), rapid.ID[int]).Draw(t, "edges")
	var edges [][2]int
	for _, p := range pairs {
		if e := [2]int{p / n, p % n}; self || e[0] != e[1] {
			edges = append(edges, e)
		}
	}
	return edges
}

// fromPairs builds a graph with self edges allowed from dense pairs.
func fromPairs(t require.TestingT, n int, edges [][2]int) *graph.Graph {
	b := graph.NewBuilder(graph.SelfEdges())
	for _, s := range numbered(n) {
		_, err := b.AddSegment(s)
		require.NoError(t, err)
	}
	for _, e := range edges {
		require.NoError(t, b.AddEdgeAt(e[0], e[1]))
	}
	g, err := b.Build()
	require.NoError(t, err)
	return g
}
