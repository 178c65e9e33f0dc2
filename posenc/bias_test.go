// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

func TestALiBiSlopes(t *testing.T) {
	half := func(exponents ...float64) (out []float64) {
		for _, e := range exponents {
			out = append(out, math.Exp2(-e))
		}
		return out
	}
	for heads, want := range map[int][]float64{
		-1: {}, 0: {},
		1:  half(8),
		2:  half(4, 8),
		3:  half(4, 8, 2),
		8:  half(1, 2, 3, 4, 5, 6, 7, 8),
		9:  half(1, 2, 3, 4, 5, 6, 7, 8, 0.5),
		12: half(1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5),
		16: half(0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8),
	} {
		assert.InDeltaSlice(t, want, ALiBiSlopes(heads), 1e-15, heads)
	}
	// The function that the authors published.
	powers := func(n int) (out []float64) {
		start := math.Pow(2, -math.Pow(2, -(math.Log2(float64(n))-3)))
		for i := range n {
			out = append(out, start*math.Pow(start, float64(i)))
		}
		return out
	}
	var published func(n int) []float64
	published = func(n int) []float64 {
		if math.Mod(math.Log2(float64(n)), 1) == 0 {
			return powers(n)
		}
		closest := int(math.Pow(2, math.Floor(math.Log2(float64(n)))))
		out := powers(closest)
		for i, s := range published(2 * closest) {
			if i%2 == 0 && len(out) < n {
				out = append(out, s)
			}
		}
		return out
	}
	for n := 1; n <= 200; n++ {
		require.InDeltaSlice(t, published(n), ALiBiSlopes(n), 1e-14, n)
	}
}

// backwards is the graph as gonum has it, from readers to sources.
func backwards(g *graph.Graph) *simple.DirectedGraph {
	d := simple.NewDirectedGraph()
	for i := range g.Len() {
		d.AddNode(simple.Node(i))
	}
	for i := range g.Len() {
		for _, s := range g.Sources(i) {
			if int(s) != i {
				d.SetEdge(simple.Edge{F: simple.Node(i), T: simple.Node(s)})
			}
		}
	}
	return d
}

func drawGraph(t *rapid.T, atMost int) *graph.Graph {
	n := rapid.IntRange(1, atMost).Draw(t, "segments")
	pairs := rapid.SliceOfNDistinct(rapid.IntRange(0, n*n-1), 0, min(n*n, 4*n), rapid.ID[int]).Draw(t, "edges")
	var list [][2]int
	for _, p := range pairs {
		list = append(list, [2]int{p / n, p % n})
	}
	return edges(t, n, list...)
}

// Distances are gonum's, in whatever order they are asked for.
func TestShortestPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, 12)
		limit := rapid.SampledFrom([]int{0, 1, 2, 3, math.MaxInt}).Draw(t, "limit")
		want := path.DijkstraAllPaths(backwards(g))
		d := ShortestPaths(g, limit)
		for range 40 {
			reader, source := rapid.IntRange(0, g.Len()-1).Draw(t, "reader"), rapid.IntRange(0, g.Len()-1).Draw(t, "source")
			if w := want.Weight(int64(reader), int64(source)); w > float64(limit) || math.IsInf(w, 1) {
				require.Equal(t, -1, d(reader, source))
			} else {
				require.Equal(t, int(w), d(reader, source))
			}
		}
		require.Equal(t, -1, d(g.Len(), 0))
		require.Equal(t, -1, d(0, -1))
	})
}

// transitions is D⁻¹A, dense.
func transitions(g *graph.Graph) *mat.Dense {
	m := mat.NewDense(g.Len(), g.Len(), nil)
	for i := range g.Len() {
		for _, s := range g.Sources(i) {
			m.Set(i, int(s), 1/float64(len(g.Sources(i))))
		}
	}
	return m
}

