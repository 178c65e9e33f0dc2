// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the micro-kernels of package gemm for float32 panels, with -quant those for packed panels, with -tables the Go
// tables of the latter, and with -peak the loops of package fmapeak. It is a module of its own so that the library does not depend on the
// generator.
//
// Labels are words: one named g would be taken for the goroutine register, and jumping to it crashes. Kernels that write YMM or ZMM
// registers end with VZEROUPPER, without which SSE code that follows runs slowly.
package main

import (
	"flag"
	"fmt"
	"log"
	"math/bits"
	"os"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const panel = 16

// ahead is how far, in bytes, a kernel prefetches a panel that it walks along.
const ahead = 1024

// isa is what differs between the two tiers.
type isa struct {
	name   string
	lanes  int   // float32 per register
	rows   int   // tallest tile
	panels []int // [rows+1] widest tile for each height, in panels
	unroll int   // steps of k per turn of the loop, a power of two
	reg    func() VecVirtual
	zero   func(r VecVirtual)
}

var avx2 = isa{
	name: "AVX2", lanes: 8, rows: 6, unroll: 4,
	panels: []int{0, 4, 2, 2, 1, 1, 1},
	reg:    YMM,
	zero:   func(r VecVirtual) { VXORPS(r, r, r) },
}

var avx512 = isa{
	name: "AVX512", lanes: 16, rows: 14, unroll: 4,
	panels: []int{0, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2},
	reg:    ZMM,
	zero:   func(r VecVirtual) { VPXORD(r, r, r) },
}

func main() {
	probe := flag.Bool("peak", false, "write the FMA peak loops in place of the kernels")
	packed := flag.Bool("quant", false, "write the kernels for packed panels")
	table := flag.String("tables", "", "write the Go tables of the kernels for packed panels to this file")
	flag.Parse()
	if *table != "" {
		if err := os.WriteFile(*table, tables(), 0o666); err != nil {
			log.Fatal(err)
		}
		return
	}
	ConstraintExpr("!noasm")
	if *packed {
		consts = newConstants()
	}
	for _, t := range []isa{avx2, avx512} {
		switch {
		case *probe:
			peak(t)
			continue
		case *packed:
			quants(t)
			continue
		}
		for h := 1; h <= t.rows; h++ {
			for w := 1; w <= t.panels[h]; w *= 2 {
				tile(t, h, w)
			}
		}
	}
	if !*probe && !*packed {
		pack4()
	}
	Generate()
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

func log2(n int) int { return bits.TrailingZeros(uint(n)) }

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

// chains is how many independent accumulators keep every FMA unit busy: at least latency × units, which is 10 on all cores so far.
const chains = 12

// peak writes a loop of nothing but independent FMAs.
func peak(t isa) {
	name := "loop" + t.name
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(fmt.Sprintf("%s runs n turns of %d independent FMAs of %d lanes.", name, chains, t.lanes))
	n := Load(Param("n"), GP64())
	x, y := t.reg(), t.reg()
	t.zero(x)
	t.zero(y)
	acc := make([]VecVirtual, chains)
	for i := range acc {
		acc[i] = t.reg()
		t.zero(acc[i])
	}
	Label("turn")
	for i := range acc {
		VFMADD231PS(x, y, acc[i])
	}
	DECQ(n)
	JNZ(LabelRef("turn"))
	VZEROUPPER()
	RET()
}
