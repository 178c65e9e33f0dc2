// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"math"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// distances returns gonum's shortest distances from i: over sources when the
// direction is Incoming. Segments that are not reached are missing.
func distances(n int, edges [][2]int, i int, d graph.Direction) map[int]int {
	o := oracle(n, edges)
	if d == graph.Incoming {
		back := make([][2]int, len(edges))
		for k, e := range edges {
			back[k] = [2]int{e[1], e[0]}
		}
		o = oracle(n, back)
	}
	shortest := path.DijkstraFrom(o.Node(int64(i)), o)
	out := make(map[int]int)
	for j := range n {
		if w := shortest.WeightTo(int64(j)); !math.IsInf(w, 1) {
			out[j] = int(w)
		}
	}
	return out
}

func drawDirection(t *rapid.T) graph.Direction {
	return rapid.SampledFrom([]graph.Direction{graph.Incoming, graph.Outgoing}).Draw(t, "direction")
}

// Rings are gonum's distances, from far to near.
func TestHopNeighbourhoods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		center := rapid.IntRange(0, n-1).Draw(t, "center")
		k := rapid.SampledFrom([]int{0, 1, 2, 3, math.MaxInt}).Draw(t, "k")
		d := drawDirection(t)
		got, err := g.HopNeighbourhoods(center, k, d)
		require.NoError(t, err)

		dist := distances(n, edges, center, d)
		farthest := 0
		for _, at := range dist {
			farthest = max(farthest, at)
		}
		var want []graph.Neighbourhood
		for radius := min(k, farthest); radius >= 0; radius-- {
			var within []int
			for i, at := range dist {
				if at <= radius {
					within = append(within, i)
				}
			}
			slices.SortFunc(within, func(a, b int) int {
				if dist[a] != dist[b] {
					return dist[b] - dist[a]
				}
				return a - b
			})
			want = append(want, graph.Neighbourhood{Center: center, Radius: radius, Segments: within})
		}
		require.Equal(t, want, got)
		require.Equal(t, got[0].Segments, graph.Sequence(got))
	})
}

// What walks meet is near, connected and in the order of how often it was met.
func TestWalkNeighbourhoods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		center := rapid.IntRange(0, n-1).Draw(t, "center")
		o := graph.WalkOptions{
			Length:    rapid.IntRange(0, 4).Draw(t, "length"),
			Walks:     rapid.IntRange(1, 5).Draw(t, "walks"),
			Repeats:   rapid.IntRange(1, 3).Draw(t, "repeats"),
			Direction: drawDirection(t),
			Seed:      rapid.Uint64().Draw(t, "seed"),
		}
		got, err := g.WalkNeighbourhoods(center, o)
		require.NoError(t, err)
		require.Len(t, got, o.Length*o.Repeats+1)
		for k, w := range got {
			require.Equal(t, center, w.Center)
			require.Equal(t, o.Length-k/o.Repeats, w.Radius)
			require.Equal(t, center, w.Segments[len(w.Segments)-1])
			require.LessOrEqual(t, len(w.Segments), 1+o.Walks*w.Radius)

			induced, err := g.Induced(w.Segments) // refuses a segment that stands twice
			require.NoError(t, err)
			within, err := induced.KHop(induced.Len()-1, w.Radius, o.Direction)
			require.NoError(t, err)
			require.Equal(t, induced.Len(), int(within.GetCardinality()), "walks do not leave their own segments")
		}
		_, err = g.WalkNeighbourhoods(0, o)
		require.NoError(t, err)
		again, err := g.WalkNeighbourhoods(center, o)
		require.NoError(t, err)
		require.Equal(t, got, again, "nothing depends on what was sampled before")

		sequence := graph.Sequence(got)
		require.Equal(t, center, sequence[len(sequence)-1])
		nearest := make(map[int]int) // place of the last neighbourhood that has a segment
		for k, w := range got {
			for _, i := range w.Segments {
				nearest[i] = k
			}
		}
		require.Len(t, sequence, len(nearest))
		require.True(t, slices.IsSortedFunc(sequence, func(a, b int) int { return nearest[a] - nearest[b] }))
	})
}

