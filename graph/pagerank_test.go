// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/graph/network"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// stationary solves π = restart·s + (1−restart)·π·P on dense matrices. Rows of P
// without an edge are s: there the walk restarts.
func stationary(n int, edges [][2]int, d graph.Direction, restart float64, seeds []float64) []float64 {
	p := mat.NewDense(n, n, nil)
	for _, e := range edges {
		if d == graph.Incoming {
			p.Set(e[1], e[0], 1)
		} else {
			p.Set(e[0], e[1], 1)
		}
	}
	for i := range n {
		row := p.RawRowView(i)
		degree := 0.0
		for _, x := range row {
			degree += x
		}
		for j := range row {
			if degree == 0 {
				row[j] = seeds[j]
			} else {
				row[j] /= degree
			}
		}
	}
	a := mat.NewDense(n, n, nil)
	a.Apply(func(i, j int, x float64) float64 {
		x *= -(1 - restart)
		if i == j {
			x++
		}
		return x
	}, p.T())
	var pi mat.VecDense
	b := mat.NewVecDense(n, nil)
	b.ScaleVec(restart, mat.NewVecDense(n, seeds))
	if err := pi.SolveVec(a, b); err != nil {
		panic(err)
	}
	return pi.RawVector().Data
}

// The promised bounds hold against the linear system: no score is too large, none
// too small by more than what is missing, and the sum is off by exactly that.
func TestPersonalizedPageRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 14).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		o := graph.PageRank{
			Restart:   rapid.SampledFrom([]float64{0.05, 0.15, 0.5, 0.99}).Draw(t, "restart"),
			Epsilon:   rapid.SampledFrom([]float64{1e-14, 1e-4, 0.01, 0.3}).Draw(t, "epsilon"),
			Direction: drawDirection(t),
		}
		var seeds []graph.Scored
		var sum float64
		for range rapid.IntRange(1, 3).Draw(t, "seeds") { // one may be given twice
			s := graph.Scored{Segment: rapid.IntRange(0, n-1).Draw(t, "seed"), Score: rapid.Float64Range(0.1, 3).Draw(t, "score")}
			seeds = append(seeds, s)
			sum += s.Score
		}
		dense := make([]float64, n)
		for _, s := range seeds {
			dense[s.Segment] += s.Score / sum
		}
		want := stationary(n, edges, o.Direction, o.Restart, dense)

		got, err := g.PersonalizedPageRank(seeds, o)
		require.NoError(t, err)
		total := 0.0
		scores := make([]float64, n)
		for k, s := range got.Scores {
			require.Positive(t, s.Score)
			require.Zero(t, scores[s.Segment])
			scores[s.Segment] = s.Score
			total += s.Score
			if k > 0 {
				last := got.Scores[k-1]
				require.True(t, last.Score < s.Score || last.Score == s.Score && last.Segment > s.Segment)
			}
			require.Equal(t, s.Segment, got.Sequence()[k])
		}
		const rounding = 1e-12
		require.InDelta(t, 1-got.Missing, total, rounding)
		for i := range n {
			require.LessOrEqual(t, scores[i], want[i]+rounding)
			require.GreaterOrEqual(t, scores[i], want[i]-got.Missing-rounding)
		}
		if o.Epsilon == 1e-14 {
			require.Less(t, got.Missing, 1e-10)
		}
	})
}

// With all segments as seeds it is the PageRank that gonum computes.
func TestPageRankIsGonums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		g := fromPairs(t, n, drawEdges(t, n, false))
		seeds := make([]graph.Scored, n)
		for i := range seeds {
			seeds[i] = graph.Scored{Segment: i, Score: 1}
		}
		got, err := g.PersonalizedPageRank(seeds, graph.PageRank{Restart: 0.15, Epsilon: 1e-12, Direction: graph.Outgoing})
		require.NoError(t, err)
		want := network.PageRank(g, 0.85, 1e-10)
		require.Len(t, got.Scores, n)
		for _, s := range got.Scores {
			require.InDelta(t, want[int64(s.Segment)], s.Score, 1e-7)
		}
	})
}