// Powers are those of the dense matrix, however many columns there is room for.
func TestRandomWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, 10)
		steps := rapid.IntRange(1, 9).Draw(t, "steps")
		limit := rapid.SampledFrom([]int{0, 20, 60, maxColumnEntries}).Draw(t, "limit")
		w, err := newRandomWalks(g, steps, limit)
		require.NoError(t, err)
		require.Equal(t, steps, w.Steps())
		entries := 0
		for _, c := range w.columns {
			entries += len(c.row)
		}
		require.LessOrEqual(t, entries, limit)
		if limit == maxColumnEntries {
			require.Len(t, w.columns, (steps-1)/2)
		}
		m := transitions(g)
		for k := range steps {
			var want mat.Dense
			want.Pow(m, k)
			got := w.Power(k)
			require.True(t, mat.EqualApprox(&want, got, 1e-12), "power %d", k)
			require.True(t, mat.EqualApprox(want.T(), got.T(), 1e-12), "power %d", k)
		}
	})
	w, err := NewRandomWalks(edges(t, 2), 3)
	require.NoError(t, err)
	assert.PanicsWithValue(t, "posenc: power 3 of 3", func() { w.Power(3) })
	assert.PanicsWithValue(t, mat.ErrRowAccess, func() { w.Power(1).At(2, 0) })
	assert.PanicsWithValue(t, mat.ErrColAccess, func() { w.Power(1).At(0, -1) })
}

// A probability too small for a float64 is no place that was met: there it would be counted twice.
func TestUnderflowIsNotMet(t *testing.T) {
	s := newSparse(2)
	s.add(0, math.SmallestNonzeroFloat64)
	s.add(1, math.SmallestNonzeroFloat64/2)
	s.add(1, math.SmallestNonzeroFloat64/2)
	assert.Equal(t, []uint32{0}, s.met)
	s.add(1, 0.5)
	assert.Equal(t, []uint32{0, 1}, s.met)
}

// All biases together, on a layout of rounds, against gonum's distances and dense powers.
func TestWithBias(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix, segments, pairs, opts := dagInput(t)
		g := edges(t, len(segments), pairs...)
		l, err := DAG(prefix, segments, g, opts, 4)
		require.NoError(t, err)
		heads := rapid.IntRange(1, 5).Draw(t, "heads")
		steps := rapid.IntRange(1, 5).Draw(t, "steps")
		number := rapid.Float64Range(-4, 4)
		draw := func(r, c int, name string) *mat.Dense {
			return mat.NewDense(r, c, rapid.SliceOfN(number, r*c, r*c).Draw(t, name))
		}
		row := func(name string) []float64 { return rapid.SliceOfN(number, heads, heads).Draw(t, name) }

		table := draw(3, heads, "table")
		unreachable := row("unreachable")
		byDistance, err := DistanceBias(ShortestPaths(g, 2), table, unreachable)
		require.NoError(t, err)
		walks, err := NewRandomWalks(g, steps)
		require.NoError(t, err)
		weights, degrees := draw(heads, steps, "weights"), draw(heads, steps, "degrees")
		byWalks, err := RRWP(walks, weights, degrees)
		require.NoError(t, err)
		cites := map[bool][]float64{true: row("forward"), false: row("back")}
		byRelation, err := Relations(func(reader, source int) (bool, bool) { return source < reader, source != reader }, cites)
		require.NoError(t, err)
		scores := rapid.SliceOfN(number, len(segments), len(segments)).Draw(t, "scores")
		relevant := row("relevance")
		byRelevance, err := Relevance(scores, relevant)
		require.NoError(t, err)
		byHead := EdgeBias(func(dst []float64, reader, source Node) error {
			for h := range dst {
				dst[h] += float64(h) * float64(reader.Round+source.Len)
			}
			return nil
		})
		biased, err := l.WithBias(heads, ALiBi(heads, IndexDistance), byDistance, byWalks, byRelation, byRelevance, byHead)
		require.NoError(t, err)

		if len(segments) == 0 {
			return
		}
		paths := path.DijkstraAllPaths(backwards(g))
		powers := make([]mat.Dense, steps)
		for k := range powers {
			powers[k].Pow(transitions(g), k)
		}
		slopes := ALiBiSlopes(heads)
		for i := range biased.Len() {
			reader := biased.Node(i)
			for k, s := range biased.Sees(i) {
				source := biased.Node(int(s.Node))
				require.Equal(t, l.Sees(i)[k].Node, s.Node)
				require.Equal(t, l.Sees(i)[k].Base, s.Base)
				got := biased.Score(s)
				for h := range heads {
					want := float64(h) * float64(reader.Round+source.Len)
					a, b := reader.Segment, source.Segment
					switch {
					case reader.Kind == QueryNode && source.Kind == SegmentNode:
						want += relevant[h] * scores[b]
					case reader.Kind == SegmentNode && source.Kind == SegmentNode:
						want -= slopes[h] * math.Abs(float64(a-b))
						if w := paths.Weight(int64(a), int64(b)); w <= 2 {
							want += table.At(int(w), h)
						} else {
							want += unreachable[h]
						}
						for k := range powers {
							p := powers[k].At(a, b)
							want += p * (weights.At(h, k) + math.Log(1+float64(len(g.Sources(a))))*degrees.At(h, k))
						}
						if a != b {
							want += cites[b < a][h]
						}
					}
					have := 0.0
					if got.Bias != nil {
						have = float64(got.Bias[h])
					}
					require.InDelta(t, want, have, 1e-4*(1+math.Abs(want)))
				}
			}
		}
	})
}

