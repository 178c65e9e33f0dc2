// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"fmt"
	"log"

	"github.com/graphkv/graphkv/attention"
)

// Two query rows read a cached source and then themselves, causally.
func Example() {
	kernel, err := attention.New(attention.Config{Heads: 2, KVHeads: 1, HeadDim: 2, Scale: 1})
	if err != nil {
		log.Fatal(err)
	}
	source := attention.Part{
		KV: attention.PackKV(attention.F32, 1, 2, []float32{0, 0, 0, 0, 0, 0}, []float32{3, 0, 3, 0, 3, 0}), Len: 3, // [token][head][dim]
		Shift: 3, // has no effect here, for lack of a rotary embedding
	}
	self := attention.Part{
		KV: attention.PackKV(attention.F32, 1, 2, []float32{0, 0, 0, 0}, []float32{7, 4, 8, 5}), Len: 2, Causal: true,
	}
	query := attention.Query{
		Q:    []float32{1, 0, 0, 1, 2, 0, 0, 2}, // [row][head][dim]
		Out:  make([]float32, 8),
		LSE:  make([]float32, 4),
		Rows: 2, Parts: []attention.Part{source, self},
	}
	var ws attention.Workspace // kept between calls
	if err := kernel.Attend(nil, &ws, []attention.Query{query}); err != nil {
		log.Fatal(err)
	}
	for i := range query.Rows {
		fmt.Printf("row %d: head 0 %.1f, head 1 %.1f, log-sum-exp %.2f\n",
			i, query.Out[i*4:i*4+2], query.Out[i*4+2:i*4+4], query.LSE[i*2:i*2+2])
	}
	// Output:
	// row 0: head 0 [4.0 1.0], head 1 [4.0 1.0], log-sum-exp [1.39 1.39]
	// row 1: head 0 [4.8 1.8], head 1 [4.8 1.8], log-sum-exp [1.61 1.61]
}

// Results over disjoint keys, computed apart, join into the result over all.
func ExampleMerge() {
	out, lse := []float32{1, 10}, []float32{0} // one row and head, weight exp(0)
	attention.Merge(out, lse, []float32{5, 50}, []float32{1.0986123}, 2)
	fmt.Printf("%.1f %.3f\n", out, lse) // the other side weighs exp(1.0986) = 3 times as much
	// Output: [4.0 40.0] [1.386]
}

// Row 0 may see the keys 0 and 1, row 1 the keys 0 and 2: two branches of a tree.
func ExampleBitmap() {
	b := attention.NewBitmap(2, 3)
	b.SetRange(0, 0, 2)
	b.Set(1, 0)
	b.Set(1, 2)
	fmt.Println(b.Count(), b.Get(0, 2), b.Get(1, 2))
	// Output: 4 false true
}
