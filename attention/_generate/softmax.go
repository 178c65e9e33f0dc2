// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// exp2 is the vector routine 2ˣ for x ≤ 1 or so: x = n + f with n the nearest integer, a polynomial for 2ᶠ, and n added to the exponent.
// Below −125 it is 0. NaN gives NaN.
type exp2 struct {
	t               isa
	round, cut, one Op
	c               [5]Op
}

// The coefficients of exp2Portable, of f¹ to f⁵.
var coefficients = [5]uint32{0x3f317215, 0x3e75fcde, 0x3d635baa, 0x3c1e755c, 0x3aaddd26}

func newExp2(t isa) *exp2 {
	e := &exp2{t: t}
	constant := func(bits uint32) Op {
		if t.lanes == 8 { // too few registers: operands from memory
			m := GLOBL(fmt.Sprintf("exp2_%08x", bits), RODATA|NOPTR)
			for i := range t.lanes {
				DATA(4*i, U32(bits))
			}
			return m
		}
		return splat(t, bits)
	}
	e.round, e.cut, e.one = constant(0x4b400000), constant(0xc2fa0000), constant(0x3f800000)
	for i, c := range coefficients {
		e.c[i] = constant(c)
	}
	return e
}

// eval replaces x by 2ˣ.
func (e *exp2) eval(x VecVirtual) {
	n, f, p := e.t.reg(), e.t.reg(), e.t.reg()
	VADDPS(e.round, x, n)
	power := n
	if e.t.lanes == 8 {
		power = e.t.reg()
		VPSLLD(Imm(23), n, power)
	}
	VSUBPS(e.round, n, n)
	VSUBPS(n, x, f)
	VMOVAPS(e.c[4], p)
	for i := 3; i >= 0; i-- {
		VFMADD213PS(e.c[i], f, p)
	}
	VFMADD213PS(e.one, f, p)
	if e.t.lanes == 16 {
		k := K()
		VCMPPS(Imm(notLess), e.cut, x, k)
		VSCALEFPS_Z(n, p, k, x)
		return
	}
	VCMPPS(Imm(notLess), e.cut, x, n)
	VPADDD(e.one, power, power) // 2ⁿ
	VMULPS(power, p, p)
	VANDPS(n, p, x)
}

const (
	notLess  = 0x15 // quiet, true for NaN
	notEqual = 0x04
)

// softmax writes the kernel that turns scores into weights.
func softmax(t isa) {
	e := &exp2{}
	if t.lanes == 8 {
		e = newExp2(t) // data comes before the function
	}
	begin("softmax"+t.name, "func(s, st *float32, h, panels int)",
		"turns the scores of h ≥ 1 lanes and panels ≥ 1 panels into weights, see softmaxPortable.")
	s0, st := argument("s"), argument("st")
	h, panels := argument("h"), argument("panels")
	if t.lanes == 16 {
		e = newExp2(t)
	}
	lowest, highest := splat(t, 0xff800000), t.reg()
	VPSLLD(Imm(1), lowest, highest)
	VPSRLD(Imm(1), highest, highest) // +Inf
	width := 4 * t.lanes
	per := panel / t.lanes

	Comment("The largest score of each lane; NaN is passed over.")
	s, at, lane := GP64(), GP64(), GP64()
	MOVQ(s0, s)
	MOVQ(st, at)
	MOVQ(h, lane)
	Label("top")
	p, left := GP64(), GP64()
	MOVQ(s, p)
	MOVQ(panels, left)
	v := make([]VecVirtual, per)
	for i := range v {
		v[i] = t.reg()
		VMOVAPS(lowest, v[i])
	}
	Label("topPanel")
	for i := range v {
		x := t.reg()
		VMOVUPS(Mem{Base: p, Disp: i * width}, x)
		VMAXPS(v[i], x, v[i])
	}
	ADDQ(Imm(4*panel), p)
	DECQ(left)
	JNZ(LabelRef("topPanel"))
	y := YMM()
	if t.lanes == 16 {
		VEXTRACTF32X8(Imm(1), v[0], y)
		VMAXPS(y, v[0].(Vec).AsY(), y)
	} else {
		VMAXPS(v[1], v[0], y)
	}
	x, z := XMM(), XMM()
	VEXTRACTF128(Imm(1), y, x)
	VMAXPS(x, y.AsX(), x)
	VPERMILPS(Imm(0x4e), x, z)
	VMAXPS(z, x, x)
	VPERMILPS(Imm(0xb1), x, z)
	VMAXPS(z, x, x)
	VMOVSS(x, Mem{Base: at, Disp: offTop})
	ADDQ(Imm(4), at)
	ADDQ(U32(scoreStride), s)
	DECQ(lane)
	JNZ(LabelRef("top"))

	Comment("The new maximum of all lanes, what to scale earlier sums by, and what to subtract from scores.")
	old, bias, top, ref, alpha := t.reg(), t.reg(), t.reg(), t.reg(), t.reg()
	VMOVUPS(Mem{Base: st, Disp: offMax}, old)
	VMOVUPS(Mem{Base: st, Disp: offBias}, bias)
	VADDPS(Mem{Base: st, Disp: offTop}, bias, top)
	VMAXPS(old, top, top)
	if t.lanes == 16 {
		k := K()
		VCMPPS(Imm(notEqual), lowest, top, k)
		VSUBPS_Z(top, old, k, alpha)
		VMOVAPS(highest, ref)
		VSUBPS(bias, top, k, ref)
	} else {
		m, r := t.reg(), t.reg()
		VCMPPS(Imm(notEqual), lowest, top, m)
		VSUBPS(top, old, alpha)
		VANDPS(m, alpha, alpha)
		VSUBPS(bias, top, r)
		VBLENDVPS(m, r, highest, ref)
	}
	e.eval(alpha)
	VMOVUPS(top, Mem{Base: st, Disp: offMax})
	VMOVUPS(alpha, Mem{Base: st, Disp: offAlpha})
	VMOVUPS(ref, Mem{Base: st, Disp: offRef})

	Comment("The weights and their sums.")
	sums := GP64()
	LEAQ(Mem{Base: st, Disp: offSum}, sums)
	Label("lane")
	VBROADCASTSS(Mem{Base: st, Disp: offRef}, ref)
	VBROADCASTSS(Mem{Base: st, Disp: offAlpha}, alpha)
	total := make([]VecVirtual, per)
	for i := range total {
		total[i] = t.reg()
		VMULPS(Mem{Base: sums, Disp: i * width}, alpha, total[i])
	}
	MOVQ(s0, p)
	MOVQ(panels, left)
	Label("panel")
	for i := range total {
		x := t.reg()
		VMOVUPS(Mem{Base: p, Disp: i * width}, x)
		VSUBPS(ref, x, x)
		e.eval(x)
		VMOVUPS(x, Mem{Base: p, Disp: i * width})
		VADDPS(x, total[i], total[i])
	}
	ADDQ(Imm(4*panel), p)
	DECQ(left)
	JNZ(LabelRef("panel"))
	for i := range total {
		VMOVUPS(total[i], Mem{Base: sums, Disp: i * width})
	}
	ADDQ(Imm(4), st)
	ADDQ(Imm(4*panel), sums)
	ADDQ(U32(scoreStride), s0)
	DECQ(h)
	JNZ(LabelRef("lane"))
	finish()
}
