// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

// Bias is a structural bias: what the edges of a plan add to attention scores, per
// head. Those of a request add up. They change neither what attends to what nor
// where anything stands, but a segment that is read more or less loudly is another
// segment: biases are part of the keys of the cache.
//
// All but [RelevanceBias] and [FuncBias] are about edges between segments, the same in
// every round, and leave those of the prefix and the query neutral.
type Bias interface {
	kind() string
	edges(c *compiler, heads int) (posenc.EdgeBias, error)
	reordered(order []int, of int) Bias // see Biases.reordered
}

// Biases are the biases of a request. In JSON each is an object with its "kind" and
// its fields:
//
//	{"kind": "alibi", "paths": true}
//	{"kind": "shortest-path", "table": [0, -0.5, -1], "unreachable": -2}
//	{"kind": "rrwp", "weights": [[0, 0], [1, 2]], "degrees": [0, 0.1], "undirected": true}
//	{"kind": "relations", "relations": [{"name": "cites", "bias": 0.5, "edges": [["a", "b"]]}]}
//	{"kind": "relevance", "scores": [-0.1, -1.6], "weight": 1}
type Biases []Bias

// PerHead is one number per query head of the model, or a single number for all of
// them. −Inf hides what it is added to from a head. In JSON it is a number or a list,
// in which null stands for −Inf.
type PerHead []float64

// BiasGraph is the graph in which a bias measures.
type BiasGraph struct {
	// Edges are those of the graph; nil stands for the request's. A request that attends
	// over few edges may thus know the distances in the graph that they were chosen from.
	Edges []Edge `json:"edges,omitzero"`
	// Undirected lets paths and walks go along edges both ways. Otherwise they lead from
	// a reader to its sources.
	Undirected bool `json:"undirected,omitempty"`
}

// ALiBiBias takes slope·distance off the scores, with the slopes of Press et al. (2022)
// for the number of heads. The distance of two segments is the number of places between
// them in the request or, with Paths, the length of the shortest path; what no path
// leads to is hidden.
type ALiBiBias struct {
	Paths bool `json:"paths,omitempty"`
	BiasGraph
}

// ShortestPathBias has learned numbers for every length of the shortest path, 0 first,
// as Graphormer does (Ying et al., 2021).
type ShortestPathBias struct {
	Table []PerHead `json:"table"`
	// Unreachable is for what no path leads to, or only one that is longer than the table
	// goes.
	Unreachable PerHead `json:"unreachable,omitempty"`
	BiasGraph
}

// RandomWalkBias is linear in the probabilities that a random walk from the reader is at
// the source after 0, 1, … steps: GRIT's relative random walk probabilities (Ma et al.,
// 2023), see [posenc.RRWP].
type RandomWalkBias struct {
	Weights []PerHead `json:"weights"` // by number of steps
	// Degrees are weights that are multiplied by log(1 + number of the reader's sources);
	// none, or as many as Weights.
	Degrees []PerHead `json:"degrees,omitempty"`
	BiasGraph
}

// RelationBias has learned numbers for every relation in which a source can be to its
// reader. Pairs without a relation are neutral.
type RelationBias struct {
	Relations []Relation `json:"relations"`
}

// Relation is one kind of edge, and the edges that are of it.
type Relation struct {
	Name  string  `json:"name"`
	Bias  PerHead `json:"bias"`
	Edges []Edge  `json:"edges"`
}

// RelevanceBias adds weight·score to what the query sees of a segment, in every round.
type RelevanceBias struct {
	Scores []float64 `json:"scores"`           // of the segments, in their order; for example logarithms of probabilities
	Weight PerHead   `json:"weight,omitempty"` // nil: 1
}

// FuncBias is any function of an edge, see [posenc.EdgeBias]. Nodes name segments by
// their place in the request. It has no JSON form.
type FuncBias posenc.EdgeBias

