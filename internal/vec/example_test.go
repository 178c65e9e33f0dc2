// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec_test

import (
	"fmt"

	"github.com/graphkv/graphkv/internal/vec"
)

func ExampleRMSNorm() {
	x := []float32{3, -4, 0, 5}
	vec.RMSNorm(x, x, []float32{1, 1, 1, 2}, 0)
	fmt.Printf("%.3f\n", x)
	// Output: [0.849 -1.131 0.000 2.828]
}
