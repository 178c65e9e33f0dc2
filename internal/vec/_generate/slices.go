// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// mask says which of a register's lanes hold elements: by an opmask register or by the sign of its own lanes.
type mask struct {
	k Register
	v VecVirtual
}

// tailMasks returns the masks for n elements spread over registers of lanes lanes of 32 bits each, one for each of ks. n is less than what
// they hold together. An AVX2 mask is loaded when it is asked for: registers are few.
func (t *isa) tailMasks(n GPVirtual, lanes int, reg func() VecVirtual, ks ...Register) func(i int) *mask {
	if t.wide {
		MOVQ(n, RCX)
		bits := GP64()
		MOVQ(I32(1), bits)
		SHLQ(CL, bits)
		DECQ(bits)
		for i, k := range ks {
			if i > 0 {
				SHRQ(Imm(uint64(lanes)), bits)
			}
			KMOVW(bits.As32(), k)
		}
		return func(i int) *mask { return &mask{k: ks[i]} }
	}
	at, back := GP64(), GP64()
	LEAQ(maskTable.Offset(4*tailLanes), at)
	MOVQ(n, back)
	SHLQ(Imm(2), back)
	SUBQ(back, at)
	return func(i int) *mask {
		v := reg()
		VMOVUPS(Mem{Base: at, Disp: 4 * i * lanes}, v)
		return &mask{v: v}
	}
}

// loadFrom loads m, or the elements of it that a mask leaves, with zeros in the other lanes.
func (t *isa) loadFrom(m Op, k *mask, reg func() VecVirtual) VecVirtual {
	r := reg()
	switch {
	case k == nil:
		VMOVUPS(m, r)
	case t.wide:
		VMOVUPS_Z(m, k.k, r)
	default:
		VMASKMOVPS(m, k.v, r)
	}
	return r
}

func (t *isa) storeTo(r VecVirtual, m Op, k *mask) {
	switch {
	case k == nil:
		VMOVUPS(r, m)
	case t.wide:
		VMOVUPS(r, k.k, m)
	default:
		VMASKMOVPS(r, k.v, m)
	}
}

// each walks slices of n elements, with a pointer to each: unroll registers of lanes elements a turn, then one, then the rest masked. The
// body gets the byte offset of its elements.
func (t *isa) each(n GPVirtual, pointers []GPVirtual, lanes, unroll int, reg func() VecVirtual, body func(at int, k *mask)) {
	advance := func(by int) {
		for _, p := range pointers {
			ADDQ(U32(4*by), p)
		}
		SUBQ(U32(by), n)
	}
	Label("block")
	CMPQ(n, U32(lanes*unroll))
	JL(LabelRef("single"))
	for i := range unroll {
		body(4*i*lanes, nil)
	}
	advance(lanes * unroll)
	JMP(LabelRef("block"))
	Label("single")
	CMPQ(n, U32(lanes))
	JL(LabelRef("tail"))
	body(0, nil)
	advance(lanes)
	JMP(LabelRef("single"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	body(0, t.tailMasks(n, lanes, reg, K1)(0))
	Label("done")
}