func (ALiBiBias) kind() string        { return "alibi" }
func (ShortestPathBias) kind() string { return "shortest-path" }
func (RandomWalkBias) kind() string   { return "rrwp" }
func (RelationBias) kind() string     { return "relations" }
func (RelevanceBias) kind() string    { return "relevance" }
func (FuncBias) kind() string         { return "function" }

// bias adds the request's biases to a layout.
func (c *compiler) bias(l *posenc.Layout, heads int) (*posenc.Layout, error) {
	if len(c.r.Biases) == 0 {
		return l, nil
	}
	if heads < 1 {
		return nil, fmt.Errorf("graphkv: biases are for the heads of a model, of which %d are given", heads)
	}
	edges := make([]posenc.EdgeBias, len(c.r.Biases))
	for i, b := range c.r.Biases {
		if b == nil {
			return nil, fmt.Errorf("graphkv: bias %d is nil", i)
		}
		var err error
		if edges[i], err = b.edges(c, heads); err != nil {
			return nil, fmt.Errorf("graphkv: bias %d (%s): %w", i, b.kind(), err)
		}
	}
	return l.WithBias(heads, edges...)
}

// reordered returns the biases for a request over some of its so many segments in another
// order: order[i] is where the i-th stood before.
func (b Biases) reordered(order []int, of int) Biases {
	out := slices.Clone(b)
	for i := range out {
		if out[i] != nil {
			out[i] = out[i].reordered(order, of)
		}
	}
	return out
}

// Distances in the request are those of the new order; graphs and relations name their
// segments.

func (b ALiBiBias) reordered([]int, int) Bias        { return b }
func (b ShortestPathBias) reordered([]int, int) Bias { return b }
func (b RandomWalkBias) reordered([]int, int) Bias   { return b }
func (b RelationBias) reordered([]int, int) Bias     { return b }

func (b RelevanceBias) reordered(order []int, of int) Bias {
	if len(b.Scores) != of {
		return b // they are for other segments, or Compile refuses them
	}
	scores := make([]float64, len(order))
	for i, was := range order {
		scores[i] = b.Scores[was]
	}
	b.Scores = scores
	return b
}

func (b FuncBias) reordered(order []int, _ int) Bias {
	if b == nil {
		return b
	}
	return FuncBias(func(dst []float64, reader, source posenc.Node) error {
		for _, n := range []*posenc.Node{&reader, &source} {
			if n.Kind == posenc.SegmentNode {
				n.Segment = order[n.Segment]
			}
		}
		return b(dst, reader, source)
	})
}

// expand returns a number per head.
func (p PerHead) expand(heads int, name string) ([]float64, error) {
	if len(p) != 1 && len(p) != heads {
		return nil, fmt.Errorf("%s: numbers for %d heads, the model has %d", name, len(p), heads)
	}
	out := make([]float64, heads)
	for h := range out {
		out[h] = p[min(h, len(p)-1)]
	}
	return out, nil
}

// matrix returns a row for every entry of a table.
func matrix(table []PerHead, heads int, name string) (*mat.Dense, error) {
	if len(table) == 0 {
		return nil, fmt.Errorf("no numbers for any %s", name)
	}
	m := mat.NewDense(len(table), heads, nil)
	for i, p := range table {
		row, err := p.expand(heads, fmt.Sprintf("%s %d", name, i))
		if err != nil {
			return nil, err
		}
		m.SetRow(i, row)
	}
	return m, nil
}

// graph returns the graph in which a bias measures.
func (b BiasGraph) graph(c *compiler) (*graph.Graph, error) {
	g := c.graph
	if b.Edges != nil {
		segments := make([]graph.Segment, g.Len())
		for i := range segments {
			segments[i].ID = g.ID(i)
		}
		edges := make([]graph.Edge, len(b.Edges))
		for i, e := range b.Edges {
			edges[i] = graph.Edge{Source: e[0], Target: e[1]}
		}
		var err error
		if g, err = graph.FromEdges(segments, edges, graph.SelfEdges()); err != nil {
			return nil, err
		}
	}
	if b.Undirected {
		return g.Symmetric()
	}
	return g, nil
}

