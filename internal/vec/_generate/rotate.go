// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// rotation is what both pairings share: row after row, pairs are walked a register at a time, and for each register of cosines and sines all
// heads.
type rotation struct {
	t                           *isa
	row                         Mem // of dst, x and the table: 8 bytes each, then the rows left
	dst, x, cos, sin, pairs     GPVirtual
	heads, stride, dim, ahead   GPVirtual // the last three in bytes
	cosFactor, sinFactor, scale VecVirtual
	headDst, headX, head        GPVirtual
}

const rotateSignature = "func(dst, x, table *float32, pairs, rows, heads, nextRow, stride, dim, nextPosition int, cosFactor, sinFactor, scale float32)"

// rowsAhead is how many rows ahead of its work a rotation asks for memory: heads of one row are too short for the hardware to notice.
const rowsAhead = 6

func newRotation(t *isa) *rotation {
	r := &rotation{
		t: t, row: AllocLocal(32),
		dst: GP64(), x: GP64(), cos: GP64(), sin: GP64(), pairs: GP64(),
		heads: pointer("heads"), stride: pointer("stride"), dim: pointer("dim"), ahead: pointer("nextRow"),
		cosFactor: t.broadcast("cosFactor"), sinFactor: t.broadcast("sinFactor"), scale: t.broadcast("scale"),
		headDst: GP64(), headX: GP64(), head: GP64(),
	}
	SHLQ(Imm(2), r.stride)
	SHLQ(Imm(2), r.dim)
	IMUL3Q(U32(4*rowsAhead), r.ahead, r.ahead)
	for i, name := range []string{"dst", "x", "table", "rows"} {
		MOVQ(pointer(name), r.row.Offset(8*i))
	}
	return r
}

// walk emits the loops over rows and over steps of so many pairs, which move on by so many elements of a head. table emits what a step does
// once and returns what emits its work on one head.
func (r *rotation) walk(pairs, elements int, table func(tail bool) (head func())) {
	loop := func(name string, tail bool) {
		head := table(tail)
		MOVQ(r.dst, r.headDst)
		MOVQ(r.x, r.headX)
		MOVQ(r.heads, r.head)
		Label(name)
		head()
		ADDQ(r.stride, r.headDst)
		ADDQ(r.dim, r.headX)
		DECQ(r.head)
		JNZ(LabelRef(name))
	}
	Label("row")
	for i, p := range []GPVirtual{r.dst, r.x, r.cos} {
		MOVQ(r.row.Offset(8*i), p)
	}
	Load(Param("pairs"), r.pairs)
	LEAQ(Mem{Base: r.cos, Index: r.pairs, Scale: 4}, r.sin)
	Label("block")
	CMPQ(r.pairs, U32(pairs))
	JL(LabelRef("tail"))
	loop("heads", false)
	ADDQ(U32(4*elements), r.dst)
	ADDQ(U32(4*elements), r.x)
	ADDQ(U32(4*pairs), r.cos)
	ADDQ(U32(4*pairs), r.sin)
	SUBQ(U32(pairs), r.pairs)
	JMP(LabelRef("block"))
	Label("tail")
	TESTQ(r.pairs, r.pairs)
	JZ(LabelRef("next"))
	loop("tailHeads", true)
	Label("next")
	step := GP64()
	MOVQ(r.heads, step)
	IMULQ(r.stride, step)
	ADDQ(step, r.row)
	for i, name := range []string{"nextRow", "nextPosition"} {
		Load(Param(name), step)
		SHLQ(Imm(2), step)
		ADDQ(step, r.row.Offset(8*(i+1)))
	}
	DECQ(r.row.Offset(24))
	JNZ(LabelRef("row"))
	finish()
}

// rotateInterleaved takes a register of elements, half as many pairs: x·cos + swapped x·sin, with the sines of even elements negated.
func rotateInterleaved(t *isa) {
	begin(t, "rotateInterleaved", rotateSignature, "turns pairs (2i, 2i+1) of every head.")
	r := newRotation(t)
	index, sign := t.reg(), t.reg()
	VMOVUPS(constants["pairIndex"], index)
	VMOVUPS(constants["evenSign"], sign)
	VXORPS(sign, r.sinFactor, r.sinFactor)
	r.walk(t.lanes()/2, t.lanes(), func(tail bool) func() {
		var k, kHalf *mask
		if tail {
			kHalf = t.tailMasks(r.pairs, t.lanes()/2, t.half, K1)(0)
			elements := GP64()
			LEAQ(Mem{Base: r.pairs, Index: r.pairs, Scale: 1}, elements)
			k = t.tailMasks(elements, t.lanes(), t.reg, K2)(0)
		}
		spread := func(p GPVirtual, factor VecVirtual) VecVirtual {
			narrow := t.loadFrom(Mem{Base: p}, kHalf, t.half)
			v := t.reg()
			if t.wide {
				VPERMPS(narrow.AsZ(), index, v)
			} else {
				VPERMPS(narrow.AsY(), index, v)
			}
			VMULPS(factor, v, v)
			return v
		}
		cos, sin := spread(r.cos, r.cosFactor), spread(r.sin, r.sinFactor)
		return func() {
			v := t.loadFrom(Mem{Base: r.headX}, k, t.reg)
			PREFETCHT0(Mem{Base: r.headX, Index: r.ahead, Scale: 1})
			swapped := t.reg()
			VPERMILPS(Imm(0xb1), v, swapped)
			VMULPS(cos, v, v)
			VMULPS(sin, swapped, swapped)
			VADDPS(swapped, v, v)
			VMULPS(r.scale, v, v)
			t.storeTo(v, Mem{Base: r.headDst}, k)
		}
	})
}

// rotateHalfSplit takes a register of each half.
func rotateHalfSplit(t *isa) {
	begin(t, "rotateHalfSplit", rotateSignature, "turns pairs (i, pairs+i) of every head.")
	r := newRotation(t)
	between, highAhead := pointer("pairs"), GP64()
	SHLQ(Imm(2), between)
	LEAQ(Mem{Base: between, Index: r.ahead, Scale: 1}, highAhead)
	r.walk(t.lanes(), t.lanes(), func(tail bool) func() {
		var k *mask
		if tail {
			k = t.tailMasks(r.pairs, t.lanes(), t.reg, K1)(0)
		}
		cos, sin := t.loadFrom(Mem{Base: r.cos}, k, t.reg), t.loadFrom(Mem{Base: r.sin}, k, t.reg)
		VMULPS(r.cosFactor, cos, cos)
		VMULPS(r.sinFactor, sin, sin)
		return func() {
			low, high := Mem{Base: r.headX}, Mem{Base: r.headX, Index: between, Scale: 1}
			a, b := t.loadFrom(low, k, t.reg), t.loadFrom(high, k, t.reg)
			PREFETCHT0(Mem{Base: r.headX, Index: r.ahead, Scale: 1})
			PREFETCHT0(Mem{Base: r.headX, Index: highAhead, Scale: 1})
			ac, bs := t.reg(), t.reg()
			VMULPS(cos, a, ac)
			VMULPS(sin, b, bs)
			VSUBPS(bs, ac, ac)
			VMULPS(sin, a, a)
			VMULPS(cos, b, b)
			VADDPS(b, a, a)
			VMULPS(r.scale, ac, ac)
			VMULPS(r.scale, a, a)
			low.Base, high.Base = r.headDst, r.headDst
			t.storeTo(ac, low, k)
			t.storeTo(a, high, k)
		}
	})
}