// Every choice is the best by the linear system, within the budget, and maximal.
func TestTopSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		edges := drawEdges(t, n, true)
		g := fromPairs(t, n, edges)
		m := rapid.SampledFrom([]int{0, 1, 2, 3, math.MaxInt}).Draw(t, "m")
		lengths := rapid.SliceOfN(rapid.IntRange(1, 9), n, n).Draw(t, "lengths")
		o := graph.SourceOptions{
			PageRank: graph.PageRank{Epsilon: 1e-13, Direction: drawDirection(t)},
			Direct:   rapid.Bool().Draw(t, "direct"),
			Budget:   graph.Budget{Limit: rapid.SampledFrom([]int{0, 9, 20}).Draw(t, "limit"), Lengths: lengths},
		}
		got, err := g.TopSources(m, o)
		require.NoError(t, err)
		require.Equal(t, n, got.Len())
		for target := range n {
			require.Equal(t, g.Segment(target), got.Segment(target))
			seed := make([]float64, n)
			seed[target] = 1
			pi := stationary(n, edges, o.PageRank.Direction, 0.15, seed)
			var candidates []int
			for s := range n {
				if pi[s] > 1e-11 && (s != target || g.HasEdge(s, s)) && (!o.Direct || g.HasEdge(s, target)) {
					candidates = append(candidates, s)
				}
			}
			chosen := got.Sources(target)
			used := lengths[target]
			least := math.Inf(1)
			for k, s := range chosen {
				require.Contains(t, candidates, int(s))
				require.GreaterOrEqual(t, pi[s], least0(k, pi, chosen)-1e-10, "ascending")
				least = min(least, pi[s])
				used += lengths[s]
			}
			require.LessOrEqual(t, len(chosen), m)
			next, left := math.Inf(-1), false // the best that was not chosen
			for _, s := range candidates {
				if !slices.Contains(chosen, uint32(s)) {
					require.LessOrEqual(t, pi[s], least+1e-10)
					next, left = max(next, pi[s]), true
				}
			}
			if o.Budget.Limit > 0 {
				require.LessOrEqual(t, used, o.Budget.Limit)
			}
			if !left || len(chosen) == m {
				continue
			}
			require.NotZero(t, o.Budget.Limit, "only a budget drops what m has room for")
			fits := true // all that tie for the next place
			for _, s := range candidates {
				if !slices.Contains(chosen, uint32(s)) && pi[s] > next-1e-10 {
					fits = fits && used+lengths[s] <= o.Budget.Limit
				}
			}
			require.False(t, fits)
		}
	})
}

func least0(k int, pi []float64, chosen []uint32) float64 {
	if k == 0 {
		return 0
	}
	return pi[chosen[k-1]]
}

// A graph without cycles stays without, whatever is chosen.
func TestTopSourcesKeepDepth(t *testing.T) {
	g := citationGraph(t, 300, 4)
	top, err := g.TopSources(3, graph.SourceOptions{})
	require.NoError(t, err)
	_, err = top.Levels()
	require.NoError(t, err)
	indirect := 0
	for i := range top.Len() {
		for _, s := range top.Sources(i) {
			require.True(t, g.Ancestors(i).ContainsInt(int(s)))
			if !g.HasEdge(int(s), i) {
				indirect++
			}
		}
	}
	assert.NotZero(t, indirect)
}

// How many workers share the targets changes nothing, nor does which of them fails first.
func TestTopSourcesOnAnyNumberOfWorkers(t *testing.T) {
	const n = 1000
	g := citationGraph(t, n, 8)
	lengths := slices.Repeat([]int{1}, n)
	var want [][]uint32
	for _, workers := range []int{1, 2, 7} {
		before := runtime.GOMAXPROCS(workers)
		top, err := g.TopSources(5, graph.SourceOptions{})
		require.NoError(t, err)
		if want == nil {
			want = rows(top)
		}
		require.Equal(t, want, rows(top))
		lengths[700], lengths[900] = 9, 9
		_, err = g.TopSources(5, graph.SourceOptions{Budget: graph.Budget{Limit: 8, Lengths: lengths}})
		require.EqualError(t, err, `graph: segment 700 "s700": over budget: 9 tokens, the limit is 8`)
		runtime.GOMAXPROCS(before)
	}
}

// A target with more sources than the epsilon can tell apart still gets the best.
func TestTopSourcesOfAHub(t *testing.T) {
	const n = 12_000
	var edges [][2]int
	for i := 1; i < n; i++ {
		edges = append(edges, [2]int{i, 0})
	}
	edges = append(edges, [2]int{5, 4}, [2]int{5, 6})
	g := fromPairs(t, n, edges)
	top, err := g.TopSources(1, graph.SourceOptions{PageRank: graph.PageRank{Epsilon: 1e-5}})
	require.NoError(t, err)
	assert.Equal(t, []uint32{5}, top.Sources(0))
	top, err = g.TopSources(2, graph.SourceOptions{}) // none is told from another, so the first ones
	require.NoError(t, err)
	assert.Len(t, top.Sources(0), 2)
}

