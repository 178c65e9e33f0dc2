// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"

	"github.com/graphkv/graphkv/internal/pool"
)

func ExamplePool_For() {
	p := pool.New(4)
	defer p.Close()
	partial := make([]int, p.Workers()) // one slot per worker: no locks
	p.For(100, func(worker, i int) { partial[worker] += i })
	sum := 0
	for _, s := range partial {
		sum += s
	}
	fmt.Println(sum)
	// Output: 4950
}
