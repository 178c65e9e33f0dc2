// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/graph/testgraph"
	"gonum.org/v1/gonum/graph/topo"
	"gonum.org/v1/gonum/graph/traverse"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// oracle builds the gonum graph with the same edges. gonum's simple graphs take
// no self edges, so those are left out.
func oracle(n int, edges [][2]int) *simple.DirectedGraph {
	d := simple.NewDirectedGraph()
	for i := range n {
		d.AddNode(simple.Node(i))
	}
	for _, e := range edges {
		if e[0] != e[1] {
			d.SetEdge(simple.Edge{F: simple.Node(e[0]), T: simple.Node(e[1])})
		}
	}
	return d
}

// gonum's own conformance tests for graph implementations.
func TestGonumConformance(t *testing.T) {
	build := func(nodes []gonum.Node, edges []testgraph.WeightedLine, _, _ float64) (gonum.Graph, []gonum.Node, []testgraph.Edge, float64, float64, bool) {
		ids := make([]int64, 0, len(nodes))
		add := func(n gonum.Node) {
			if n != nil && !slices.Contains(ids, n.ID()) {
				ids = append(ids, n.ID())
			}
		}
		for _, n := range nodes {
			add(n)
		}
		for _, e := range edges {
			add(e.From())
			add(e.To())
		}
		slices.Sort(ids)
		for i, id := range ids {
			if id != int64(i) { // node ids here are dense indices
				return nil, nil, nil, 0, 0, false
			}
		}
		b := graph.NewBuilder()
		for _, id := range ids {
			if _, err := b.AddSegment(graph.Segment{ID: strconv.FormatInt(id, 10)}); err != nil {
				return nil, nil, nil, 0, 0, false
			}
		}
		seen := map[[2]int64]bool{}
		var gotEdges []testgraph.Edge
		for _, e := range edges {
			k := [2]int64{e.From().ID(), e.To().ID()}
			if k[0] == k[1] || seen[k] {
				continue
			}
			seen[k] = true
			if err := b.AddEdgeAt(int(k[0]), int(k[1])); err != nil {
				return nil, nil, nil, 0, 0, false
			}
		}
		g, err := b.Build()
		if err != nil {
			return nil, nil, nil, 0, 0, false
		}
		for k := range seen {
			gotEdges = append(gotEdges, g.Edge(k[0], k[1]))
		}
		return g, gonum.NodesOf(g.Nodes()), gotEdges, 0, 0, true
	}
	ran := 0
	counted := func(nodes []gonum.Node, edges []testgraph.WeightedLine, self, absent float64) (gonum.Graph, []gonum.Node, []testgraph.Edge, float64, float64, bool) {
		g, n, e, s, a, ok := build(nodes, edges, self, absent)
		if ok {
			ran++
		}
		return g, n, e, s, a, ok
	}
	t.Run("EdgeExistence", func(t *testing.T) { testgraph.EdgeExistence(t, counted, false) })
	t.Run("NodeExistence", func(t *testing.T) { testgraph.NodeExistence(t, counted) })
	t.Run("ReturnAdjacentNodes", func(t *testing.T) { testgraph.ReturnAdjacentNodes(t, counted, false, false) })
	t.Run("ReturnAllNodes", func(t *testing.T) { testgraph.ReturnAllNodes(t, counted, false) })
	t.Run("ReturnNodeSlice", func(t *testing.T) { testgraph.ReturnNodeSlice(t, counted, false) })
	assert.Greater(t, ran, 10, "conformance cases that apply")
}