func TestPageRankErrors(t *testing.T) {
	g := fromPairs(t, 3, [][2]int{{0, 1}})
	rank := func(o graph.PageRank, seeds ...graph.Scored) func() error {
		return func() error { _, err := g.PersonalizedPageRank(seeds, o); return err }
	}
	top := func(m int, o graph.SourceOptions) func() error {
		return func() error { _, err := g.TopSources(m, o); return err }
	}
	one := graph.Scored{Segment: 1, Score: 1}
	for _, c := range []struct {
		call func() error
		want string
	}{
		{rank(graph.PageRank{}), "graph: the scores of the seeds add up to 0, want a finite number above 0"},
		{rank(graph.PageRank{}, graph.Scored{Segment: 3, Score: 1}), "graph: segment 3: unknown segment: there are 3 segments"},
		{rank(graph.PageRank{}, graph.Scored{Segment: 2, Score: -1}), `graph: segment 2 "s2": seed score -1, want a finite number of at least 0`},
		{rank(graph.PageRank{}, graph.Scored{Segment: 2, Score: math.NaN()}), `graph: segment 2 "s2": seed score NaN, want a finite number of at least 0`},
		{rank(graph.PageRank{}, graph.Scored{Segment: 2, Score: math.MaxFloat64}, graph.Scored{Segment: 1, Score: math.MaxFloat64}), "graph: the scores of the seeds add up to +Inf, want a finite number above 0"},
		{rank(graph.PageRank{Restart: 1.5}, one), "graph: PageRank: restart probability 1.5, want more than 0 and less than 1"},
		{rank(graph.PageRank{Restart: math.NaN()}, one), "graph: PageRank: restart probability NaN, want more than 0 and less than 1"},
		{rank(graph.PageRank{Epsilon: -1}, one), "graph: PageRank: epsilon -1, want more than 0 and less than 1"},
		{rank(graph.PageRank{Direction: 3}, one), "graph: PageRank: unknown direction Direction(3)"},
		{top(-1, graph.SourceOptions{}), "graph: top sources: negative number -1"},
		{top(1, graph.SourceOptions{PageRank: graph.PageRank{Restart: -1}}), "graph: PageRank: restart probability -1, want more than 0 and less than 1"},
		{top(1, graph.SourceOptions{Budget: graph.Budget{Limit: 5, Lengths: []int{1, 2}}}), "graph: budget with lengths of 2 segments, there are 3"},
		{top(1, graph.SourceOptions{Budget: graph.Budget{Limit: 5, Lengths: []int{1, 6, 2}}}), `graph: segment 1 "s1": over budget: 6 tokens, the limit is 5`},
	} {
		require.EqualError(t, c.call(), c.want)
	}
}

// The time for the sources of all targets grows with their number, not with its
// square.
func TestTopSourcesAtScale(t *testing.T) {
	if testing.Short() {
		t.Skip("ranks the ancestors of 50,000 segments")
	}
	took := func(n int) time.Duration {
		g := citationGraph(t, n, 8)
		best := time.Hour
		for range 3 {
			start := time.Now()
			top, err := g.TopSources(8, graph.SourceOptions{})
			best = min(best, time.Since(start))
			require.NoError(t, err)
			require.Greater(t, top.NumEdges(), 7*n)
		}
		return best
	}
	small, large := took(10_000), took(40_000)
	t.Logf("10,000 segments in %v, 40,000 in %v", small, large)
	assert.Less(t, small, 5*time.Second) // half of one on a quiet machine
	assert.Less(t, float64(large)/float64(small), 10.0)
}

func BenchmarkTopSources(b *testing.B) {
	for _, n := range []int{10_000, 40_000} {
		g := citationGraph(b, n, 8)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.TopSources(8, graph.SourceOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(g.NumEdges()), "ns/edge")
		})
	}
}

func BenchmarkWalkNeighbourhoods(b *testing.B) {
	g := citationGraph(b, 10_000, 8)
	b.ReportAllocs()
	for b.Loop() {
		for i := range g.Len() {
			if _, err := g.WalkNeighbourhoods(i, graph.WalkOptions{Length: 3, Walks: 4, Repeats: 1}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkHopNeighbourhoods(b *testing.B) {
	g := citationGraph(b, 10_000, 8)
	b.ReportAllocs()
	for b.Loop() {
		for i := range g.Len() {
			if _, err := g.HopNeighbourhoods(i, 2, graph.Incoming); err != nil {
				b.Fatal(err)
			}
		}
	}
}
