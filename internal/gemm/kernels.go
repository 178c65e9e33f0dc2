// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

// kernels is the set of micro-kernels of one tier.
type kernels struct {
	rows   int   // height of the tallest tile
	panels []int // [rows+1] for each height, how many panels the widest kernel takes: a power of two that never grows with the height
	// run computes a tile of h rows and wide panels, stride values apart: c[i][j] = Σₚ a[p][i]·b[j/16][p][j%16], with a packed [k][h]. If
	// more, the sum goes on from what c holds.
	run func(c []float32, ldc int, a, b []float32, stride, h, wide int, more bool)
	// pack interleaves h rows of k values: dst[p·h+i] = src[i·lda+p].
	pack func(dst, src []float32, lda, h, k int)
	// expand makes n float32 panels of k steps, one after the other, of packed ones of format f whose blocks are stride bytes apart.
	expand func(dst []float32, src []byte, f Format, stride, n, k int)
	// direct[h] is how many packed panels the widest kernel takes that multiplies h rows without expanding them, a power of two; products of
	// len(direct) rows and more are done on expanded panels.
	direct []int
	// runPacked is run on packed panels of format f whose blocks are stride bytes apart, over the whole of k. With
	// nextRows rows and more it brings the k·nextBytes bytes from next on closer meanwhile.
	runPacked func(c []float32, ldc int, a []float32, b []byte, f Format, stride, h, wide int, next *byte)
}

var portable = kernels{rows: portableRows, panels: []int{1, 1, 1, 1, 1}, run: tilePortable, pack: packPortable, expand: expandPortable}