func TestGonumOutsideTheGraph(t *testing.T) {
	g, err := graph.Chain(numbered(3))
	require.NoError(t, err)
	for _, id := range []int64{-1, 3, 1 << 40} {
		assert.Nil(t, g.Node(id))
		assert.Zero(t, g.From(id).Len())
		assert.Zero(t, g.To(id).Len())
		assert.Nil(t, g.Edge(id, 0))
		assert.False(t, g.HasEdgeFromTo(0, id))
		assert.False(t, g.HasEdgeBetween(id, 0))
	}
	assert.True(t, g.HasEdgeBetween(1, 0))
	assert.Equal(t, g.Node(1), g.Edge(0, 1).To())
	assert.Equal(t, "s1", g.Node(1).(graph.Node).Segment().ID)

	it := g.To(2)
	assert.Nil(t, it.Node())
	require.True(t, it.Next())
	assert.Equal(t, int64(1), it.Node().ID())
	assert.False(t, it.Next())
	assert.False(t, it.Next())
	assert.Nil(t, it.Node())
	assert.Zero(t, it.Len())
	assert.Empty(t, gonum.NodesOf(it))
	it.Reset()
	assert.Equal(t, 1, it.Len())
}

func TestLevels(t *testing.T) {
	g, err := graph.FromEdges(named("d", "b", "c", "a", "alone"),
		[]graph.Edge{{"a", "b"}, {"a", "c"}, {"b", "c"}, {"c", "d"}, {"a", "d"}})
	require.NoError(t, err)
	levels, err := g.Levels()
	require.NoError(t, err)
	assert.Equal(t, []int{3, 1, 2, 0, 0}, levels)
}

func TestCycleErrors(t *testing.T) {
	tests := []struct {
		edges []graph.Edge
		ids   []string
		want  string
	}{
		{[]graph.Edge{{"a", "a"}}, []string{"a"}, `graph: cycle "a" → "a"`},
		{[]graph.Edge{{"c", "b"}, {"b", "c"}}, []string{"b", "c"}, `graph: cycle "b" → "c" → "b"`},
		// d hangs off the cycle, e leads into it; neither is part of it.
		{[]graph.Edge{{"e", "a"}, {"c", "a"}, {"a", "b"}, {"b", "c"}, {"c", "d"}}, []string{"a", "b", "c"}, `graph: cycle "a" → "b" → "c" → "a"`},
		{[]graph.Edge{{"d", "a"}, {"d", "e"}, {"e", "d"}}, []string{"d", "e"}, `graph: cycle "d" → "e" → "d"`},
	}
	for _, tt := range tests {
		g, err := graph.FromEdges(named("a", "b", "c", "d", "e"), tt.edges, graph.SelfEdges())
		require.NoError(t, err)
		levels, err := g.Levels()
		assert.Nil(t, levels)
		assert.EqualError(t, err, tt.want)
		var cycle *graph.CycleError
		require.ErrorAs(t, err, &cycle)
		assert.Equal(t, tt.ids, cycle.IDs)
	}

	// A long cycle keeps its message short.
	b := graph.NewBuilder()
	for _, s := range numbered(10000) {
		_, err := b.AddSegment(s)
		require.NoError(t, err)
	}
	for i := range 10000 {
		require.NoError(t, b.AddEdgeAt(i, (i+1)%10000))
	}
	g, err := b.Build()
	require.NoError(t, err)
	_, err = g.Levels()
	var cycle *graph.CycleError
	require.ErrorAs(t, err, &cycle)
	assert.Len(t, cycle.IDs, 10000)
	assert.Less(t, len(err.Error()), 300)
	assert.True(t, strings.HasPrefix(err.Error(), `graph: cycle "s0" → "s1" → "s2" → `), err)
	assert.True(t, strings.HasSuffix(err.Error(), `"s14" → … (9984 more) → "s9999" → "s0"`), err)
}

