// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc_test

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

func show(l *posenc.Layout) {
	for i := range l.Len() {
		n := l.Node(i)
		fmt.Printf("%d %v at %d, %d tokens", i, n, n.Base, n.Len)
		for _, s := range l.Sees(i) {
			fmt.Printf(", %d at %d", s.Node, s.Base)
		}
		fmt.Println()
	}
}

// Every neighbour stands on the same positions, so their order carries no meaning; the centre reads them all.
func ExampleEgo() {
	l, err := posenc.Ego(10, []int{120, 80, 200}, 2, 30)
	if err != nil {
		fmt.Println(err)
		return
	}
	show(l)
	// Output:
	// 0 segment 0 at 10, 120 tokens
	// 1 segment 1 at 10, 80 tokens
	// 2 segment 2 at 130, 200 tokens, 0 at 10, 1 at 10
	// 3 prefix at 0, 10 tokens
	// 4 query at 330, 30 tokens, 3 at 0, 0 at 10, 1 at 10, 2 at 130
}

// A citation graph: the query sees the last paper only, which has read the one before, which has read the first.
func ExampleDAG() {
	b := graph.NewBuilder()
	for _, id := range []string{"survey", "method", "data"} {
		if _, err := b.AddSegment(graph.Segment{ID: id}); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := b.AddEdge("data", "method"); err != nil {
		fmt.Println(err)
		return
	}
	if err := b.AddEdge("method", "survey"); err != nil {
		fmt.Println(err)
		return
	}
	g, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := posenc.DAG(10, []int{300, 200, 100}, g, posenc.DAGOptions{Visible: []int{0}}, 30)
	if err != nil {
		fmt.Println(err)
		return
	}
	show(l)
	fmt.Println(l.CheckContext(512, nil))
	// Output:
	// 0 prefix at 0, 10 tokens
	// 1 segment 2 at 10, 100 tokens
	// 2 segment 1 at 110, 200 tokens, 1 at 10
	// 3 segment 0 at 310, 300 tokens, 2 at 110
	// 4 query at 610, 30 tokens, 0 at 0, 3 at 310
	// posenc: segment 0 needs 610 positions, the limit is 512
}

// Keys stored at local positions and a query rotated by the distance score the same as both at their absolute positions.
func ExampleRoPE() {
	r, err := posenc.NewRoPE(posenc.Config{HeadDim: 4, Base: 10000, Pairing: posenc.HalfSplit})
	if err != nil {
		fmt.Println(err)
		return
	}
	dot := func(a, b []float32) (sum float32) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	at := func(x []float32, pos int) []float32 {
		y := append([]float32(nil), x...)
		r.Rotate(y, pos)
		return y
	}
	q, k := []float32{1, 2, 3, 4}, []float32{4, 3, 2, 1}
	absolute := dot(at(q, 1500), at(k, 1207)) // key 7 of a segment that stands at 1200
	stored := dot(at(q, 1500-1200), at(k, 7))
	fmt.Printf("%.3f %.3f\n", absolute, stored)
	// Output:
	// -11.220 -11.220
}

// A survey that reads two papers, one of which it cites: what it does not cite is quieter, and what the retriever thought
// little of is quieter to the question.
func ExampleLayout_WithBias() {
	l, err := posenc.Ego(0, []int{40, 60, 90}, 2, 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	cites := func(reader, source int) (string, bool) {
		if reader == 2 && source == 0 {
			return "cites", true
		}
		return "stranger", true
	}
	relations, err := posenc.Relations(cites, map[string][]float64{"cites": {0, 0}, "stranger": {-1, -2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	relevance, err := posenc.Relevance([]float64{-0.25, -1.5, 0}, []float64{1, 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err = l.WithBias(2, posenc.ALiBi(2, posenc.IndexDistance), relations, relevance)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range l.Len() {
		for _, s := range l.Sees(i) {
			fmt.Println(l.Node(i), "←", l.Node(int(s.Node)), l.Score(s).Bias)
		}
	}
	// Output:
	// segment 2 ← segment 0 [-0.125 -0.0078125]
	// segment 2 ← segment 1 [-1.0625 -2.0039062]
	// query ← segment 0 [-0.25 -0.25]
	// query ← segment 1 [-1.5 -1.5]
	// query ← segment 2 []
}

// Random walk probabilities as matrices that are never dense.
func ExampleRandomWalks() {
	g, err := graph.FromEdges([]graph.Segment{{ID: "a"}, {ID: "b"}, {ID: "c"}}, []graph.Edge{
		{Source: "a", Target: "b"}, {Source: "a", Target: "c"}, {Source: "b", Target: "c"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := posenc.NewRandomWalks(g, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	for k := range w.Steps() {
		fmt.Println(mat.Formatted(w.Power(k)))
	}
	// Output:
	// ⎡1  0  0⎤
	// ⎢0  1  0⎥
	// ⎣0  0  1⎦
	// ⎡  0    0    0⎤
	// ⎢  1    0    0⎥
	// ⎣0.5  0.5    0⎦
	// ⎡  0    0    0⎤
	// ⎢  0    0    0⎥
	// ⎣0.5    0    0⎦
}
