// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm_test

import (
	"fmt"

	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/pool"
)

func ExampleMul() {
	w := gemm.NewMatrix(2, 3) // two outputs of three inputs
	w.SetRow(0, []float32{1, 2, 3})
	w.SetRow(1, []float32{0, 1, 0})

	a := []float32{
		1, 1, 1,
		1, 0, -1,
	}
	c := make([]float32, 2*2)
	var ws gemm.Workspace // reused from call to call
	gemm.Mul(pool.Default(), &ws, c, 2, a, 3, 2, w)
	fmt.Println(c)
	// Output: [6 1 -2 0]
}