// The frequency with which walks come to a segment of the last layer is an entry of
// a power of the transition matrix.
func TestWalksAreRandom(t *testing.T) {
	// Layers 0 | 1 2 3 | 4 5 6 7, with uneven rows; edges lead to the layer before.
	edges := [][2]int{{1, 0}, {2, 0}, {3, 0}, {4, 1}, {4, 2}, {5, 2}, {6, 2}, {4, 3}, {7, 3}, {5, 1}, {6, 1}, {7, 1}}
	g := fromPairs(t, 8, edges)
	m := mat.NewDense(8, 8, nil)
	for _, e := range edges {
		m.Set(e[1], e[0], 1/float64(len(g.Sources(e[1]))))
	}
	var square mat.Dense
	square.Mul(m, m)

	const samples = 20000
	got, err := g.WalkNeighbourhoods(0, graph.WalkOptions{Length: 2, Walks: 1, Repeats: samples, Seed: 7})
	require.NoError(t, err)
	count := make([]float64, 8)
	for _, w := range got[:samples] {
		require.Len(t, w.Segments, 3)
		for _, i := range w.Segments {
			count[i]++
		}
	}
	for i := 4; i < 8; i++ {
		p := square.At(0, i)
		assert.InDelta(t, p, count[i]/samples, 5*math.Sqrt(p*(1-p)/samples), i)
	}
	other, err := g.WalkNeighbourhoods(0, graph.WalkOptions{Length: 2, Walks: 1, Repeats: samples, Seed: 8})
	require.NoError(t, err)
	assert.NotEqual(t, got, other)
}

func TestWalkOrder(t *testing.T) {
	// From 0, three of four steps go to 1 or 2, which both lead to 3.
	g := fromPairs(t, 5, [][2]int{{1, 0}, {2, 0}, {4, 0}, {3, 1}, {3, 2}})
	got, err := g.WalkNeighbourhoods(0, graph.WalkOptions{Length: 2, Walks: 200, Repeats: 1})
	require.NoError(t, err)
	assert.Equal(t, 3, got[0].Segments[3], "met by two walks of three")
	assert.ElementsMatch(t, []int{1, 2, 4}, got[0].Segments[:3])
}

func TestNeighbourhoodErrors(t *testing.T) {
	g := fromPairs(t, 3, [][2]int{{0, 1}})
	ok := graph.WalkOptions{Length: 1, Walks: 1, Repeats: 1}
	walks := func(center int, change func(*graph.WalkOptions)) func() error {
		return func() error {
			o := ok
			change(&o)
			_, err := g.WalkNeighbourhoods(center, o)
			return err
		}
	}
	for _, c := range []struct {
		call func() error
		want string
	}{
		{func() error { _, err := g.HopNeighbourhoods(3, 1, 0); return err }, "graph: segment 3: unknown segment: there are 3 segments"},
		{func() error { _, err := g.HopNeighbourhoods(1, -1, 0); return err }, `graph: k-hop neighbourhood of "s1": negative k -1`},
		{func() error { _, err := g.HopNeighbourhoods(1, 1, 9); return err }, `graph: k-hop neighbourhood of "s1": unknown direction Direction(9)`},
		{walks(-1, func(*graph.WalkOptions) {}), "graph: segment -1: unknown segment: there are 3 segments"},
		{walks(1, func(o *graph.WalkOptions) { o.Length = -2 }), `graph: walks from "s1": negative length -2`},
		{walks(1, func(o *graph.WalkOptions) { o.Walks = 0 }), `graph: walks from "s1": 0 walks, want at least 1`},
		{walks(1, func(o *graph.WalkOptions) { o.Repeats = -1 }), `graph: walks from "s1": -1 repeats, want at least 1`},
		{walks(1, func(o *graph.WalkOptions) { o.Direction = 5 }), `graph: walks from "s1": unknown direction Direction(5)`},
		{walks(1, func(o *graph.WalkOptions) { o.Length, o.Walks, o.Repeats = math.MaxInt, math.MaxInt, math.MaxInt }), "too large"},
		{walks(1, func(o *graph.WalkOptions) { o.Length = 1 << 20 }), "too large"},
	} {
		require.ErrorContains(t, c.call(), c.want)
	}
}

