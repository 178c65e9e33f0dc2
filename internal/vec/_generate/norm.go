// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// chains is the number of sums that sumSquares keeps: element i belongs to chain i mod chains.
const chains = 32

// sumSquares takes blocks of one element for each chain, and the rest masked. Squares of float32 are exact in float64, so that a fused
// addition is the same as a separate one.
func sumSquares(t *isa) {
	begin(t, "sumSquares", "func(x *float32, n int) float64", "returns the sum of the squares of 32 chains.")
	x, n := pointer("x"), pointer("n")
	lanes := t.bytes / 8
	acc := make([]VecVirtual, chains/lanes)
	for i := range acc {
		acc[i] = t.zero()
	}
	take := func(i int, k *mask) {
		v := t.double(Mem{Base: x, Disp: 4 * i * lanes}, k)
		VFMADD231PD(v, v, acc[i])
	}
	Label("block")
	CMPQ(n, U32(chains))
	JL(LabelRef("tail"))
	for i := range acc {
		take(i, nil)
	}
	ADDQ(U32(4*chains), x)
	SUBQ(U32(chains), n)
	JMP(LabelRef("block"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("sum"))
	k := t.tailMasks(n, lanes, t.half, K1, K2, K3, K4)
	for i := range acc {
		take(i, k(i))
	}
	Label("sum")
	Store(t.total(acc), ReturnIndex(0))
	finish()
}

// total adds four registers of 512 bits, or their halves in eight of 256, in pairs, (0+1)+(2+3), and then the upper half of what is left to
// the lower until it is one number.
func (t *isa) total(acc []VecVirtual) Register {
	if t.wide {
		VADDPD(acc[1], acc[0], acc[0])
		VADDPD(acc[3], acc[2], acc[2])
		VADDPD(acc[2], acc[0], acc[0])
		high := YMM()
		VEXTRACTF64X4(Imm(1), acc[0], high)
		low := acc[0].AsY()
		VADDPD(high, low, low)
	} else {
		for i := range 2 {
			VADDPD(acc[2+i], acc[i], acc[i])
			VADDPD(acc[6+i], acc[4+i], acc[4+i])
			VADDPD(acc[4+i], acc[i], acc[i])
		}
		VADDPD(acc[1], acc[0], acc[0])
	}
	low, high := acc[0].AsX(), XMM()
	VEXTRACTF128(Imm(1), acc[0].AsY(), high)
	VADDPD(high, low, low)
	VUNPCKHPD(low, low, high)
	VADDSD(high, low, low)
	return low
}

// double loads float32 values as float64.
func (t *isa) double(m Mem, k *mask) VecVirtual {
	r := t.reg()
	switch {
	case k == nil:
		VCVTPS2PD(m, r)
	case t.wide:
		VCVTPS2PD_Z(m, k.k, r)
	default:
		VCVTPS2PD(t.loadFrom(m, k, t.half), r)
	}
	return r
}

func scaleMul(t *isa) {
	begin(t, "scaleMul", "func(dst, x, w *float32, scale float64, n int)", "writes x·scale·w, multiplied in float64, to dst.")
	dst, x, w, n := pointer("dst"), pointer("x"), pointer("w"), pointer("n")
	scale := t.reg()
	m, err := Param("scale").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSD(m.Addr, scale)
	t.each(n, []GPVirtual{dst, x, w}, t.bytes/8, 4, t.half, func(at int, k *mask) {
		v, u := t.double(Mem{Base: x, Disp: at}, k), t.double(Mem{Base: w, Disp: at}, k)
		VMULPD(scale, v, v)
		VMULPD(u, v, v)
		r := t.half()
		if t.wide {
			VCVTPD2PS(v, r)
		} else {
			VCVTPD2PSY(v, r)
		}
		t.storeTo(r, Mem{Base: dst, Disp: at}, k)
	})
	finish()
}
