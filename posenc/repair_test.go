// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRepairCountsTokens(t *testing.T) {
	for _, c := range []struct {
		repair  Repair
		n, want int
	}{
		{Repair{}, 5, 0},
		{Repair{First: 3}, 5, 3},
		{Repair{First: 9}, 5, 5},
		{Repair{Fraction: 0.15}, 20, 3},
		{Repair{Fraction: 0.15}, 21, 4},
		{Repair{Fraction: 0.07}, 100, 7},
		{Repair{Fraction: 1e-300}, 100, 1},
		{Repair{Fraction: 1}, math.MaxInt32, math.MaxInt32},
		{Repair{Fraction: 0.999}, 9, 9},
	} {
		require.Equal(t, c.want, c.repair.Tokens(c.n), "%+v of %d", c.repair, c.n)
	}
}

func TestRepairPresets(t *testing.T) {
	// Prefix of 3, segments of 4, 1 and 6, query of 2: the second segment has a single token and cannot be repaired in part.
	l, err := EPIC(3, []int{4, 1, 6}, 2, 2)
	require.NoError(t, err)
	require.Equal(t, []string{
		"[1,-1,0,0,3]",
		"[0,0,0,0,4]",
		"[0,0,1,3,4,[0,0]]",
		"[0,1,0,7,1,[0,0],[2,3]]",
		"[0,2,0,0,6]",
		"[0,2,1,8,6,[0,0],[2,3],[3,7]]",
		"[2,-1,0,14,2,[0,0],[2,3],[3,7],[5,8]]",
	}, dump(t, l))
	require.Equal(t, Repair{Of: 1, First: 2}, l.Node(2).Repair)
	require.Equal(t, Repair{Of: 4, First: 2}, l.Node(5).Repair)
	require.Equal(t, []int{3, 4, 2, 1, 6, 2, 2}, encodes(l))

	// Without a prefix nothing stands before the first segment.
	l, err = CacheBlend(0, []int{4, 6}, 2, 0.5)
	require.NoError(t, err)
	require.Equal(t, []string{"[0,0,0,0,4]", "[0,1,0,0,6]", "[0,1,1,4,6,[0,0]]", "[2,-1,0,10,2,[0,0],[2,4]]"}, dump(t, l))
	require.Equal(t, Repair{Of: 1, Fraction: 0.5}, l.Node(2).Repair)
	require.Equal(t, []int{4, 6, 3, 2}, encodes(l))
}

func encodes(l *Layout) (all []int) {
	for i := range l.Len() {
		all = append(all, l.Encodes(i))
	}
	return all
}

// Nothing to repair is Block, everything is Sequential: the same layouts, not only alike.
func TestRepairPresetsAtTheirEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix, query := rapid.IntRange(0, 5).Draw(t, "prefix"), rapid.IntRange(1, 5).Draw(t, "query")
		segments := rapid.SliceOfN(rapid.IntRange(1, 9), 0, 6).Draw(t, "segments")
		must := func(l *Layout, err error) *Layout {
			require.NoError(t, err)
			return l
		}
		block, sequential := must(Block(prefix, segments, query)), must(Sequential(prefix, segments, query))
		require.Equal(t, block, must(CacheBlend(prefix, segments, query, 0)))
		require.Equal(t, block, must(EPIC(prefix, segments, query, 0)))
		for _, l := range []*Layout{must(CacheBlend(prefix, segments, query, 1)), must(EPIC(prefix, segments, query, 9)), must(EPIC(prefix, segments, query, math.MaxInt))} {
			require.Equal(t, sequential.nodes, l.nodes)
			require.Equal(t, sequential.seen, l.seen)
			require.Equal(t, sequential.end, l.end)
		}
	})
}

func TestRepairsRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{second(CacheBlend(1, []int{2}, 1, -0.1)), "posenc: a fraction of -0.1 to repair, want 0 to 1"},
		{second(CacheBlend(1, []int{2}, 1, 1.1)), "fraction of 1.1"},
		{second(CacheBlend(1, []int{2}, 1, math.NaN())), "fraction of NaN"},
		{second(EPIC(1, []int{2}, 1, -1)), "posenc: the first -1 tokens to repair, want at least 0"},
		{second(EPIC(1, []int{0}, 1, 1)), "segment 0 of 0 tokens"},
		{second(CacheBlend(1, []int{MaxPosition}, 1, 0.5)), "positions, the limit is"},
	} {
		require.ErrorContains(t, c.err, c.want)
	}
	plain, both := Node{Segment: 1, Len: 4}, Node{Segment: 2, Len: 4, Bidirectional: true}
	first := func(r Repair) Node { return Node{Segment: 3, Len: 4, Repair: r} }
	for _, c := range []struct {
		node Node
		want string
	}{
		{first(Repair{Of: 3, First: 1}), "posenc: node 3 (segment 3): it repairs node 3, which does not come earlier"},
		{first(Repair{Of: -1, First: 1}), "it repairs node -1, which does not come earlier"},
		{first(Repair{Of: 0}), ""}, // the zero Repair is none
		{first(Repair{Of: 1}), "node 1 (segment 2): of a bidirectional node every token is encoded again"},
		{first(Repair{Of: 1, First: 2}), "every token is encoded again"},
		{first(Repair{Of: 2, First: 2}), "node 2 (segment 1 round 1), which is a repair itself"},
		{first(Repair{First: 5}), "the first 5 tokens of 4"},
		{first(Repair{First: -1}), "the first -1 tokens of 4"},
		{first(Repair{Fraction: -1}), "fraction -1, want more than 0 and at most 1"},
		{first(Repair{Fraction: 2}), "fraction 2"},
		{first(Repair{Fraction: math.NaN()}), "fraction NaN"},
		{first(Repair{First: 1, Fraction: 0.5}), "want either the first tokens or a fraction"},
		{Node{Segment: 3, Len: 3, Repair: Repair{First: 1}}, "node 0 (segment 1) of 4 tokens and has 3"},
		{Node{Segment: 3, Len: 4, Bidirectional: true, Repair: Repair{First: 1}}, "every token is encoded again"},
		{Node{Kind: QueryNode, Segment: -1, Len: 4, Repair: Repair{First: 1}}, "the query is no repair"},
	} {
		b := NewLayoutBuilder()
		for _, n := range []Node{plain, both, {Segment: 1, Round: 1, Len: 4, Repair: Repair{First: 1}}} {
			_, err := b.Add(n)
			require.NoError(t, err)
		}
		_, err := b.Add(c.node)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}

func second(_ *Layout, err error) error { return err }

// place is a token of a layout with repairs that is encoded.
type place struct{ node, token int }

// view is what one token sees of another: how far it stands before, and how loudly it speaks.
type view struct {
	place
	distance int
	score    string
}

