// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// exponential emits e^x for x in registers. Its constants are loaded when it is made, before any loop.
type exponential struct {
	t                *isa
	low, high, log2e VecVirtual
	c                map[string]Op
}

func newExponential(t *isa) *exponential {
	e := &exponential{t: t, low: t.load("expMin"), high: t.load("expMax"), log2e: t.load("log2e"), c: map[string]Op{}}
	for _, name := range []string{"round", "ln2High", "ln2Low", "c2", "c3", "c4", "c5", "c6", "one"} {
		e.c[name] = t.constant(name)
	}
	if !t.wide {
		e.c["halves"] = t.constant("halves")
	}
	return e
}

// of returns e^x and leaves x undefined: x = n·ln 2 + r with |r| ≤ ln 2 / 2 (the subtraction of the first half of ln 2 is exact), e^r by a
// polynomial whose relative error is 2⁻²⁸ before rounding, and a scaling by 2ⁿ that rounds once, where the result is denormal. Below expMin the
// result is set to 0 before it is scaled: a scaling that underflows takes a hundred cycles.
//
// MAXPS and MINPS return their second source if one is NaN, so x must be that: Go's first operand.
func (e *exponential) of(x VecVirtual) VecVirtual {
	t := e.t
	shifted, n, q, square := t.reg(), t.reg(), t.reg(), t.reg()
	const notLess = 0x15 // or unordered: NaN stays NaN
	seen := t.reg()
	if t.wide {
		VCMPPS(Imm(notLess), e.low, x, K6)
	} else {
		VCMPPS(Imm(notLess), e.low, x, seen)
		VMAXPS(x, e.low, x)
	}
	VMINPS(x, e.high, x)
	VMOVAPS(x, shifted)
	VFMADD213PS(e.c["round"], e.log2e, shifted)
	VSUBPS(e.c["round"], shifted, n)
	VFNMADD231PS(e.c["ln2High"], n, x)
	VFNMADD231PS(e.c["ln2Low"], n, x)
	VMOVAPS(e.c["c6"], q)
	for _, c := range []string{"c5", "c4", "c3", "c2"} {
		VFMADD213PS(e.c[c], x, q)
	}
	VMULPS(x, x, square)
	VFMADD213PS(x, square, q)
	VADDPS(e.c["one"], q, q)
	if t.wide {
		VSCALEFPS_Z(n, q, K6, q)
		return q
	}
	VANDPS(seen, q, q)
	// 2ⁿ in two factors whose exponents fit: n + 254 is the sum of their biased exponents. The first product is exact.
	first := t.reg()
	VPSUBD(e.c["halves"], shifted, shifted)
	VPSRLD(Imm(1), shifted, first)
	VPSUBD(first, shifted, shifted)
	VPSLLD(Imm(23), first, first)
	VPSLLD(Imm(23), shifted, shifted)
	VMULPS(first, q, q)
	VMULPS(shifted, q, q)
	return q
}

// siluMul writes σ(x) as 1/(1+e) or e/(1+e) with e = e^−|x|, so that nothing overflows.
func siluMul(t *isa) {
	begin(t, "siluMul", "func(dst, gate, up *float32, n int)", "writes gate·σ(gate)·up to dst.")
	dst, gate, up, n := pointer("dst"), pointer("gate"), pointer("up"), pointer("n")
	e := newExponential(t)
	one, sign := t.load("one"), t.constant("sign")
	t.each(n, []GPVirtual{dst, gate, up}, t.lanes(), 2, t.reg, func(at int, k *mask) {
		x := t.loadFrom(Mem{Base: gate, Disp: at}, k, t.reg)
		minus, num := t.reg(), t.reg()
		VORPS(sign, x, minus)
		y := e.of(minus)
		if t.wide {
			VPMOVD2M(x, K5)
			VBLENDMPS(y, one, K5, num)
		} else {
			VBLENDVPS(x, y, one, num)
		}
		VMULPS(x, num, num)
		VADDPS(one, y, y)
		VDIVPS(y, num, num)
		VMULPS(t.loadFrom(Mem{Base: up, Disp: at}, k, t.reg), num, num)
		t.storeTo(num, Mem{Base: dst, Disp: at}, k)
	})
	finish()
}

func add(t *isa) {
	begin(t, "add", "func(dst, x *float32, n int)", "adds x to dst.")
	dst, x, n := pointer("dst"), pointer("x"), pointer("n")
	t.each(n, []GPVirtual{dst, x}, t.lanes(), 4, t.reg, func(at int, k *mask) {
		y := t.loadFrom(Mem{Base: dst, Disp: at}, k, t.reg)
		if k == nil {
			VADDPS(Mem{Base: x, Disp: at}, y, y)
		} else {
			VADDPS(t.loadFrom(Mem{Base: x, Disp: at}, k, t.reg), y, y)
		}
		t.storeTo(y, Mem{Base: dst, Disp: at}, k)
	})
	finish()
}