// Levels against gonum: an order exists for both or neither; the depth is the
// longest path; a reported cycle is real and lies in one strongly connected
// component.
func TestRapidLevelsAgainstGonum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		edges := drawEdges(t, n, rapid.Bool().Draw(t, "self"))
		if rapid.Bool().Draw(t, "acyclic") { // along a hidden order, else nearly all graphs have cycles
			rank := rapid.Permutation(slices.Collect(seq(n))).Draw(t, "rank")
			for i, e := range edges {
				if rank[e[0]] > rank[e[1]] {
					edges[i] = [2]int{e[1], e[0]}
				}
			}
			edges = slices.DeleteFunc(edges, func(e [2]int) bool { return e[0] == e[1] })
			slices.SortFunc(edges, func(a, b [2]int) int { return (a[0]*n + a[1]) - (b[0]*n + b[1]) })
			edges = slices.Compact(edges)
		}
		g := fromPairs(t, n, edges)
		levels, err := g.Levels()

		order, sortErr := topo.Sort(oracle(n, edges))
		if g.HasSelfEdges() || sortErr != nil {
			var cycle *graph.CycleError
			require.ErrorAs(t, err, &cycle)
			require.Len(t, cycle.IDs, len(cycle.Indices))
			component := map[int64]int{}
			for c, nodes := range topo.TarjanSCC(oracle(n, edges)) {
				for _, node := range nodes {
					component[node.ID()] = c
				}
			}
			for i, at := range cycle.Indices {
				require.Equal(t, g.ID(at), cycle.IDs[i])
				next := cycle.Indices[(i+1)%len(cycle.Indices)]
				require.True(t, g.HasEdge(at, next))
				require.Equal(t, component[int64(at)], component[int64(next)])
				require.NotContains(t, cycle.Indices[:i], at)
			}
			require.Equal(t, slices.Min(cycle.Indices), cycle.Indices[0])
			return
		}
		require.NoError(t, err)
		require.Len(t, levels, n)

		want := make([]int, n)
		d := oracle(n, edges)
		for _, node := range order {
			for _, s := range gonum.NodesOf(d.To(node.ID())) {
				want[node.ID()] = max(want[node.ID()], want[s.ID()]+1)
			}
		}
		require.Equal(t, want, levels)

		// gonum sorts our own type just as well.
		order, err = topo.Sort(g)
		require.NoError(t, err)
		place := map[int64]int{}
		for i, node := range order {
			place[node.ID()] = i
		}
		for _, e := range edges {
			require.Less(t, place[int64(e[0])], place[int64(e[1])])
		}
	})
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// The two graph types look the same to gonum's algorithms.
func TestRapidTarjanOnBoth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		edges := drawEdges(t, n, false)
		components := func(d gonum.Directed) [][]int64 {
			var out [][]int64
			for _, nodes := range topo.TarjanSCC(d) {
				var ids []int64
				for _, node := range nodes {
					ids = append(ids, node.ID())
				}
				slices.Sort(ids)
				out = append(out, ids)
			}
			slices.SortFunc(out, slices.Compare[[]int64])
			return out
		}
		require.Equal(t, components(oracle(n, edges)), components(fromPairs(t, n, edges)))
	})
}

func TestUnroll(t *testing.T) {
	g, err := graph.FromEdges(named("a", "b"), []graph.Edge{{"b", "a"}, {"a", "a"}, {"a", "b"}}, graph.SelfEdges())
	require.NoError(t, err)
	u, err := g.Unroll(2)
	require.NoError(t, err)
	assert.Same(t, g, u.Graph())
	assert.Equal(t, 2, u.Rounds())
	assert.Equal(t, 6, u.Len())
	assert.Equal(t, 6, u.NumEdges())
	want := [][]uint32{nil, nil, {1, 0}, {0}, {3, 2}, {2}}
	for i, sources := range want {
		assert.Equal(t, sources, u.AppendSources(nil, i), i)
	}
	segment, round := u.Node(3)
	assert.Equal(t, [2]int{1, 1}, [2]int{segment, round})
	assert.Equal(t, 3, u.Index(1, 1))

	alone, err := g.Unroll(0)
	require.NoError(t, err)
	assert.Equal(t, 2, alone.Len())
	assert.Zero(t, alone.NumEdges())

	_, err = g.Unroll(-1)
	assert.EqualError(t, err, "graph: unroll: negative number of rounds -1")
	_, err = g.Unroll(graph.MaxSegments / 2)
	require.ErrorIs(t, err, graph.ErrTooLarge)
	assert.EqualError(t, err, "graph: unroll: too large: 2 segments in rounds 0 to 1073741823, the limit is 2147483647 nodes")
	big, err := g.Unroll(graph.MaxSegments/2 - 1)
	require.NoError(t, err)
	assert.Equal(t, []uint32{uint32(big.Len()) - 4}, big.AppendSources(nil, big.Len()-1))

	assert.PanicsWithValue(t, "graph: no node 6 in 6", func() { u.Node(6) })
	assert.PanicsWithValue(t, "graph: no node (segment 2, round 0) in 2 segments, rounds 0 to 2", func() { u.Index(2, 0) })
	assert.Panics(t, func() { u.Index(0, 3) })
	assert.Panics(t, func() { u.Index(-1, 0) })
}

