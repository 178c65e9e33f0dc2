// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// edges builds a graph of n segments s0, s1, … from pairs (source, target).
func edges(t require.TestingT, n int, pairs ...[2]int) *graph.Graph {
	b := graph.NewBuilder(graph.SelfEdges())
	for i := range n {
		_, err := b.AddSegment(graph.Segment{ID: fmt.Sprint("s", i), Text: "x"})
		require.NoError(t, err)
	}
	for _, p := range pairs {
		require.NoError(t, b.AddEdgeAt(p[0], p[1]))
	}
	g, err := b.Build()
	require.NoError(t, err)
	return g
}

func TestDAG(t *testing.T) {
	// 3 → 0 → 2, 1 → 2, 3 → 2, and 4 alone.
	g := edges(t, 5, [2]int{3, 0}, [2]int{0, 2}, [2]int{1, 2}, [2]int{3, 2})
	cycle := edges(t, 3, [2]int{0, 1}, [2]int{1, 0}, [2]int{1, 2})
	for _, c := range []struct {
		name   string
		g      *graph.Graph
		opts   DAGOptions
		prefix int
		want   []string
		end    int
	}{
		{"shared", g, DAGOptions{}, 2, []string{
			"[1,-1,0,0,2]",
			"[0,1,0,2,4]",
			"[0,3,0,2,6]",
			"[0,4,0,2,7]",
			"[0,0,0,9,3,[2,2]]",
			"[0,2,0,12,5,[4,9],[1,2],[2,2]]",
			"[2,-1,0,17,1,[0,0],[1,2],[2,2],[3,2],[4,9],[5,12]]",
		}, 18},
		{"sequential", g, DAGOptions{Positions: SequentialPositions}, 2, []string{
			"[1,-1,0,0,2]",
			"[0,1,0,2,4]",
			"[0,3,0,6,6]",
			"[0,4,0,12,7]",
			"[0,0,0,19,3,[2,6]]",
			"[0,2,0,22,5,[4,19],[1,2],[2,6]]",
			"[2,-1,0,27,1,[0,0],[1,2],[2,6],[3,12],[4,19],[5,22]]",
		}, 28},
		{"visible", g, DAGOptions{Visible: []int{0, 1}}, 0, []string{ // the longest, 4, is left out and moves nothing
			"[0,1,0,0,4]",
			"[0,3,0,0,6]",
			"[0,0,0,6,3,[1,0]]",
			"[2,-1,0,9,1,[0,0],[2,6]]",
		}, 10},
		{"nothing visible", g, DAGOptions{Visible: []int{}}, 2, []string{"[1,-1,0,0,2]", "[2,-1,0,2,1,[0,0]]"}, 3},
		{"one round", cycle, DAGOptions{Rounds: 1}, 1, []string{
			"[1,-1,0,0,1]",
			"[0,0,0,1,3]",
			"[0,1,0,1,4]", // round 0 of segment 2 is of no use to anybody
			"[0,0,1,5,3,[2,1]]",
			"[0,1,1,5,4,[1,1]]",
			"[0,2,1,5,5,[2,1]]",
			"[2,-1,0,10,1,[0,0],[3,5],[4,5],[5,5]]",
		}, 11},
		{"two rounds, one visible, sequential", cycle, DAGOptions{Rounds: 2, Visible: []int{2}, Positions: SequentialPositions}, 0, []string{
			"[0,0,0,0,3]",
			"[0,1,1,3,4,[0,0]]",
			"[0,2,2,7,5,[1,3]]",
			"[2,-1,0,12,1,[2,7]]",
		}, 13},
		{"empty", edges(t, 0), DAGOptions{Rounds: math.MaxInt}, 3, []string{"[1,-1,0,0,3]", "[2,-1,0,3,1,[0,0]]"}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := DAG(c.prefix, []int{3, 4, 5, 6, 7}[:c.g.Len()], c.g, c.opts, 1)
			require.NoError(t, err)
			assert.Equal(t, c.want, dump(t, l))
			assert.Equal(t, c.end, l.End())
		})
	}
}

