// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package gemm

//go:generate go -C _generate run . -out ../gemm_amd64.s -stubs ../gemm_amd64.go -pkg gemm
//go:generate go -C _generate run . -quant -out ../quant_amd64.s -stubs ../quant_amd64.go -pkg gemm
//go:generate go -C _generate run . -tables ../quant_tables_amd64.go
//go:generate go -C _generate run . -peak -out ../fmapeak/fmapeak_amd64.s -stubs ../fmapeak/fmapeak_amd64.go -pkg fmapeak

import "github.com/graphkv/graphkv/internal/cpu"

// tileFunc is an assembly micro-kernel.
type tileFunc func(c *float32, ldc int, a, b *float32, stride, k int, more bool)

// expandFunc is an assembly kernel that expands a packed panel whose blocks are stride bytes apart, directFunc one that multiplies by such
// panels.
type (
	expandFunc func(dst *float32, b *byte, stride, k int)
	directFunc func(c *float32, ldc int, a *float32, b *byte, stride, k int, next *byte)
)

// The kernels of a tier by height, and by width: one, two and four panels.
var (
	tilesAVX2 = [...][3]tileFunc{
		1: {tile1x16AVX2, tile1x32AVX2, tile1x64AVX2},
		2: {tile2x16AVX2, tile2x32AVX2},
		3: {tile3x16AVX2, tile3x32AVX2},
		4: {tile4x16AVX2},
		5: {tile5x16AVX2},
		6: {tile6x16AVX2},
	}
	tilesAVX512 = [...][3]tileFunc{
		1:  {tile1x16AVX512, tile1x32AVX512, tile1x64AVX512},
		2:  {tile2x16AVX512, tile2x32AVX512, tile2x64AVX512},
		3:  {tile3x16AVX512, tile3x32AVX512, tile3x64AVX512},
		4:  {tile4x16AVX512, tile4x32AVX512},
		5:  {tile5x16AVX512, tile5x32AVX512},
		6:  {tile6x16AVX512, tile6x32AVX512},
		7:  {tile7x16AVX512, tile7x32AVX512},
		8:  {tile8x16AVX512, tile8x32AVX512},
		9:  {tile9x16AVX512, tile9x32AVX512},
		10: {tile10x16AVX512, tile10x32AVX512},
		11: {tile11x16AVX512, tile11x32AVX512},
		12: {tile12x16AVX512, tile12x32AVX512},
		13: {tile13x16AVX512, tile13x32AVX512},
		14: {tile14x16AVX512, tile14x32AVX512},
	}

	kernelsAVX2   = assembly(tilesAVX2[:], expandAVX2[:], directAVX2[:])
	kernelsAVX512 = assembly(tilesAVX512[:], expandAVX512[:], directAVX512[:])
)

func kernelsFor(t cpu.Tier) *kernels {
	switch t {
	case cpu.AVX512:
		return kernelsAVX512
	case cpu.AVX2:
		return kernelsAVX2
	}
	return &portable
}

// assembly makes a kernel set of its tables.
func assembly(tiles [][3]tileFunc, expand []expandFunc, direct [][][3]directFunc) *kernels {
	ks := &kernels{rows: len(tiles) - 1, panels: make([]int, len(tiles)), pack: packAVX2}
	for h, byWidth := range tiles {
		for i, f := range byWidth {
			if f != nil {
				ks.panels[h] = 1 << i
			}
		}
	}
	ks.run = func(c []float32, ldc int, a, b []float32, stride, h, wide int, more bool) {
		k := len(a) / h
		_, _, _ = c[(h-1)*ldc+wide*Panel-1], a[h*k-1], b[(wide-1)*stride+Panel*k-1] // the assembly has no bounds checks
		tiles[h][wide/2](&c[0], ldc, &a[0], &b[0], 4*stride, k, more)
	}
	ks.expand = func(dst []float32, src []byte, f Format, stride, n, k int) {
		l := &formats[f]
		_, _ = dst[n*k*Panel-1], src[(k/l.block-1)*stride+n*l.packed-1]
		for i := range n {
			expand[f](&dst[i*k*Panel], &src[i*l.packed], stride, k)
		}
	}
	for _, byWidth := range direct[Q8_0] {
		most := 0
		for i, f := range byWidth {
			if f != nil {
				most = 1 << i
			}
		}
		ks.direct = append(ks.direct, most)
	}
	ks.runPacked = func(c []float32, ldc int, a []float32, b []byte, f Format, stride, h, wide int, next *byte) {
		k := len(a) / h
		l := &formats[f]
		_, _, _ = c[(h-1)*ldc+wide*Panel-1], a[h*k-1], b[(k/l.block-1)*stride+wide*l.packed-1]
		direct[f][h][wide/2](&c[0], ldc, &a[0], &b[0], stride, k, next)
	}
	return ks
}

// packAVX2 is packPortable four rows at a time; the last four may overlap those before.
func packAVX2(dst, src []float32, lda, h, k int) {
	if h < 4 {
		packPortable(dst, src, lda, h, k)
		return
	}
	_, _ = dst[h*k-1], src[(h-1)*lda+k-1]
	for i := 0; i < h; i += 4 {
		i := min(i, h-4)
		pack4AVX2(&dst[i], h, &src[i*lda], lda, k)
	}
}