// repairedLayout draws a layout in which some nodes repair others, and which tokens they do.
func repairedLayout(t *rapid.T) (*Layout, [][]int) {
	b := NewLayoutBuilder()
	n := rapid.IntRange(1, 9).Draw(t, "nodes")
	loud, err := b.Score(Score{Scale: 2})
	require.NoError(t, err)
	repaired := make([][]int, n)
	ranked := false
	for i := 0; i < n; i++ {
		if size := 2; i+size < n && rapid.IntRange(0, 5).Draw(t, "group") == 0 {
			nodes, sees := make([]Node, size), make([][]Seen, size)
			for k := range nodes {
				nodes[k] = Node{Segment: i + k, Base: rapid.IntRange(0, 20).Draw(t, "base"), Len: rapid.IntRange(1, 6).Draw(t, "length")}
				for s := range i + size {
					if s != i+k && rapid.Bool().Draw(t, "sees") {
						sees[k] = append(sees[k], Seen{Node: int32(s), Base: int32(rapid.IntRange(0, 20).Draw(t, "base"))})
					}
				}
			}
			_, err := b.AddGroup(nodes, sees)
			require.NoError(t, err)
			i += size - 1
			continue
		}
		node := Node{Segment: i, Base: rapid.IntRange(0, 20).Draw(t, "base"), Len: rapid.IntRange(1, 6).Draw(t, "length")}
		if i == n-1 {
			node.Kind, node.Segment = QueryNode, -1
		} else if i > 0 && rapid.Bool().Draw(t, "repairs") {
			of := rapid.IntRange(0, i-1).Draw(t, "of")
			lo, hi := b.l.Group(of)
			if o := b.l.nodes[of]; o.Repair.IsZero() && !o.Bidirectional && hi-lo == 1 {
				node.Len, node.Repair = o.Len, Repair{Of: of, Fraction: rapid.Float64Range(0.01, 1).Draw(t, "fraction")}
				if rapid.Bool().Draw(t, "first") {
					node.Repair = Repair{Of: of, First: rapid.IntRange(1, o.Len).Draw(t, "first tokens")}
				}
				all := rapid.Permutation(upTo(o.Len)).Draw(t, "order")
				repaired[i] = slices.Sorted(slices.Values(all[:node.Repair.Tokens(o.Len)]))
				if node.Repair.First > 0 {
					repaired[i] = upTo(node.Repair.First)
				}
			}
		}
		node.Bidirectional = node.Repair.IsZero() && rapid.IntRange(0, 4).Draw(t, "bidirectional") == 0
		var sees []Seen
		for s := range i {
			if rapid.IntRange(0, 2).Draw(t, "sees") > 0 {
				sees = append(sees, Seen{Node: int32(s), Base: int32(rapid.IntRange(0, 20).Draw(t, "base")), Score: rapid.SampledFrom([]int32{0, loud}).Draw(t, "score")})
				if !ranked && rapid.IntRange(0, 9).Draw(t, "ranked") == 0 {
					ranked, sees[len(sees)-1].Ranked = true, true
				}
			}
		}
		_, err := b.Add(node, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l, repaired
}

// define evaluates, token by token, what every token sees that is encoded.
func define(l *Layout, repaired [][]int) map[place][]view {
	// holds finds where the keys and values of a node's token come from.
	holds := func(node, token int) place {
		if r := l.Node(node).Repair; !r.IsZero() && !slices.Contains(repaired[node], token) {
			return place{r.Of, token}
		}
		return place{node, token}
	}
	out := map[place][]view{}
	for i := range l.Len() {
		n := l.Node(i)
		for t := range n.Len {
			if holds(i, t) != (place{i, t}) {
				continue
			}
			var views []view
			for _, s := range l.Sees(i) {
				for u := range l.Node(int(s.Node)).Len {
					views = append(views, view{holds(int(s.Node), u), n.Base + t - int(s.Base) - u, fmt.Sprint(l.Score(s), s.Ranked)})
				}
			}
			for u := range n.Len {
				if u <= t || n.Bidirectional {
					views = append(views, view{holds(i, u), t - u, fmt.Sprint(Score{}, false)})
				}
			}
			out[place{i, t}] = views
		}
	}
	return out
}

// The lowered layout lets every token see what the definition says.
func TestLowerFollowsTheDefinition(t *testing.T) {
	lowered, twice, inPieces := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		l, repaired := repairedLayout(t)
		want := define(l, repaired)
		low, from, err := l.Lower(repaired)
		if err != nil && strings.Contains(err.Error(), "ranked source") {
			require.True(t, slices.ContainsFunc(l.seen, func(s Seen) bool {
				return s.Ranked && slices.ContainsFunc(l.nodes, func(n Node) bool { // it repairs a part, or a part of it is repaired
					return !n.Repair.IsZero() && n.Repair.Tokens(n.Len) < n.Len && (n.Repair.Of == int(s.Node) || l.nodes[s.Node].Repair == n.Repair)
				})
			}), err)
			inPieces++
			return
		}
		for _, views := range want {
			seen := map[place]bool{}
			for _, v := range views {
				if seen[v.place] {
					require.ErrorContains(t, err, "is listed twice")
					twice++
					return
				}
				seen[v.place] = true
			}
		}
		require.NoError(t, err)
		lowered++
		require.Len(t, from, low.Len())
		none := make([][]int, low.Len())
		names := func(p place) place { return place{from[p.node].Node, from[p.node].From + p.token} }
		got := map[place][]view{}
		for p, views := range define(low, none) {
			for i := range views {
				views[i].place = names(views[i].place)
			}
			got[names(p)] = views
		}
		require.Len(t, got, len(want))
		for p := range want {
			require.ElementsMatch(t, want[p], got[p], "%+v", p)
		}
		for i := range low.Len() {
			require.True(t, low.Node(i).Repair.IsZero())
			require.Equal(t, low.Node(i).Len, from[i].To-from[i].From)
		}
	})
	require.NotZero(t, lowered)
	if !testing.Short() { // what is rare may not come up in a few draws
		require.NotZero(t, twice)
		require.NotZero(t, inPieces)
	}
}

func TestLowerRefuses(t *testing.T) {
	l, err := CacheBlend(1, []int{8, 8}, 1, 0.25)
	require.NoError(t, err)
	for _, c := range []struct {
		repaired [][]int
		want     string
	}{
		{nil, "posenc: node 2 (segment 0 round 1): which 2 tokens it repairs must be said"},
		{[][]int{nil, nil, {0, 1}}, "node 4 (segment 1 round 1): which 2 tokens"},
		{[][]int{nil, nil, {0}, nil, {0, 1}}, "node 2 (segment 0 round 1): which 2 tokens"},
		{[][]int{nil, nil, {1, 0}, nil, {0, 1}}, "token 0 of 8 after token 1 is repaired, want ascending ones"},
		{[][]int{nil, nil, {1, 8}, nil, {0, 1}}, "token 8 of 8"},
		{[][]int{nil, nil, {-1, 1}, nil, {0, 1}}, "token -1 of 8"},
	} {
		_, _, err := l.Lower(c.repaired)
		require.ErrorContains(t, err, c.want)
	}
	plain, err := Block(1, []int{8, 8}, 1)
	require.NoError(t, err)
	same, from, err := plain.Lower(nil)
	require.NoError(t, err)
	require.Same(t, plain, same)
	require.Equal(t, []Stretch{{0, 0, 1}, {1, 0, 8}, {2, 0, 8}, {3, 0, 1}}, from)
}
