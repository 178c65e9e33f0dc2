// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

const tinyHeads = 4

func drawPerHead(t *rapid.T, label string) PerHead {
	n := rapid.SampledFrom([]int{1, tinyHeads}).Draw(t, label+" heads")
	return rapid.SliceOfN(rapid.Float64Range(-3, 3), n, n).Draw(t, label)
}

func drawBiasGraph(t *rapid.T, r *Request) BiasGraph {
	b := BiasGraph{Undirected: rapid.Bool().Draw(t, "undirected")}
	if rapid.Bool().Draw(t, "own edges") {
		b.Edges = drawEdges(t, r, "measured")
	}
	return b
}

// drawEdges draws different pairs of a request's segments.
func drawEdges(t *rapid.T, r *Request, label string) []Edge {
	n := len(r.Segments)
	edges := []Edge{}
	for _, p := range rapid.SliceOfNDistinct(rapid.IntRange(0, n*n-1), 0, 2*n, rapid.ID[int]).Draw(t, label) {
		edges = append(edges, Edge{r.Segments[p/n].ID, r.Segments[p%n].ID})
	}
	return edges
}

// drawBiases draws one bias or more of every kind that JSON has.
func drawBiases(t *rapid.T, r *Request) Biases {
	table := func(label string) (out []PerHead) {
		for range rapid.IntRange(1, 4).Draw(t, label) {
			out = append(out, drawPerHead(t, label))
		}
		return out
	}
	var biases Biases
	for range rapid.IntRange(1, 3).Draw(t, "biases") {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			biases = append(biases, ALiBiBias{})
		case 1:
			biases = append(biases, ALiBiBias{Paths: true, BiasGraph: drawBiasGraph(t, r)})
		case 2:
			b := ShortestPathBias{Table: table("table"), BiasGraph: drawBiasGraph(t, r)}
			if rapid.Bool().Draw(t, "unreachable") {
				b.Unreachable = drawPerHead(t, "unreachable")
				if rapid.Bool().Draw(t, "hidden") {
					b.Unreachable[0] = math.Inf(-1)
				}
			}
			biases = append(biases, b)
		case 3:
			b := RandomWalkBias{Weights: table("weights"), BiasGraph: drawBiasGraph(t, r)}
			if rapid.Bool().Draw(t, "degrees") {
				for range b.Weights {
					b.Degrees = append(b.Degrees, drawPerHead(t, "degree"))
				}
			}
			biases = append(biases, b)
		case 4:
			edges := drawEdges(t, r, "related")
			half := rapid.IntRange(0, len(edges)).Draw(t, "half")
			biases = append(biases, RelationBias{Relations: []Relation{
				{Name: "cites", Bias: drawPerHead(t, "cites"), Edges: edges[:half]},
				{Name: "Quotes", Bias: drawPerHead(t, "quotes"), Edges: edges[half:]},
			}})
		case 5:
			n := len(r.Segments)
			b := RelevanceBias{Scores: rapid.SliceOfN(rapid.Float64Range(-2, 2), n, n).Draw(t, "scores")}
			if rapid.Bool().Draw(t, "weighed") {
				b.Weight = drawPerHead(t, "weight")
			}
			biases = append(biases, b)
		}
	}
	return biases
}

// biasOracle computes biases from their formulas on dense matrices and gonum's paths.
type biasOracle struct {
	r     *Request
	index map[string]int
}

func newBiasOracle(r *Request) biasOracle {
	o := biasOracle{r: r, index: map[string]int{}}
	for i, s := range r.Segments {
		o.index[s.ID] = i
	}
	return o
}

// adjacency has 1 at [reader, source].
func (o biasOracle) adjacency(b BiasGraph) *mat.Dense {
	edges := b.Edges
	if edges == nil {
		edges = o.r.Edges
	}
	a := mat.NewDense(len(o.r.Segments), len(o.r.Segments), nil)
	for _, e := range edges {
		source, target := o.index[e[0]], o.index[e[1]]
		a.Set(target, source, 1)
		if b.Undirected {
			a.Set(source, target, 1)
		}
	}
	return a
}

func (o biasOracle) distance(b BiasGraph) path.AllShortest {
	a := o.adjacency(b)
	g := simple.NewDirectedGraph()
	for i := range o.r.Segments {
		g.AddNode(simple.Node(i))
	}
	for i := range o.r.Segments {
		for j := range o.r.Segments {
			if i != j && a.At(i, j) != 0 {
				g.SetEdge(simple.Edge{F: simple.Node(i), T: simple.Node(j)})
			}
		}
	}
	return path.DijkstraAllPaths(g)
}

