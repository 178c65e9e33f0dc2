// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// ahead is how far, in bytes, a kernel prefetches a panel that it walks along.
const ahead = 1024

// tile writes the kernel for h rows and w panels. Its accumulators stay in registers for the whole of k: one chain per element of C.
func tile(t isa, h, w int) {
	name := fmt.Sprintf("tile%dx%d%s", h, w*panel, t.name)
	TEXT(name, NOSPLIT, "func(c *float32, ldc int, a, b *float32, stride, k int, more bool)")
	Doc(fmt.Sprintf("%s computes a tile of %d rows and %d panels, stride bytes apart: c[i][j] = Σₚ a[p][i]·b[j/16][p][j%%16], from c on if more.", name, h, w))
	Pragma("noescape")
	a, k := Load(Param("a"), GP64()), Load(Param("k"), GP64())
	perPanel := panel / t.lanes

	bs := make([]Register, w) // one pointer per panel
	bs[0] = Load(Param("b"), GP64())
	if w > 1 {
		stride := Load(Param("stride"), GP64())
		for i := 1; i < w; i++ {
			bs[i] = GP64()
			LEAQ(Mem{Base: bs[i-1], Index: stride, Scale: 1}, bs[i])
		}
	}
	acc := make([][]VecVirtual, h)
	for i := range acc {
		acc[i] = make([]VecVirtual, w*perPanel)
		for j := range acc[i] {
			acc[i][j] = t.reg()
		}
	}

	step := func(u int) {
		if h > 3 { // the panels of few rows come from memory, where the hardware looks ahead far enough
			for _, b := range bs {
				PREFETCHT0(Mem{Base: b, Disp: 4*u*panel + ahead})
			}
			PREFETCHT0(Mem{Base: a, Disp: 4*u*h + ahead})
		}
		row := make([]Op, w*perPanel)
		for j := range row {
			row[j] = Mem{Base: bs[j/perPanel], Disp: 4 * (u*panel + j%perPanel*t.lanes)}
		}
		if h > 1 { // one row uses each value of b once, straight from memory
			for j := range row {
				r := t.reg()
				VMOVUPS(row[j], r)
				row[j] = r
			}
		}
		for i := range h {
			x := t.reg()
			VBROADCASTSS(Mem{Base: a, Disp: 4 * (u*h + i)}, x)
			for j := range row {
				VFMADD231PS(row[j], x, acc[i][j])
			}
		}
	}
	advance := func(u int) {
		ADDQ(Imm(uint64(4*u*h)), a)
		for _, b := range bs {
			ADDQ(U32(4*u*panel), b)
		}
	}

	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	more := Load(Param("more"), GP8())
	TESTB(more, more)
	JZ(LabelRef("fresh"))
	for i := range h {
		for j := range acc[i] {
			VMOVUPS(Mem{Base: c, Disp: 4 * j * t.lanes}, acc[i][j])
		}
		if i+1 < h {
			ADDQ(ldc, c)
		}
	}
	if h > 3 { // the next tile most likely goes on as well, in the next rows
		for range h {
			ADDQ(ldc, c)
			for j := range w {
				PREFETCHT0(Mem{Base: c, Disp: 4 * j * panel})
			}
		}
	}
	JMP(LabelRef("begin"))
	Label("fresh")
	for i := range h {
		for j := range acc[i] {
			t.zero(acc[i][j])
		}
	}
	if h > 3 { // C arrives while the loop runs; a few rows of it wait in the store buffer instead
		for i := range h {
			for j := range w {
				PREFETCHT0(Mem{Base: c, Disp: 4 * j * panel})
			}
			if i+1 < h {
				ADDQ(ldc, c)
			}
		}
	}

	Label("begin")
	turns := GP64()
	MOVQ(k, turns)
	SHRQ(Imm(uint64(log2(t.unroll))), turns)
	JZ(LabelRef("rest"))
	Label("turn")
	for u := range t.unroll {
		step(u)
	}
	advance(t.unroll)
	DECQ(turns)
	JNZ(LabelRef("turn"))
	Label("rest")
	ANDQ(Imm(uint64(t.unroll-1)), k)
	JZ(LabelRef("store"))
	Label("one")
	step(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("one"))

	Label("store")
	Load(Param("c"), c)
	for i := range h {
		for j := range acc[i] {
			VMOVUPS(acc[i][j], Mem{Base: c, Disp: 4 * j * t.lanes})
		}
		if i+1 < h {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}

// pack4 writes the interleaving of four rows of A, four steps of k at a time.
func pack4() {
	TEXT("pack4AVX2", NOSPLIT, "func(dst *float32, height int, src *float32, lda, k int)")
	Doc("pack4AVX2 interleaves four rows: dst[p*height+i] = src[i*lda+p] for i < 4 and p < k.")
	Pragma("noescape")
	dst, height := Load(Param("dst"), GP64()), Load(Param("height"), GP64())
	src, lda, k := Load(Param("src"), GP64()), Load(Param("lda"), GP64()), Load(Param("k"), GP64())
	SHLQ(Imm(2), height)
	SHLQ(Imm(2), lda)
	src3, height3 := GP64(), GP64()
	LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, src3)
	ADDQ(src, src3)
	LEAQ(Mem{Base: height, Index: height, Scale: 2}, height3)
	rows := []Mem{{Base: src}, {Base: src, Index: lda, Scale: 1}, {Base: src, Index: lda, Scale: 2}, {Base: src3}}
	steps := []Mem{{Base: dst}, {Base: dst, Index: height, Scale: 1}, {Base: dst, Index: height, Scale: 2}, {Base: dst, Index: height3, Scale: 1}}

	turns := GP64()
	MOVQ(k, turns)
	SHRQ(Imm(2), turns)
	JZ(LabelRef("rest"))
	Label("turn")
	var x, low, y [4]VecVirtual
	for i := range x {
		x[i], low[i], y[i] = XMM(), XMM(), XMM()
		VMOVUPS(rows[i], x[i])
	}
	VUNPCKLPS(x[1], x[0], low[0]) // 00 10 01 11
	VUNPCKLPS(x[3], x[2], low[1]) // 20 30 21 31
	VUNPCKHPS(x[1], x[0], low[2]) // 02 12 03 13
	VUNPCKHPS(x[3], x[2], low[3]) // 22 32 23 33
	VMOVLHPS(low[1], low[0], y[0])
	VMOVHLPS(low[0], low[1], y[1])
	VMOVLHPS(low[3], low[2], y[2])
	VMOVHLPS(low[2], low[3], y[3])
	for i := range y {
		VMOVUPS(y[i], steps[i])
	}
	ADDQ(Imm(16), src)
	ADDQ(Imm(16), src3)
	LEAQ(Mem{Base: dst, Index: height, Scale: 4}, dst)
	DECQ(turns)
	JNZ(LabelRef("turn"))

	Label("rest")
	ANDQ(Imm(3), k)
	JZ(LabelRef("done"))
	Label("one")
	for i := range rows {
		v := GP32()
		MOVL(rows[i], v)
		MOVL(v, Mem{Base: dst, Disp: 4 * i})
	}
	ADDQ(Imm(4), src)
	ADDQ(Imm(4), src3)
	ADDQ(height, dst)
	DECQ(k)
	JNZ(LabelRef("one"))
	Label("done")
	RET()
}