func TestDAGErrors(t *testing.T) {
	g := edges(t, 3, [2]int{0, 1}, [2]int{1, 2}, [2]int{2, 1})
	lengths := []int{1, 1, 1}
	for want, build := range map[string]func() (*Layout, error){
		"posenc: no graph for 3 segments":                           func() (*Layout, error) { return DAG(0, lengths, nil, DAGOptions{}, 1) },
		"posenc: the graph has 3 segments, there are lengths for 2": func() (*Layout, error) { return DAG(0, lengths[:2], g, DAGOptions{}, 1) },
		"posenc: unknown positions 2":                               func() (*Layout, error) { return DAG(0, lengths, g, DAGOptions{Positions: 2}, 1) },
		"posenc: graph: unroll: negative number of rounds -1":       func() (*Layout, error) { return DAG(0, lengths, g, DAGOptions{Rounds: -1}, 1) },
		"posenc: visible segment 3 of 3":                            func() (*Layout, error) { return DAG(0, lengths, g, DAGOptions{Rounds: 1, Visible: []int{3}}, 1) },
		"posenc: visible segment 1 is listed twice":                 func() (*Layout, error) { return DAG(0, lengths, g, DAGOptions{Rounds: 1, Visible: []int{1, 1}}, 1) },
		"posenc: visible round 2 of rounds 0 to 1": func() (*Layout, error) {
			return DAG(0, lengths, g, DAGOptions{Rounds: 1, VisibleRounds: []int{0, 2}}, 1)
		},
		"posenc: visible round 0 is listed twice": func() (*Layout, error) {
			return DAG(0, lengths, g, DAGOptions{Rounds: 1, VisibleRounds: []int{0, 0}}, 1)
		},
		"posenc: segment 1 of 0 tokens, want 1 to 2147483646":                                      func() (*Layout, error) { return DAG(0, []int{1, 0, 1}, g, DAGOptions{Rounds: 1}, 1) },
		"posenc: the layout needs 2147483647 positions, the limit is 2147483646":                   func() (*Layout, error) { return DAG(1, []int{MaxPosition - 1, 1, 1}, edges(t, 3), DAGOptions{}, 1) },
		"posenc: 3 segments in rounds 0 to 100000000 make 300000003 nodes, the limit is 134217728": func() (*Layout, error) { return DAG(0, lengths, g, DAGOptions{Rounds: 1e8}, 1) },
	} {
		l, err := build()
		assert.EqualError(t, err, want)
		assert.Nil(t, l)
	}
	_, err := DAG(0, lengths, g, DAGOptions{}, 1)
	var cycle *graph.CycleError
	require.ErrorAs(t, err, &cycle)
	assert.Equal(t, []string{"s1", "s2"}, cycle.IDs)
}

// movePrefix puts the prefix first, as DAG does and the published layouts do not.
func movePrefix(t testing.TB, l *Layout) *Layout {
	b := NewLayoutBuilder()
	order := make([]int32, l.Len())
	at := slices.IndexFunc(l.nodes, func(n Node) bool { return n.Kind == PrefixNode })
	add := func(i int) {
		var sees []Seen
		for _, s := range l.Sees(i) {
			sees = append(sees, Seen{Node: order[s.Node], Base: s.Base})
		}
		n, err := b.Add(l.Node(i), sees...)
		require.NoError(t, err)
		order[i] = int32(n)
	}
	add(at)
	for i := range l.Len() {
		if i != at {
			add(i)
		}
	}
	out, err := b.Layout()
	require.NoError(t, err)
	return out
}