func (p PerHead) of(head int) float64 { return p[min(head, len(p)-1)] }

// between returns the bias of an edge between two nodes, as a function of the head.
func (o biasOracle) between(bias Bias) func(reader, source posenc.Node, head int) float64 {
	// The tiny model has four heads, hence these slopes.
	slopes := []float64{1. / 4, 1. / 16, 1. / 64, 1. / 256}
	segments := func(f func(reader, source, head int) float64) func(posenc.Node, posenc.Node, int) float64 {
		return func(reader, source posenc.Node, head int) float64 {
			if reader.Segment < 0 || source.Segment < 0 {
				return 0
			}
			return f(reader.Segment, source.Segment, head)
		}
	}
	switch b := bias.(type) {
	case ALiBiBias:
		if !b.Paths {
			return segments(func(i, j, h int) float64 { return -slopes[h] * math.Abs(float64(i-j)) })
		}
		d := o.distance(b.BiasGraph)
		return segments(func(i, j, h int) float64 { return -slopes[h] * d.Weight(int64(i), int64(j)) })
	case ShortestPathBias:
		d := o.distance(b.BiasGraph)
		return segments(func(i, j, h int) float64 {
			switch w := d.Weight(int64(i), int64(j)); {
			case w < float64(len(b.Table)):
				return b.Table[int(w)].of(h)
			case b.Unreachable != nil:
				return b.Unreachable.of(h)
			}
			return 0
		})
	case RandomWalkBias:
		m := o.adjacency(b.BiasGraph)
		degree := make([]float64, len(o.r.Segments))
		for i := range degree {
			if degree[i] = floats.Sum(m.RawRowView(i)); degree[i] > 0 {
				floats.Scale(1/degree[i], m.RawRowView(i))
			}
		}
		powers := make([]mat.Dense, len(b.Weights))
		for k := range powers {
			powers[k].Pow(m, k)
		}
		return segments(func(i, j, h int) (sum float64) {
			for k := range powers {
				w := b.Weights[k].of(h)
				if b.Degrees != nil {
					w += math.Log(1+degree[i]) * b.Degrees[k].of(h)
				}
				sum += w * powers[k].At(i, j)
			}
			return sum
		})
	case RelationBias:
		return segments(func(i, j, h int) float64 {
			for _, r := range b.Relations {
				if slices.Contains(r.Edges, Edge{o.r.Segments[j].ID, o.r.Segments[i].ID}) {
					return r.Bias.of(h)
				}
			}
			return 0
		})
	case RelevanceBias:
		return func(reader, source posenc.Node, head int) float64 {
			if reader.Kind != posenc.QueryNode || source.Segment < 0 {
				return 0
			}
			if b.Weight == nil {
				return b.Scores[source.Segment]
			}
			return b.Weight.of(head) * b.Scores[source.Segment]
		}
	}
	panic("unknown bias")
}

// A biased plan, run part by part and from the cache, equals one dense pass whose
// biases are computed from their formulas; and the request survives its JSON form.
func TestBiasesAgreeWithADensePass(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, PCW, GraphKV, GraphKVTopK, Ego, EgoBatch, DAG)
		r.Biases = drawBiases(t, r)
		p := compile(t, e, r)

		var nodeOf []int
		for n := range p.Len() {
			for range p.Tokens(n) {
				nodeOf = append(nodeOf, n)
			}
		}
		o := newBiasOracle(r)
		var biases []func(reader, source posenc.Node, head int) float64
		for _, b := range r.Biases {
			biases = append(biases, o.between(b))
		}
		m, err := p.Mask(4)
		require.NoError(t, err)
		want := lastRow(ref.Logits(allTokens(p), modeltest.Graph{
			Sees:     m.Allowed,
			Distance: readerDistance(p),
			Score: func(i, j, head int) (scale, bias, power float64) {
				if nodeOf[i] != nodeOf[j] {
					for _, b := range biases {
						bias += b(p.Layout().Node(nodeOf[i]), p.Layout().Node(nodeOf[j]), head)
					}
				}
				return 1, bias, 1
			},
		}))
		got := logits(t, e, p)
		requireClose(t, want, got.Logits)

		read, err := ParseRequest([]byte(jsonOf(r)))
		require.NoError(t, err)
		require.Equal(t, r.Biases, read.Biases)
		again := logits(t, e, compile(t, e, read))
		require.Equal(t, got.Logits, again.Logits)
		require.Equal(t, len(r.Query.Tokens), again.Usage.EncodedTokens)
	})
}