// What a layout's scores say already stays.
func TestWithBiasAddsUp(t *testing.T) {
	l, err := APE(5, []int{3, 4}, APEOptions{Temperature: 0.5, Scale: 0.5}, 6)
	require.NoError(t, err)
	relevance, err := Relevance([]float64{-1, math.Inf(-1)}, []float64{1, 0})
	require.NoError(t, err)
	for range 2 {
		l, err = l.WithBias(2, relevance)
		require.NoError(t, err)
	}
	seen := l.Sees(l.Query())
	assert.Equal(t, Score{}, l.Score(seen[0]))
	assert.Equal(t, Score{Scale: 2, Power: 0.25, Bias: []float32{-2, 0}}, l.Score(seen[1]))
	assert.Equal(t, Score{Scale: 2, Power: 0.25, Bias: []float32{float32(math.Inf(-1)), 0}}, l.Score(seen[2]))
	none, err := l.WithBias(2)
	require.NoError(t, err)
	assert.Equal(t, l.Score(l.Sees(3)[1]), none.Score(none.Sees(3)[1]))
}

func TestALiBiHidesWhatCannotBeReached(t *testing.T) {
	g := edges(t, 3, [2]int{0, 1})
	dst := []float64{0, 0}
	b := ALiBi(2, ShortestPaths(g, 5))
	require.NoError(t, b(dst, Node{Segment: 1}, Node{Segment: 0}))
	assert.Equal(t, []float64{-1. / 16, -1. / 256}, dst)
	require.NoError(t, b(dst, Node{Segment: 1}, Node{Segment: 2}))
	assert.Equal(t, []float64{math.Inf(-1), math.Inf(-1)}, dst)
}

func TestBiasErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	g := edges(t, 2, [2]int{0, 1})
	l, err := DAG(1, []int{2, 3}, g, DAGOptions{}, 1)
	require.NoError(t, err)
	walks, err := NewRandomWalks(g, 2)
	require.NoError(t, err)
	one := mat.NewDense(1, 2, []float64{1, 2})

	for want, build := range map[string]func() error{
		"posenc: distance 1: bias of head 0 is NaN, must be finite or -Inf": func() error {
			_, err := DistanceBias(IndexDistance, mat.NewDense(2, 1, []float64{0, nan}), nil)
			return err
		},
		"posenc: unreachable segments: bias of head 1 is +Inf, must be finite or -Inf": func() error {
			_, err := DistanceBias(IndexDistance, mat.NewDense(1, 2, nil), []float64{0, inf})
			return err
		},
		"posenc: the bias of unreachable segments is for 1 heads, the table for 2": func() error {
			_, err := DistanceBias(IndexDistance, mat.NewDense(1, 2, nil), []float64{0})
			return err
		},
		"posenc: relation cites: bias of head 0 is NaN, must be finite or -Inf": func() error {
			_, err := Relations(nil, map[string][]float64{"cites": {nan}})
			return err
		},
		"posenc: the relevance of segment 1 is NaN, must be finite or -Inf": func() error { _, err := Relevance([]float64{0, nan}, []float64{1}); return err },
		"posenc: the weight of head 0 is -Inf, must be finite":              func() error { _, err := Relevance(nil, []float64{-inf}); return err },
		"posenc: random walks of 0 steps, want 1 to 64":                     func() error { _, err := NewRandomWalks(g, 0); return err },
		"posenc: random walks of 65 steps, want 1 to 64":                    func() error { _, err := NewRandomWalks(g, 65); return err },
		"posenc: the weights are for 3 steps, the walks have 2":             func() error { _, err := RRWP(walks, mat.NewDense(1, 3, nil), nil); return err },
		"posenc: the weights of degrees are 2 × 2, want 1 × 2":              func() error { _, err := RRWP(walks, one, mat.NewDense(2, 2, nil)); return err },
		"posenc: weight of head 0 and step 1 is NaN, must be finite": func() error {
			_, err := RRWP(walks, mat.NewDense(1, 2, []float64{0, nan}), nil)
			return err
		},
		"posenc: weight of degrees of head 0 and step 0 is +Inf, must be finite": func() error {
			_, err := RRWP(walks, one, mat.NewDense(1, 2, []float64{inf, 0}))
			return err
		},
	} {
		assert.EqualError(t, build(), want)
	}
	_, err = Relations(func(int, int) (int, bool) { return 0, true }, map[int][]float64{0: {1}, 1: {1, 2}})
	assert.ErrorContains(t, err, "heads, others are for")

	relation := func(name string, heads int) EdgeBias {
		b, err := Relations(func(int, int) (string, bool) { return name, true }, map[string][]float64{"cites": make([]float64, heads)})
		require.NoError(t, err)
		return b
	}
	rrwp, err := RRWP(walks, one, nil)
	require.NoError(t, err)
	relevance, err := Relevance([]float64{1}, []float64{1})
	require.NoError(t, err)
	three, err := DAG(1, []int{2, 3, 1}, edges(t, 3, [2]int{0, 2}), DAGOptions{Visible: []int{2}}, 1)
	require.NoError(t, err)
	mine := errors.New("mine")
	for _, c := range []struct {
		l     *Layout
		heads int
		bias  EdgeBias
		want  string
	}{
		{l, 0, nil, "posenc: biases for 0 heads, want at least 1"},
		{l, 2, ALiBi(3, IndexDistance), "posenc: node 2 (segment 1): source 1 (segment 0): bias for 3 heads, want 2"},
		{l, 2, relation("cites", 3), "posenc: node 2 (segment 1): source 1 (segment 0): bias for 3 heads, want 2"},
		{l, 2, relation("quotes", 2), "posenc: node 2 (segment 1): source 1 (segment 0): unknown relation quotes"},
		{l, 2, relevance, "posenc: node 3 (query): source 1 (segment 0): bias for 1 heads, want 2"},
		{l, 1, relevance, "posenc: node 3 (query): source 2 (segment 1): no relevance for segment 1, there are 1"},
		{three, 1, rrwp, "posenc: node 2 (segment 2): source 1 (segment 0): segment 2 is not in the graph of 2 of the random walks"},
		{l, 1, func(dst []float64, _, _ Node) error { dst[0] = nan; return nil },
			"posenc: node 2 (segment 1): source 1 (segment 0): bias of head 0 is NaN, must be from -100000 to 100000, or -Inf"},
		{l, 1, func(dst []float64, _, _ Node) error { return mine }, "posenc: node 2 (segment 1): source 1 (segment 0): mine"},
	} {
		var biases []EdgeBias
		if c.bias != nil {
			biases = append(biases, c.bias)
		}
		_, err := c.l.WithBias(c.heads, biases...)
		assert.EqualError(t, err, c.want)
	}
	biased, err := l.WithBias(1, relation("cites", 1), func(dst []float64, _, _ Node) error { dst[0]--; return nil })
	require.NoError(t, err)
	_, err = biased.WithBias(2)
	assert.EqualError(t, err, "posenc: biases for 2 heads, the layout's own are for 1")
}

