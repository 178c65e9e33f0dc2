// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/simple"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

func TestShapes(t *testing.T) {
	s := numbered(4)
	tests := []struct {
		name  string
		build func() (*graph.Graph, error)
		want  [][]uint32
	}{
		{"full", func() (*graph.Graph, error) { return graph.Full(s, false) },
			[][]uint32{{1, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 2}}},
		{"full with self", func() (*graph.Graph, error) { return graph.Full(s, true) },
			[][]uint32{{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}}},
		{"full of none", func() (*graph.Graph, error) { return graph.Full(nil, false) }, [][]uint32{}},
		{"full of one", func() (*graph.Graph, error) { return graph.Full(s[:1], false) }, [][]uint32{{}}},
		{"top 0", func() (*graph.Graph, error) { return graph.TopK(s, 0) }, [][]uint32{{}, {}, {}, {}}},
		{"top 1", func() (*graph.Graph, error) { return graph.TopK(s, 1) }, [][]uint32{{3}, {3}, {3}, {3}}},
		{"top 3", func() (*graph.Graph, error) { return graph.TopK(s, 3) },
			[][]uint32{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {1, 2, 3}}},
		{"top 9", func() (*graph.Graph, error) { return graph.TopK(s, 9) },
			[][]uint32{{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}}},
		{"star", func() (*graph.Graph, error) { return graph.Star(s, 2) }, [][]uint32{{}, {}, {0, 1, 3}, {}}},
		{"star of one", func() (*graph.Graph, error) { return graph.Star(s[:1], 0) }, [][]uint32{{}}},
		{"ego batch", func() (*graph.Graph, error) {
			return graph.EgoBatch(s, []graph.Ego{{Center: 3, Neighbours: []int{2, 0}}, {Center: 1, Neighbours: []int{0}}})
		}, [][]uint32{{}, {0}, {}, {2, 0}}},
		{"chain", func() (*graph.Graph, error) { return graph.Chain(s) }, [][]uint32{{}, {0}, {1}, {2}}},
		{"chain of none", func() (*graph.Graph, error) { return graph.Chain(nil) }, [][]uint32{}},
		{"causal", func() (*graph.Graph, error) { return graph.Causal(s) }, [][]uint32{{}, {0}, {0, 1}, {0, 1, 2}}},
		{"causal of none", func() (*graph.Graph, error) { return graph.Causal(nil) }, [][]uint32{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := tt.build()
			require.NoError(t, err)
			assert.Equal(t, tt.want, rows(g))
		})
	}
}

func TestShapeErrors(t *testing.T) {
	s := numbered(3)
	twice := named("a", "b", "a")
	tests := []struct {
		name  string
		build func() (*graph.Graph, error)
		want  string
	}{
		{"negative k", func() (*graph.Graph, error) { return graph.TopK(s, -1) }, "graph: top-k with negative k -1"},
		{"full too large", func() (*graph.Graph, error) { return graph.Full(numbered(1<<16), true) },
			"graph: too large: 65536 segments need 4294967296 edges, the limit is 4294967295"},
		{"star center", func() (*graph.Graph, error) { return graph.Star(s, 3) },
			"graph: segment 3: unknown segment: center of ego graph 0, there are 3 segments"},
		{"star of none", func() (*graph.Graph, error) { return graph.Star(nil, 0) },
			"graph: segment 0: unknown segment: center of ego graph 0, there are 0 segments"},
		{"center twice", func() (*graph.Graph, error) {
			return graph.EgoBatch(s, []graph.Ego{{Center: 1}, {Center: 0}, {Center: 1}})
		}, `graph: segment 1 "s1": duplicate segment id: center of ego graphs 0 and 2`},
		{"center its own neighbour", func() (*graph.Graph, error) {
			return graph.EgoBatch(s, []graph.Ego{{Center: 1, Neighbours: []int{0, 1}}})
		}, `graph: edge "s1" → "s1": self edge: not allowed without SelfEdges`},
		{"neighbour twice", func() (*graph.Graph, error) {
			return graph.EgoBatch(s, []graph.Ego{{Center: 1, Neighbours: []int{0, 2, 0}}})
		}, `graph: edge "s0" → "s1": duplicate edge`},
		{"unknown neighbour", func() (*graph.Graph, error) {
			return graph.EgoBatch(s, []graph.Ego{{Center: 1, Neighbours: []int{7}}})
		}, `graph: edge "#7" → "s1": unknown source: index 7 of 3 segments`},
		{"full", func() (*graph.Graph, error) { return graph.Full(twice, false) }, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"topk", func() (*graph.Graph, error) { return graph.TopK(twice, 1) }, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"star", func() (*graph.Graph, error) { return graph.Star(twice, 0) }, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"chain", func() (*graph.Graph, error) { return graph.Chain(twice) }, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"causal", func() (*graph.Graph, error) { return graph.Causal(twice) }, `graph: segment 2 "a": duplicate segment id (first is segment 0)`},
		{"nil gonum graph", func() (*graph.Graph, error) { return graph.FromDirected(nil, nil) }, "graph: nil graph"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := tt.build()
			require.EqualError(t, err, tt.want)
			assert.Nil(t, g)
		})
	}
	_, err := graph.Full(numbered(1<<16), true)
	assert.ErrorIs(t, err, graph.ErrTooLarge)
	_, err = graph.Full(numbered(1<<17), false)
	assert.ErrorIs(t, err, graph.ErrTooLarge)
	_, err = graph.Causal(numbered(1 << 17))
	assert.ErrorIs(t, err, graph.ErrTooLarge)
}

func TestFromDirected(t *testing.T) {
	d := simple.NewDirectedGraph()
	for _, e := range [][2]int64{{30, -2}, {7, -2}, {-2, 7}} {
		d.SetEdge(d.NewEdge(simple.Node(e[0]), simple.Node(e[1])))
	}
	g, err := graph.FromDirected(d, nil)
	require.NoError(t, err)
	assert.Equal(t, [][]uint32{{1, 2}, {0}, {}}, rows(g))
	for i, id := range []string{"-2", "7", "30"} {
		assert.Equal(t, id, g.ID(i))
	}

	// Our own graph is a gonum graph too; the segments come over with a function.
	full, err := graph.Full([]graph.Segment{{ID: "x", Text: "one"}, {ID: "y", Tokens: []int32{2}}}, true)
	require.NoError(t, err)
	_, err = graph.FromDirected(full, segmentOf)
	require.ErrorIs(t, err, graph.ErrSelfEdge)
	back, err := graph.FromDirected(full, segmentOf, graph.SelfEdges())
	require.NoError(t, err)
	same(t, full, back)

	_, err = graph.FromDirected(d, func(gonum.Node) graph.Segment { return graph.Segment{ID: "x"} })
	require.ErrorIs(t, err, graph.ErrDuplicateSegment)
}

func segmentOf(n gonum.Node) graph.Segment { return n.(graph.Node).Segment() }

func TestRapidTopKIsTheTailOfFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := numbered(rapid.IntRange(0, 12).Draw(t, "n"))
		k := rapid.IntRange(0, 14).Draw(t, "k")
		full, err := graph.Full(s, true)
		require.NoError(t, err)
		top, err := graph.TopK(s, k)
		require.NoError(t, err)
		for i := range s {
			all := full.Sources(i)
			require.Equal(t, all[max(0, len(all)-k):], top.Sources(i))
		}
	})
}