// Biases of zeros change neither a bit nor a key; others change both.
func TestNeutralBiases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := openTiny(t)
		defer e.Close()
		r := drawRequest(t, GraphKV)
		plain := logits(t, e, compile(t, e, r))
		biased := *r
		biased.Biases = Biases{
			ShortestPathBias{Table: []PerHead{{0}}},
			RandomWalkBias{Weights: []PerHead{{0, 0, 0, 0}, {0}}, Degrees: []PerHead{{0}, {0}}},
			FuncBias(func([]float64, posenc.Node, posenc.Node) error { return nil }),
		}
		neutral := logits(t, e, compile(t, e, &biased))
		require.Equal(t, plain.Logits, neutral.Logits)
		require.Equal(t, len(r.Query.Tokens), neutral.Usage.EncodedTokens)

		biased.Biases = Biases{FuncBias(func(dst []float64, reader, _ posenc.Node) error {
			if reader.Kind == posenc.SegmentNode {
				dst[rapid.SampledFrom([]int{0, 3}).Draw(t, "head")]++
			}
			return nil
		})}
		other := logits(t, e, compile(t, e, &biased))
		again := 0 // round 0 has no edges and is shared, round 1 is not
		for _, s := range r.Segments {
			again += len(s.Tokens)
		}
		require.LessOrEqual(t, other.Usage.EncodedTokens, again+len(r.Query.Tokens))
		require.Greater(t, other.Usage.EncodedTokens, len(r.Query.Tokens))
	})
}

func TestParseBiasesRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`7`:                                     `biases are a list of objects with a "kind"`,
		`[7]`:                                   `biases are a list of objects with a "kind"`,
		`[{}]`:                                  `bias 0 has no "kind"`,
		`[null]`:                                `bias 0 has no "kind"`,
		`[{"kind": 3}]`:                         `bias 0 has no "kind"`,
		`[{"kind": "alibi"}, {"kind": "ring"}]`: `bias 1 (ring): unknown kind "ring"`,
		`[{"kind": "function"}]`:                `unknown kind "function"`,
		`[{"kind": "alibi", "table": [1]}]`:     `bias 0 (alibi): json: unknown field "table"`,
		`[{"kind": "alibi", "kind": "rrwp"}]`:   `name "kind" is repeated`,
		`[{"kind": "shortest-path", "table": 3}]`:                    `bias 0 (shortest-path): number does not belong at "table"`,
		`[{"kind": "shortest-path", "table": ["x"]}]`:                `"x" is neither a number nor a list`,
		`[{"kind": "shortest-path", "table": [null]}]`:               `null is neither a number nor a list`,
		`[{"kind": "rrwp", "weights": [[1, {}]]}]`:                   `is neither a number nor a list`,
		`[{"kind": "rrwp", "weights": [1e999]}]`:                     `1e999 is neither a number nor a list`,
		`[{"kind": "rrwp", "weights": [1], "edges": [["a"]]}]`:       `edge ["a"] is not ["source", "target"]`,
		`[{"kind": "relations", "relations": [{"name": 1}]}]`:        `number does not belong at "relations.name"`,
		`[{"kind": "relations", "relations": [{"title": "cites"}]}]`: `unknown field "title"`,
		`[{"kind": "relevance", "scores": {"a": 1}}]`:                `object does not belong at "scores"`,
	} {
		_, err := ParseRequest([]byte(`{"query": "x", "biases": ` + in + `}`))
		require.ErrorContains(t, err, want, in)
	}
	r, err := ParseRequest([]byte(`{"query": "x", "biases": [{"kind": "shortest-path", "table": [0, [-1, null]]}, {"paths": true, "kind": "alibi"}]}`))
	require.NoError(t, err)
	require.Equal(t, Biases{ShortestPathBias{Table: []PerHead{{0}, {-1, math.Inf(-1)}}}, ALiBiBias{Paths: true}}, r.Biases)
	_, err = json.Marshal(Request{Biases: Biases{FuncBias(nil)}})
	require.ErrorContains(t, err, "bias 0 is a function or nil and has no JSON form")
}

