// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask_test

import (
	"fmt"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

func ExampleMask_Picture() {
	// Two neighbours, a centre that reads both, a system prompt and a question that reads everything.
	l, err := posenc.Ego(64, []int{128, 100, 192}, 2, 60)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := mask.New(l, 64)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m)
	fmt.Print(m.Picture(80, func(node int) string { return l.Node(node).String() }))
	// Output:
	// 544 tokens in 5 nodes, 9×9 blocks of 64: 19 full, 24 partial, density 0.3668
	// segment 0 +........
	//           #+.......
	// segment 1 ..+......
	// segment 2 ++#+.....
	//           ####+....
	//           #####+...
	// prefix    +++++++..
	// query     ++++++++.
	//           ########+
}

func ExampleMask_Row() {
	l, err := posenc.Block(0, []int{64, 96}, 32)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := mask.New(l, 32)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range m.Side() {
		cols, kinds := m.Row(i)
		fmt.Println(i, cols, kinds)
	}
	// Output:
	// 0 [0] [partial]
	// 1 [0 1] [full partial]
	// 2 [2] [partial]
	// 3 [2 3] [full partial]
	// 4 [2 3 4] [full full partial]
	// 5 [0 1 2 3 4 5] [full full full full full partial]
}

func ExampleMask_Bitmap() {
	l, err := posenc.Block(0, []int{3, 2}, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := mask.New(l, 8)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, row := range m.Bitmap(nil, 0, 0) { // one word per row of up to 64 keys, key 0 in the lowest bit
		for key := range 8 {
			fmt.Print(row >> key & 1)
		}
		fmt.Println()
	}
	// Output:
	// 10000000
	// 11000000
	// 11100000
	// 00010000
	// 00011000
	// 11111100
	// 11111110
	// 11111111
}
