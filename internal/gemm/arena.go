// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import "github.com/graphkv/graphkv/internal/mem"

// Arena hands out the memory of matrices that live and die together, from stretches that double up to a limit. A decode step reads all
// weights of a model once: in large pages, which an Arena asks the system for, that takes fewer address translations than in thousands of
// small ones. The zero value is ready. An Arena is not safe for concurrent use.
type Arena struct {
	free []float32
	next int // values of the next slab
}

// The values of the first slab and of the largest.
const firstSlab, largestSlab = 1 << 18, 1 << 22

// NewMatrix is NewMatrixOf in memory of the arena.
func (a *Arena) NewMatrix(f Format, n, k int) *Matrix { return newMatrix(a.take, f, n, k) }

// take returns n zeros that start on a cache line.
func (a *Arena) take(n int) []float32 {
	const line = 64 / 4
	a.next = max(a.next, firstSlab)
	if n > len(a.free) {
		if n > a.next/2 {
			return mem.Lasting(n)
		}
		a.free = mem.Lasting(a.next)
		a.next = min(2*a.next, largestSlab)
	}
	x := a.free[:n:n]
	a.free = a.free[min((n+line-1)/line*line, len(a.free)):]
	return x
}