func TestCompileRefusesBiases(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	r := Request{
		Strategy: DAG,
		Segments: []Segment{{ID: "a", Tokens: []int32{1}}, {ID: "b", Tokens: []int32{2}}},
		Edges:    []Edge{{"a", "b"}},
		Query:    Tokens(3),
	}
	related := func(relations ...Relation) Bias { return RelationBias{Relations: relations} }
	for _, c := range []struct {
		bias Bias
		want string
	}{
		{nil, "graphkv: bias 1 is nil"},
		{FuncBias(nil), "graphkv: bias 1 (function): nil function"},
		{FuncBias(func(dst []float64, _, _ posenc.Node) error { dst[1] = nan; return nil }),
			"posenc: node 1 (segment 1): source 0 (segment 0): bias of head 1 is NaN, must be from -100000 to 100000, or -Inf"},
		{ALiBiBias{BiasGraph: BiasGraph{Undirected: true}}, "graphkv: bias 1 (alibi): edges, and whether they are undirected, are for distances with paths"},
		{ALiBiBias{Paths: true, BiasGraph: BiasGraph{Edges: []Edge{{"a", "z"}}}}, `graphkv: bias 1 (alibi): graph: edge "a" → "z": unknown target "z"`},
		{ShortestPathBias{}, "graphkv: bias 1 (shortest-path): no numbers for any distance"},
		{ShortestPathBias{Table: []PerHead{{1}, {1, 2, 3}}}, "graphkv: bias 1 (shortest-path): distance 1: numbers for 3 heads, the model has 2"},
		{ShortestPathBias{Table: []PerHead{{}}}, "graphkv: bias 1 (shortest-path): distance 0: numbers for 0 heads, the model has 2"},
		{ShortestPathBias{Table: []PerHead{{1}, {0, inf}}}, "graphkv: bias 1 (shortest-path): posenc: distance 1: bias of head 1 is +Inf, must be finite or -Inf"},
		{ShortestPathBias{Table: []PerHead{{1}}, Unreachable: PerHead{1, 2, 3}}, "graphkv: bias 1 (shortest-path): unreachable segments: numbers for 3 heads, the model has 2"},
		{RandomWalkBias{Weights: make([]PerHead, 65)}, "graphkv: bias 1 (rrwp): step 0: numbers for 0 heads, the model has 2"},
		{RandomWalkBias{Weights: slices.Repeat([]PerHead{{1}}, 65)}, "graphkv: bias 1 (rrwp): posenc: random walks of 65 steps, want 1 to 64"},
		{RandomWalkBias{Weights: []PerHead{{1}, {nan}}}, "graphkv: bias 1 (rrwp): posenc: weight of head 0 and step 1 is NaN, must be finite"},
		{RandomWalkBias{Weights: []PerHead{{1}, {2}}, Degrees: []PerHead{{1}}}, "graphkv: bias 1 (rrwp): posenc: the weights of degrees are 2 × 1, want 2 × 2"},
		{related(Relation{Name: "x", Bias: PerHead{1}}, Relation{Name: "x", Bias: PerHead{1}}), `graphkv: bias 1 (relations): relation "x" is listed twice`},
		{related(Relation{Name: "x"}), `graphkv: bias 1 (relations): relation "x": numbers for 0 heads, the model has 2`},
		{related(Relation{Name: "x", Bias: PerHead{nan}}), `graphkv: bias 1 (relations): posenc: relation x: bias of head 0 is NaN, must be finite or -Inf`},
		{related(Relation{Name: "x", Bias: PerHead{1}, Edges: []Edge{{"q", "a"}}}), `graphkv: bias 1 (relations): relation "x": "q" is not a segment`},
		{related(Relation{Name: "x", Bias: PerHead{1}, Edges: []Edge{{"a", "b"}}}, Relation{Name: "y", Bias: PerHead{1}, Edges: []Edge{{"a", "b"}}}),
			`graphkv: bias 1 (relations): edge "a" → "b" is in relations "x" and "y"`},
		{RelevanceBias{Scores: []float64{1}}, "graphkv: bias 1 (relevance): 1 scores for 2 segments"},
		{RelevanceBias{Scores: []float64{1, nan}}, "graphkv: bias 1 (relevance): posenc: the relevance of segment 1 is NaN, must be finite or -Inf"},
		{RelevanceBias{Scores: []float64{1, 1}, Weight: PerHead{1, 2, 3}}, "graphkv: bias 1 (relevance): weight: numbers for 3 heads, the model has 2"},
	} {
		q := r
		q.Biases = Biases{ALiBiBias{}, c.bias}
		_, err := Compile(&q, CompileOptions{Heads: 2})
		require.EqualError(t, err, c.want)
	}
	r.Biases = Biases{ALiBiBias{}}
	_, err := Compile(&r, CompileOptions{})
	require.EqualError(t, err, "graphkv: biases are for the heads of a model, of which 0 are given")
}