// Unrolling is acyclic by gonum's judgement, and is the definition, edge by edge.
func TestRapidUnrollAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10).Draw(t, "n")
		edges := drawEdges(t, n, true)
		rounds := rapid.IntRange(0, 4).Draw(t, "rounds")
		u, err := fromPairs(t, n, edges).Unroll(rounds)
		require.NoError(t, err)

		want := map[[4]int]bool{}
		for _, e := range edges {
			for r := 1; r <= rounds; r++ {
				want[[4]int{e[0], r - 1, e[1], r}] = true
			}
		}
		got := map[[4]int]bool{}
		d := simple.NewDirectedGraph()
		for i := range u.Len() {
			segment, round := u.Node(i)
			require.Equal(t, i, u.Index(segment, round))
			for _, j := range u.AppendSources(nil, i) {
				s, r := u.Node(int(j))
				got[[4]int{s, r, segment, round}] = true
				d.SetEdge(simple.Edge{F: simple.Node(j), T: simple.Node(i)})
			}
		}
		require.Equal(t, want, got)
		require.Len(t, got, u.NumEdges())
		_, err = topo.Sort(d)
		require.NoError(t, err)
	})
}

func TestSets(t *testing.T) {
	// 0 → 1 → 2 → 3 → 1, 4 → 3, 5
	g := fromPairs(t, 6, [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 1}, {4, 3}})
	assert.Equal(t, []uint32{0, 1, 2, 3, 4}, g.Ancestors(2).ToArray())
	assert.Empty(t, g.Ancestors(0).ToArray())
	assert.Equal(t, []uint32{1, 2, 3}, g.Descendants(0).ToArray())
	assert.Empty(t, g.Descendants(5).ToArray())

	hops := func(i, k int, d graph.Direction) []uint32 {
		set, err := g.KHop(i, k, d)
		require.NoError(t, err)
		return set.ToArray()
	}
	assert.Equal(t, []uint32{3}, hops(3, 0, graph.Incoming))
	assert.Equal(t, []uint32{2, 3, 4}, hops(3, 1, graph.Incoming))
	assert.Equal(t, []uint32{1, 2, 3, 4}, hops(3, 2, graph.Incoming))
	assert.Equal(t, []uint32{1, 3}, hops(3, 1, graph.Outgoing))
	assert.Equal(t, []uint32{5}, hops(5, 9, graph.Outgoing))

	_, err := g.KHop(6, 1, graph.Incoming)
	require.ErrorIs(t, err, graph.ErrUnknownSegment)
	assert.EqualError(t, err, "graph: segment 6: unknown segment: there are 6 segments")
	_, err = g.KHop(-1, 1, graph.Incoming)
	require.ErrorIs(t, err, graph.ErrUnknownSegment)
	_, err = g.KHop(0, -1, graph.Incoming)
	assert.EqualError(t, err, `graph: k-hop neighbourhood of "s0": negative k -1`)
	_, err = g.KHop(0, 1, 7)
	assert.EqualError(t, err, `graph: k-hop neighbourhood of "s0": unknown direction Direction(7)`)
	assert.Equal(t, "incoming outgoing", graph.Incoming.String()+" "+graph.Outgoing.String())
	assert.Panics(t, func() { g.Ancestors(6) })
}