// The presets that lay sources on shared positions are special cases of DAG.
func TestDAGCoversOtherPresets(t *testing.T) {
	segments := []int{5, 9, 2, 4}
	ego, err := Ego(3, segments, 3, 7)
	require.NoError(t, err)
	dag, err := DAG(3, segments, edges(t, 4, [2]int{0, 3}, [2]int{1, 3}, [2]int{2, 3}), DAGOptions{}, 7)
	require.NoError(t, err)
	assert.Equal(t, dump(t, movePrefix(t, ego)), dump(t, dag))

	pcw, err := PCW(3, segments, 7)
	require.NoError(t, err)
	dag, err = DAG(3, segments, edges(t, 4), DAGOptions{}, 7)
	require.NoError(t, err)
	assert.Equal(t, dump(t, pcw), dump(t, dag))
	dag, err = DAG(3, segments, edges(t, 4), DAGOptions{Positions: SequentialPositions}, 7)
	require.NoError(t, err)
	block, err := Block(3, segments, 7)
	require.NoError(t, err)
	assert.Equal(t, block.Sees(block.Query()), dag.Sees(dag.Query()))

	var chain [][2]int
	for target := range 4 {
		for source := range target {
			chain = append(chain, [2]int{source, target})
		}
	}
	dag, err = DAG(0, segments, edges(t, 4, chain...), DAGOptions{}, 7)
	require.NoError(t, err)
	sequential, err := Sequential(0, segments, 7)
	require.NoError(t, err)
	assert.Equal(t, dump(t, sequential), dump(t, dag))
}

// dagInput draws a graph (acyclic unless rounds are asked for), lengths and options.
func dagInput(t *rapid.T) (prefix int, segments []int, pairs [][2]int, opts DAGOptions) {
	n := rapid.IntRange(0, 12).Draw(t, "segments")
	segments = rapid.SliceOfN(rapid.IntRange(1, 9), n, n).Draw(t, "lengths")
	opts.Rounds = rapid.IntRange(0, 3).Draw(t, "rounds")
	opts.Positions = Positions(rapid.IntRange(0, 1).Draw(t, "positions"))
	rank := rapid.Permutation(upTo(n)).Draw(t, "rank") // edges go from a lower to a higher rank
	for source := range n {
		for target := range n {
			if (opts.Rounds > 0 || rank[source] < rank[target]) && rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
				pairs = append(pairs, [2]int{source, target})
			}
		}
	}
	if rapid.Bool().Draw(t, "some") {
		opts.Visible = []int{}
		for s := range n {
			if rapid.Bool().Draw(t, "visible") {
				opts.Visible = append(opts.Visible, s)
			}
		}
	}
	if rapid.Bool().Draw(t, "some rounds") {
		opts.VisibleRounds = rapid.SliceOfNDistinct(rapid.IntRange(0, opts.Rounds), 0, -1, rapid.ID).Draw(t, "visible rounds")
	}
	return rapid.IntRange(0, 3).Draw(t, "prefix"), segments, pairs, opts
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// The layout of any graph against the definition, evaluated node by node with maps and recursion.
func TestDAGFollowsTheDefinition(t *testing.T) { rapid.Check(t, dagFollowsTheDefinition) }

func FuzzDAG(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x07, 0x01, 0x80, 0xff}, 64))
	f.Fuzz(rapid.MakeFuzz(dagFollowsTheDefinition))
}

