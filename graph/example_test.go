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