func TestRapidSetsAgainstGonum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "n") // more than one word of the bitset
		edges := drawEdges(t, n, true)
		g, d := fromPairs(t, n, edges), oracle(n, edges)
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		k := rapid.IntRange(0, 4).Draw(t, "k")

		var reached []uint32
		walk := traverse.BreadthFirst{}
		walk.Walk(d, simple.Node(i), func(node gonum.Node, depth int) bool {
			if depth <= k {
				reached = append(reached, uint32(node.ID()))
			}
			return false
		})
		slices.Sort(reached)
		set, err := g.KHop(i, k, graph.Outgoing)
		require.NoError(t, err)
		require.Equal(t, reached, set.ToArray())

		for j := range n {
			in, err := g.KHop(j, k, graph.Incoming)
			require.NoError(t, err)
			require.Equal(t, set.ContainsInt(j), in.ContainsInt(i), "the other direction, from the other end")

			want := g.HasEdge(i, i)
			for _, s := range gonum.NodesOf(d.From(int64(i))) {
				want = want || path.DijkstraFrom(s, d).WeightTo(int64(j)) < float64(n)
			}
			if i != j { // gonum does not see a self edge, but one adds nothing to others
				want = topo.PathExistsIn(d, simple.Node(i), simple.Node(j))
			}
			require.Equal(t, want, g.Descendants(i).ContainsInt(j))
			require.Equal(t, want, g.Ancestors(j).ContainsInt(i))
		}
	})
}

func TestSubgraph(t *testing.T) {
	g, err := graph.FromEdges([]graph.Segment{{ID: "a", Text: "x"}, {ID: "b"}, {ID: "c"}, {ID: "d", Tokens: []int32{1}}},
		[]graph.Edge{{"d", "a"}, {"b", "a"}, {"c", "a"}, {"a", "a"}, {"a", "d"}}, graph.SelfEdges())
	require.NoError(t, err)
	sub, err := g.Subgraph(roaring.BitmapOf(3, 0, 2))
	require.NoError(t, err)
	want, err := graph.FromEdges([]graph.Segment{{ID: "a", Text: "x"}, {ID: "c"}, {ID: "d", Tokens: []int32{1}}},
		[]graph.Edge{{"d", "a"}, {"c", "a"}, {"a", "a"}, {"a", "d"}}, graph.SelfEdges())
	require.NoError(t, err)
	same(t, want, sub)
	at, ok := sub.Index("d")
	assert.True(t, ok)
	assert.Equal(t, 2, at)

	empty, err := g.Subgraph(roaring.New())
	require.NoError(t, err)
	assert.Zero(t, empty.Len())

	_, err = g.Subgraph(roaring.BitmapOf(1, 4))
	require.ErrorIs(t, err, graph.ErrUnknownSegment)
	assert.EqualError(t, err, "graph: segment 4: unknown segment: there are 4 segments")
	_, err = new(graph.Graph).Subgraph(roaring.BitmapOf(1<<32 - 1))
	require.ErrorIs(t, err, graph.ErrUnknownSegment)
}

func TestRapidSubgraphKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 150).Draw(t, "n")
		g := fromPairs(t, n, drawEdges(t, n, true))
		set := roaring.New()
		for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, n-1), rapid.ID[int]).Draw(t, "set") {
			set.AddInt(i)
		}
		sub, err := g.Subgraph(set)
		require.NoError(t, err)
		require.Equal(t, int(set.GetCardinality()), sub.Len())
		for p, i := range set.ToArray() {
			require.Equal(t, g.Segment(int(i)), sub.Segment(p))
			var want, got []string
			for _, s := range g.Sources(int(i)) {
				if set.Contains(s) {
					want = append(want, g.ID(int(s)))
				}
			}
			for _, s := range sub.Sources(p) {
				got = append(got, sub.ID(int(s)))
			}
			require.Equal(t, want, got)
		}
	})
}