func TestInduced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		sequence := rapid.SliceOfDistinct(rapid.IntRange(0, n-1), rapid.ID[int]).Draw(t, "sequence")
		got, err := g.Induced(sequence)
		require.NoError(t, err)
		require.Equal(t, len(sequence), got.Len())
		for at, i := range sequence {
			require.Equal(t, g.Segment(i), got.Segment(at))
			var want []string
			for _, s := range g.Sources(i) {
				if slices.Contains(sequence, int(s)) {
					want = append(want, g.ID(int(s)))
				}
			}
			var have []string
			for _, s := range got.Sources(at) {
				have = append(have, got.ID(int(s)))
			}
			require.Equal(t, want, have)
		}
		slices.Sort(sequence)
		sorted, err := g.Induced(sequence)
		require.NoError(t, err)
		set := roaring.New()
		for _, i := range sequence {
			set.AddInt(i)
		}
		sub, err := g.Subgraph(set)
		require.NoError(t, err)
		require.Equal(t, rows(sub), rows(sorted))
	})
	g := fromPairs(t, 3, nil)
	_, err := g.Induced([]int{2, 0, 2})
	assert.EqualError(t, err, `graph: segment 2 "s2": duplicate segment id: at 0 and 2 of the sequence`)
	_, err = g.Induced([]int{0, 3})
	assert.EqualError(t, err, "graph: segment 3: unknown segment: there are 3 segments")
}

// gonum's undirected view has the same edges.
func TestSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 16).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		got, err := g.Symmetric()
		require.NoError(t, err)
		want := gonum.Undirect{G: oracle(n, edges)}
		for i := range n {
			require.Equal(t, g.Segment(i), got.Segment(i))
			own := g.Sources(i)
			require.Equal(t, own, got.Sources(i)[:len(own)])
			require.True(t, slices.IsSorted(got.Sources(i)[len(own):]))
			for j := range n {
				if i != j {
					require.Equal(t, want.HasEdgeBetween(int64(i), int64(j)), got.HasEdge(i, j))
				} else {
					require.Equal(t, g.HasEdge(i, i), got.HasEdge(i, i))
				}
			}
		}
		require.Equal(t, g.HasSelfEdges(), got.HasSelfEdges())
	})
}

// The kept end is the longest that fits, found by trying all.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		g := fromPairs(t, n, nil)
		lengths := rapid.SliceOfN(rapid.IntRange(0, 9), n, n).Draw(t, "lengths")
		sequence := rapid.Permutation(upTo(n)).Draw(t, "sequence")[:rapid.IntRange(0, n).Draw(t, "some")]
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		sum := func(s []int) (total int) {
			for _, i := range s {
				total += lengths[i]
			}
			return total
		}
		got, err := g.Fit(sequence, graph.Budget{Limit: limit, Lengths: lengths})
		if limit > 0 && len(sequence) > 0 && lengths[sequence[len(sequence)-1]] > limit {
			require.ErrorIs(t, err, graph.ErrBudget)
			return
		}
		require.NoError(t, err)
		want := sequence
		for limit > 0 && sum(want) > limit {
			want = want[1:]
		}
		require.Equal(t, want, got)
	})
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestFitErrors(t *testing.T) {
	tokens, err := graph.FromEdges([]graph.Segment{{ID: "a", Tokens: []int32{1, 2, 3}}, {ID: "b", Tokens: []int32{4}}}, nil)
	require.NoError(t, err)
	got, err := tokens.Fit([]int{0, 1}, graph.Budget{Limit: 3})
	require.NoError(t, err)
	assert.Equal(t, []int{1}, got)
	text, err := graph.FromEdges([]graph.Segment{{ID: "a"}, {ID: "b", Text: "long"}}, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		g        *graph.Graph
		sequence []int
		budget   graph.Budget
		want     string
	}{
		{tokens, []int{1, 0}, graph.Budget{Limit: 2}, `graph: segment 0 "a": over budget: 3 tokens, the limit is 2`},
		{tokens, []int{2}, graph.Budget{}, "graph: segment 2: unknown segment: there are 2 segments"},
		{tokens, nil, graph.Budget{Limit: -1}, "graph: budget of -1 tokens, want at least 1, or 0 for no limit"},
		{tokens, nil, graph.Budget{Limit: 1, Lengths: []int{1}}, "graph: budget with lengths of 1 segments, there are 2"},
		{tokens, nil, graph.Budget{Limit: 1, Lengths: []int{1, -4}}, `graph: segment 1 "b": bad segment: negative length -4`},
		{text, []int{0}, graph.Budget{Limit: 1}, `graph: segment 1 "b": bad segment: it is text, and the budget has no lengths`},
		{tokens, []int{0, 1}, graph.Budget{Limit: math.MaxInt, Lengths: []int{math.MaxInt, math.MaxInt}}, ""},
	} {
		got, err := c.g.Fit(c.sequence, c.budget)
		if c.want == "" { // sums do not overflow
			require.NoError(t, err)
			assert.Equal(t, []int{1}, got)
			continue
		}
		require.EqualError(t, err, c.want)
	}
}
