// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"gonum.org/v1/gonum/graph/topo"

	"github.com/graphkv/graphkv/graph"
)

// A paper that cites two others, one of which cites the other.
func Example() {
	g, err := graph.FromEdges([]graph.Segment{
		{ID: "survey", Text: "Everything so far …"},
		{ID: "attention", Text: "Attention is …"},
		{ID: "rope", Text: "Rotary embeddings …"},
	}, []graph.Edge{
		{Source: "attention", Target: "rope"},
		{Source: "attention", Target: "survey"},
		{Source: "rope", Target: "survey"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	levels, err := g.Levels()
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range g.Len() {
		fmt.Println(levels[i], g.ID(i), g.Sources(i))
	}
	// Output:
	// 2 survey [1 2]
	// 0 attention []
	// 1 rope [1]
}

func ExampleBuilder() {
	b := graph.NewBuilder()
	b.AddSegment(graph.Segment{ID: "a", Text: "…"})
	b.AddEdge("a", "b") // the builder keeps the first error
	b.AddSegment(graph.Segment{ID: "b", Text: "…"})
	_, err := b.Build()
	fmt.Println(err)
	fmt.Println(errors.Is(err, graph.ErrUnknownTarget))
	// Output:
	// graph: edge "a" → "b": unknown target "b"
	// true
}

// A cycle has no levels, but it has rounds.
func ExampleGraph_Unroll() {
	g, err := graph.FromEdges([]graph.Segment{{ID: "a"}, {ID: "b"}},
		[]graph.Edge{{Source: "a", Target: "b"}, {Source: "b", Target: "a"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = g.Levels()
	fmt.Println(err)

	u, err := g.Unroll(2)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range u.Len() {
		segment, round := u.Node(i)
		fmt.Printf("%d: %s in round %d reads %v\n", i, g.ID(segment), round, u.AppendSources(nil, i))
	}
	// Output:
	// graph: cycle "a" → "b" → "a"
	// 0: a in round 0 reads []
	// 1: b in round 0 reads []
	// 2: a in round 1 reads [1]
	// 3: b in round 1 reads [0]
	// 4: a in round 2 reads [3]
	// 5: b in round 2 reads [2]
}

// The last two of four passages, sorted by ascending relevance, are the sources
// of all.
func ExampleTopK() {
	g, err := graph.TopK([]graph.Segment{{ID: "p0"}, {ID: "p1"}, {ID: "p2"}, {ID: "p3"}}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range g.Len() {
		fmt.Println(g.ID(i), g.Sources(i))
	}
	// Output:
	// p0 [2 3]
	// p1 [2 3]
	// p2 [2 3]
	// p3 [2 3]
}

// What a segment may have heard of, and that part of the graph alone.
func ExampleGraph_Subgraph() {
	g, err := graph.ReadJSON(strings.NewReader(`{
		"segments": [{"id":"a"}, {"id":"b"}, {"id":"c"}, {"id":"d"}],
		"edges":    [["a","b"], ["b","d"], ["c","d"]]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := g.Index("b")
	set := g.Ancestors(b)
	set.AddInt(b)
	sub, err := g.Subgraph(set)
	if err != nil {
		fmt.Println(err)
		return
	}
	sub.WriteJSON(os.Stdout)
	// Output:
	// {"segments":[
	// {"id":"a"},
	// {"id":"b"}
	// ],"edges":[
	// ["a","b"]
	// ]}
}

// A Graph is a gonum graph, so gonum's algorithms run on it.
func ExampleGraph_Nodes() {
	g, err := graph.Chain([]graph.Segment{{ID: "first"}, {ID: "second"}, {ID: "third"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	order, err := topo.Sort(g)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range order {
		fmt.Println(n.ID(), n.(graph.Node).Segment().ID)
	}
	// Output:
	// 0 first
	// 1 second
	// 2 third
}

func ExampleGraph_MarshalDOT() {
	g, err := graph.Star([]graph.Segment{{ID: "paper", Text: "We show …"}, {ID: "cited 1"}, {ID: "cited 2"}}, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	dot, err := g.MarshalDOT("")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(dot))
	// Output:
	// strict digraph {
	// 	// Node definitions.
	// 	"paper" [text="We show …"];
	// 	"cited 1";
	// 	"cited 2";
	//
	// 	// Edge definitions.
	// 	"cited 1" -> "paper";
	// 	"cited 2" -> "paper";
	// }
}

// A question's papers and what they have most to read from, in 300 tokens.
func ExampleGraph_Fit() {
	g, err := graph.FromEdges([]graph.Segment{{ID: "survey"}, {ID: "attention"}, {ID: "rope"}, {ID: "cooking"}, {ID: "alibi"}}, []graph.Edge{
		{Source: "attention", Target: "rope"},
		{Source: "attention", Target: "alibi"},
		{Source: "attention", Target: "survey"},
		{Source: "rope", Target: "survey"},
		{Source: "alibi", Target: "survey"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ranking, err := g.PersonalizedPageRank([]graph.Scored{{Segment: 0, Score: 1}}, graph.PageRank{})
	if err != nil {
		fmt.Println(err)
		return
	}
	kept, err := g.Fit(ranking.Sequence(), graph.Budget{Limit: 300, Lengths: []int{120, 80, 90, 70, 60}})
	if err != nil {
		fmt.Println(err)
		return
	}
	small, err := g.Induced(kept)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range small.Len() {
		fmt.Println(i, small.ID(i), small.Sources(i))
	}
	// Output:
	// 0 rope [1]
	// 1 attention []
	// 2 survey [1 0]
}

// The sequence of Graph Mamba: from what long walks meet to the segment itself.
func ExampleGraph_WalkNeighbourhoods() {
	g, err := graph.Chain([]graph.Segment{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}, {ID: "e"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := g.WalkNeighbourhoods(4, graph.WalkOptions{Length: 3, Walks: 2, Repeats: 1, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range tokens {
		fmt.Println(t.Radius, t.Segments)
	}
	fmt.Println(graph.Sequence(tokens))
	// Output:
	// 3 [1 2 3 4]
	// 2 [2 3 4]
	// 1 [3 4]
	// 0 [4]
	// [1 2 3 4]
}

// At most one source for every paper, which may be one that it does not cite itself.
func ExampleGraph_TopSources() {
	g, err := graph.FromEdges([]graph.Segment{{ID: "classic"}, {ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "survey"}}, []graph.Edge{
		{Source: "classic", Target: "a"},
		{Source: "classic", Target: "b"},
		{Source: "classic", Target: "c"},
		{Source: "a", Target: "survey"},
		{Source: "b", Target: "survey"},
		{Source: "c", Target: "survey"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	top, err := g.TopSources(1, graph.SourceOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(top.ID(int(top.Sources(4)[0])))
	// Output:
	// classic
}