func (b ALiBiBias) edges(c *compiler, heads int) (posenc.EdgeBias, error) {
	if !b.Paths {
		if b.Edges != nil || b.Undirected {
			return nil, errors.New("edges, and whether they are undirected, are for distances with paths")
		}
		return posenc.ALiBi(heads, posenc.IndexDistance), nil
	}
	g, err := b.graph(c)
	if err != nil {
		return nil, err
	}
	return posenc.ALiBi(heads, posenc.ShortestPaths(g, g.Len())), nil
}

func (b ShortestPathBias) edges(c *compiler, heads int) (posenc.EdgeBias, error) {
	table, err := matrix(b.Table, heads, "distance")
	if err != nil {
		return nil, err
	}
	var unreachable []float64
	if b.Unreachable != nil {
		if unreachable, err = b.Unreachable.expand(heads, "unreachable segments"); err != nil {
			return nil, err
		}
	}
	g, err := b.graph(c)
	if err != nil {
		return nil, err
	}
	return posenc.DistanceBias(posenc.ShortestPaths(g, len(b.Table)-1), table, unreachable)
}

func (b RandomWalkBias) edges(c *compiler, heads int) (posenc.EdgeBias, error) {
	weights, err := matrix(b.Weights, heads, "step")
	if err != nil {
		return nil, err
	}
	var degrees mat.Matrix
	if b.Degrees != nil {
		m, err := matrix(b.Degrees, heads, "degrees of step")
		if err != nil {
			return nil, err
		}
		degrees = m.T()
	}
	g, err := b.graph(c)
	if err != nil {
		return nil, err
	}
	walks, err := posenc.NewRandomWalks(g, len(b.Weights))
	if err != nil {
		return nil, err
	}
	return posenc.RRWP(walks, weights.T(), degrees)
}

func (b RelationBias) edges(c *compiler, heads int) (posenc.EdgeBias, error) {
	type pair struct{ reader, source int }
	of := make(map[pair]string)
	table := make(map[string][]float64, len(b.Relations))
	for _, r := range b.Relations {
		if _, ok := table[r.Name]; ok {
			return nil, fmt.Errorf("relation %q is listed twice", r.Name)
		}
		bias, err := r.Bias.expand(heads, fmt.Sprintf("relation %q", r.Name))
		if err != nil {
			return nil, err
		}
		table[r.Name] = bias
		for _, e := range r.Edges {
			var ends [2]int
			for k, id := range e {
				i, ok := c.graph.Index(id)
				if !ok {
					return nil, fmt.Errorf("relation %q: %q is not a segment", r.Name, id)
				}
				ends[k] = i
			}
			p := pair{source: ends[0], reader: ends[1]}
			if other, ok := of[p]; ok {
				return nil, fmt.Errorf("edge %q → %q is in relations %q and %q", e[0], e[1], other, r.Name)
			}
			of[p] = r.Name
		}
	}
	return posenc.Relations(func(reader, source int) (string, bool) {
		name, ok := of[pair{reader, source}]
		return name, ok
	}, table)
}

func (b RelevanceBias) edges(c *compiler, heads int) (posenc.EdgeBias, error) {
	if len(b.Scores) != c.graph.Len() {
		return nil, fmt.Errorf("%d scores for %d segments", len(b.Scores), c.graph.Len())
	}
	weight := b.Weight
	if weight == nil {
		weight = PerHead{1}
	}
	weights, err := weight.expand(heads, "weight")
	if err != nil {
		return nil, err
	}
	return posenc.Relevance(b.Scores, weights)
}

func (b FuncBias) edges(*compiler, int) (posenc.EdgeBias, error) {
	if b == nil {
		return nil, errors.New("nil function")
	}
	return posenc.EdgeBias(b), nil
}