// large is a random citation graph of which every segment reads 8 earlier ones, and its layout.
func large(t testing.TB, n int) (*graph.Graph, *Layout) {
	pairs := make([][2]int, 0, 8*n)
	for target := 9; target < n; target++ {
		x := uint64(target) * 0x9E3779B97F4A7C15
		row := map[int]bool{}
		for len(row) < 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			if s := int(x % uint64(target)); !row[s] {
				row[s] = true
				pairs = append(pairs, [2]int{s, target})
			}
		}
	}
	g := edges(t, n, pairs...)
	l, err := DAG(10, repeat(100, n), g, DAGOptions{}, 10)
	require.NoError(t, err)
	return g, l
}

const manyHeads = 32

func manySteps(steps int) (weights, degrees *mat.Dense) {
	weights, degrees = mat.NewDense(manyHeads, steps, nil), mat.NewDense(manyHeads, steps, nil)
	for h := range manyHeads {
		for k := range steps {
			weights.Set(h, k, float64(h-k))
			degrees.Set(h, k, float64(k-h))
		}
	}
	return weights, degrees
}

// builders makes every bias of a graph anew, random walks of so many steps, and applies it.
func builders(g *graph.Graph, steps int) map[string]func(l *Layout) (*Layout, error) {
	table := mat.NewDense(6, manyHeads, nil)
	for d := range 6 {
		for h := range manyHeads {
			table.Set(d, h, float64(-d*h))
		}
	}
	return map[string]func(l *Layout) (*Layout, error){
		"alibi": func(l *Layout) (*Layout, error) { return l.WithBias(manyHeads, ALiBi(manyHeads, IndexDistance)) },
		"shortest": func(l *Layout) (*Layout, error) {
			b, err := DistanceBias(ShortestPaths(g, 5), table, nil)
			if err != nil {
				return nil, err
			}
			return l.WithBias(manyHeads, b)
		},
		"relations": func(l *Layout) (*Layout, error) {
			b, err := Relations(func(reader, source int) (int, bool) { return (reader + source) % 3, true },
				map[int][]float64{0: make([]float64, manyHeads), 1: ALiBiSlopes(manyHeads), 2: ALiBiSlopes(manyHeads)})
			if err != nil {
				return nil, err
			}
			return l.WithBias(manyHeads, b)
		},
		"rrwp": func(l *Layout) (*Layout, error) {
			w, err := NewRandomWalks(g, steps)
			if err != nil {
				return nil, err
			}
			weights, degrees := manySteps(steps)
			b, err := RRWP(w, weights, degrees)
			if err != nil {
				return nil, err
			}
			return l.WithBias(manyHeads, b)
		},
	}
}

// Twice the segments take about twice as long, where walks do not come so far that a larger graph gives them
// more to meet; four steps do not. Times on a quiet machine are in the benchmark.
func TestBiasCostIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("lays out 20,000 segments")
	}
	const small, big = 10_000, 20_000
	took := make(map[string][2]time.Duration)
	for k, n := range []int{small, big} {
		g, l := large(t, n)
		for name, build := range builders(g, 4) {
			best := time.Hour
			for range 3 {
				start := time.Now()
				_, err := build(l)
				require.NoError(t, err)
				best = min(best, time.Since(start))
			}
			pair := took[name]
			pair[k] = best
			took[name] = pair
		}
	}
	for name, pair := range took {
		t.Logf("%s: %d segments in %v, %d in %v", name, small, pair[0], big, pair[1])
		assert.Less(t, pair[0], 5*time.Second, name)
		assert.Less(t, float64(pair[1])/float64(pair[0]), 6.0, name)
	}
}

// Random walks of 8 steps over 10,000 segments of 8 edges take seconds on any machine.
func TestManyRandomWalks(t *testing.T) {
	if testing.Short() {
		t.Skip("walks over 80,000 edges")
	}
	g, l := large(t, 10_000)
	start := time.Now()
	_, err := builders(g, 8)["rrwp"](l)
	require.NoError(t, err)
	require.Less(t, time.Since(start), 5*time.Second)
}

func BenchmarkWithBias(b *testing.B) {
	for _, n := range []int{10_000, 40_000} {
		g, l := large(b, n)
		for name, build := range builders(g, 8) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := build(l); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(g.NumEdges()), "ns/edge")
			})
		}
	}
}