func dagFollowsTheDefinition(t *rapid.T) {
	prefix, segments, pairs, opts := dagInput(t)
	const query = 4
	l, err := DAG(prefix, segments, edges(t, len(segments), pairs...), opts, query)
	require.NoError(t, err)

	type node struct{ segment, round int }
	sources := func(v node) (out []node) {
		for _, p := range pairs {
			switch {
			case p[1] != v.segment:
			case opts.Rounds == 0:
				out = append(out, node{p[0], 0})
			case v.round > 0:
				out = append(out, node{p[0], v.round - 1})
			}
		}
		return out
	}
	depths := map[node]int{} // also the set of needed nodes
	var visit func(v node) int
	visit = func(v node) int {
		if d, ok := depths[v]; ok {
			return d
		}
		d := v.round
		for _, s := range sources(v) {
			d = max(d, visit(s)+1)
		}
		depths[v] = d
		return d
	}
	rounds := opts.VisibleRounds
	if rounds == nil {
		rounds = []int{opts.Rounds}
	}
	visible := map[node]bool{}
	for s := range segments {
		if opts.Visible == nil || slices.Contains(opts.Visible, s) {
			for _, r := range rounds {
				v := node{s, r}
				visible[v] = true
				visit(v)
			}
		}
	}
	longest := map[int]int{}
	total := 0
	for v, d := range depths {
		longest[d] = max(longest[d], segments[v.segment])
		total += segments[v.segment]
	}
	start := func(depth int) int {
		at := prefix
		for d := range depth {
			at += longest[d]
		}
		return at
	}

	at := map[node]int32{}
	i, next := 0, prefix
	if prefix > 0 {
		require.Equal(t, Node{Kind: PrefixNode, Segment: -1, Len: prefix}, l.Node(0))
		i = 1
	}
	require.Equal(t, i+len(depths)+1, l.Len())
	last := node{-1, 0}
	for ; i < l.Query(); i++ {
		n := l.Node(i)
		v := node{n.Segment, n.Round}
		require.Contains(t, depths, v)
		require.NotContains(t, at, v)
		if last.segment >= 0 { // by depth, then by index
			require.True(t, depths[last] < depths[v] || depths[last] == depths[v] && last.segment < v.segment)
		}
		last, at[v] = v, int32(i)
		base := start(depths[v])
		if opts.Positions == SequentialPositions {
			base = next
			next += n.Len
		}
		require.Equal(t, Node{Segment: v.segment, Round: v.round, Base: base, Len: segments[v.segment]}, n)
		var want []Seen
		for _, s := range sources(v) {
			want = append(want, Seen{Node: at[s], Base: int32(l.Node(int(at[s])).Base)})
		}
		require.ElementsMatch(t, want, l.Sees(i))
	}
	end := start(len(segments) + opts.Rounds + 1)
	if opts.Positions == SequentialPositions {
		end = prefix + total
	}
	require.Equal(t, Node{Kind: QueryNode, Segment: -1, Base: end, Len: query}, l.Node(l.Query()))
	var want []Seen
	for i := range l.Query() {
		if n := l.Node(i); n.Kind == PrefixNode || visible[node{n.Segment, n.Round}] {
			want = append(want, Seen{Node: int32(i), Base: int32(n.Base)})
		}
	}
	require.Equal(t, len(want), len(l.Sees(l.Query())))
	for i, s := range want {
		require.Equal(t, s, l.Sees(l.Query())[i])
	}
}

// A graph is laid out with a few dozen allocations, however large it is: nothing is allocated per node or edge.
func TestDAGCostIsLinear(t *testing.T) {
	allocs := func(n int) float64 {
		pairs := make([][2]int, 0, 8*n)
		for target := 1; target < n; target++ {
			for k := 1; k <= min(8, target); k++ {
				pairs = append(pairs, [2]int{target - (k*k*31)%target - 1, target})
			}
		}
		slices.SortFunc(pairs, func(a, b [2]int) int { return (a[1]-b[1])*n + a[0] - b[0] })
		g := edges(t, n, slices.Compact(pairs)...)
		lengths := repeat(100, n)
		return testing.AllocsPerRun(1, func() {
			l, err := DAG(10, lengths, g, DAGOptions{Positions: SequentialPositions, Rounds: 1}, 10)
			require.NoError(t, err)
			require.LessOrEqual(t, l.NumEdges(), 8*n+n+1)
		})
	}
	small, large := allocs(1000), allocs(20000)
	assert.Less(t, large, 60.0)
	assert.Less(t, large-small, 30.0)
}

// However many rounds are visible, to check them takes time in proportion to their number.
func TestManyVisibleRounds(t *testing.T) {
	rounds := make([]int, 300_000)
	for i := range rounds {
		rounds[i] = i
	}
	start := time.Now()
	l, err := DAG(0, []int{1}, edges(t, 1), DAGOptions{Rounds: len(rounds), VisibleRounds: rounds}, 1)
	require.NoError(t, err)
	require.Len(t, l.Sees(l.Query()), len(rounds))
	require.Less(t, time.Since(start), 3*time.Second)
}