// Whatever of a corpus a budget has left compiles within that budget, and misses no
// segment for which there was room.
func TestBudgetsHoldForRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "segments")
		var segments []graph.Segment
		for i := range n {
			segments = append(segments, graph.Segment{ID: fmt.Sprint("s", i), Tokens: drawTokens(t, 9, "segment")})
		}
		var edges []graph.Edge
		for i := range n {
			for j := range i {
				if rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
					edges = append(edges, graph.Edge{Source: segments[j].ID, Target: segments[i].ID})
				}
			}
		}
		corpus, err := graph.FromEdges(segments, edges)
		require.NoError(t, err)
		ranking, err := corpus.PersonalizedPageRank([]graph.Scored{{Segment: n - 1, Score: 1}}, graph.PageRank{})
		require.NoError(t, err)
		limit := rapid.IntRange(9, 60).Draw(t, "limit")
		kept, err := corpus.Fit(ranking.Sequence(), graph.Budget{Limit: limit})
		require.NoError(t, err)
		small, err := corpus.Induced(kept)
		require.NoError(t, err)
		small, err = small.TopSources(2, graph.SourceOptions{})
		require.NoError(t, err)

		r := (&Request{Strategy: DAG, Query: Tokens(1, 2)}).WithGraph(small)
		p, err := Compile(r, CompileOptions{PromptTokens: limit + 2})
		require.NoError(t, err)
		require.Equal(t, segments[n-1].ID, r.Segments[len(r.Segments)-1].ID)
		require.Len(t, r.Segments, len(kept))
		sequence := ranking.Sequence()
		if dropped := len(sequence) - len(kept); dropped > 0 {
			require.Greater(t, p.Layout().Tokens()-2+len(segments[sequence[dropped-1]].Tokens), limit)
		}
	})
}

// biasedRequests are requests over a citation graph of which every segment reads 8
// earlier ones, one for each kind of bias.
func biasedRequests(n int) map[string]*Request {
	r := Request{Strategy: DAG, Query: Tokens(1)}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		r.Segments = append(r.Segments, Segment{ID: fmt.Sprint("s", i), Tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8}})
		row := map[int]bool{}
		for len(row) < min(8, i) {
			if s := rng.IntN(i); !row[s] {
				row[s] = true
				r.Edges = append(r.Edges, Edge{r.Segments[s].ID, r.Segments[i].ID})
			}
		}
	}
	half := len(r.Edges) / 2
	biases := []Bias{
		ALiBiBias{},
		ALiBiBias{Paths: true, BiasGraph: BiasGraph{Undirected: true}},
		ShortestPathBias{Table: []PerHead{{0}, {-1}, {-2}, {-3}}},
		RandomWalkBias{Weights: slices.Repeat([]PerHead{{1}}, 8), BiasGraph: BiasGraph{Undirected: true}},
		RelationBias{Relations: []Relation{{"cites", PerHead{1}, r.Edges[:half]}, {"quotes", PerHead{2}, r.Edges[half:]}}},
		RelevanceBias{Scores: make([]float64, n)},
	}
	out := map[string]*Request{"none": &r}
	for _, b := range biases {
		q := r
		q.Biases = Biases{b}
		name := b.kind()
		if a, ok := b.(ALiBiBias); ok && a.Paths {
			name += "-paths"
		}
		out[name] = &q
	}
	return out
}

// lower compiles a request and lowers its plan to a mask.
func lower(r *Request) error {
	p, err := Compile(r, CompileOptions{Heads: 9})
	if err != nil {
		return err
	}
	_, err = p.Mask(128)
	return err
}

// Time is linear in the edges; package posenc tests that of the biases alone.
func BenchmarkBiasedPlan(b *testing.B) {
	for name, r := range biasedRequests(10_000) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := lower(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
