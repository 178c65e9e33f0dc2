// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc_test

import (
	"fmt"

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
