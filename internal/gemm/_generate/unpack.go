// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// constants are the operands in memory that unpacking needs.
type constants struct {
	table, tableOffset Mem    // the numbers 0…15 and −8…7 as float32
	low, eight         Mem    // in every byte: the mask of the low 4-bit field, and 8
	toTop              [4]Mem // shuffles that move a byte of each lane to its top and clear the others
	topScale, sign     Mem    // 2⁻²⁴, and the sign bit
}

func constant(name string, value func(i int) Constant) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, value(i))
	}
	return m
}

func newConstants() constants {
	same := func(v Constant) func(int) Constant { return func(int) Constant { return v } }
	c := constants{
		table:       constant("numbers", func(i int) Constant { return F32(float32(i)) }),
		tableOffset: constant("numbersLess8", func(i int) Constant { return F32(float32(i - 8)) }),
		low:         constant("lowFields", same(U32(0x0f0f0f0f))),
		eight:       constant("eights", same(U32(0x08080808))),
		topScale:    constant("topScale", same(F32(0x1p-24))),
		sign:        constant("signs", same(U32(0x80000000))),
	}
	for i := range c.toTop {
		c.toTop[i] = constant(fmt.Sprintf("toTop%d", i), func(lane int) Constant { // a shuffle stays within 16 bytes
			return U32(uint32(4*(lane%4)+i)<<24 | 0x808080)
		})
	}
	return c
}

var consts constants

// turn is how many steps of k one turn of the innermost loop takes: the eight 4-bit fields of a lane.
const turn = 8

// unpacker walks along k over the packed form of some panels at once. A unit is one register of outputs: a panel with AVX-512, half of one
// with AVX2.
type unpacker struct {
	t       isa
	f       format
	units   int
	at      Register     // where the next quants of the first panel are; those of the others follow a block apart
	head    Register     // where the scales of a group of groups are
	skip    Register     // from the end of a block of the first panel to its next
	fetch   bool         // prefetch: the weights come from memory
	scale   []VecVirtual // per unit: the group's scale and minimum, where there are registers enough
	least   []VecVirtual
	frame   Mem // elsewhere they wait here
	table   VecVirtual
	abreast int                                  // units taken apart side by side, step by step
	use     func(unit, step int, w []VecVirtual) // those of unit and the ones after it
	advance func(steps int)
}

func (u *unpacker) perPanel() int { return panel / u.t.lanes }

// of returns the address of what unit has at byte disp of its panel, where each output takes size bytes.
func (u *unpacker) of(base Register, unit, disp, size int) Mem {
	return Mem{Base: base, Disp: unit/u.perPanel()*u.f.packed() + disp + unit%u.perPanel()*u.t.lanes*size}
}

// prefetch asks for the n bytes of the unit's panel that stand some blocks on. Each panel does it once.
func (u *unpacker) prefetch(unit, n int) {
	if u.fetch && unit%u.perPanel() == 0 {
		for i := 0; i < n; i += 64 {
			PREFETCHT0(u.of(u.at, unit, u.f.ahead()+i, 0))
		}
	}
}

// start loads the arguments that all kernels have.
func (u *unpacker) start() {
	u.at, u.skip = Load(Param("b"), GP64()), Load(Param("stride"), GP64())
	if u.f.bits != 16 { // walkHalves goes from step to step
		SUBQ(U32(u.f.packed()), u.skip)
	}
}

// walk writes the loops. use is called with every weight register, in the order of k for each unit; advance tells that the next steps count
// from 0 again.
func (u *unpacker) walk(k Register) {
	if u.f.bits == 16 {
		u.walkHalves(k)
		return
	}
	if u.f.bits == 4 && u.t.name == "AVX512" {
		u.table = u.t.reg()
		m := consts.table
		if u.f.offset != 0 {
			m = consts.tableOffset
		}
		VMOVUPS(m, u.table)
	}
	u.scale, u.least = make([]VecVirtual, u.units), make([]VecVirtual, u.units)
	if u.t.name == "AVX2" {
		u.frame = AllocLocal(2 * 32 * u.units)
	}
	for i := range u.units {
		u.scale[i], u.least[i] = u.t.reg(), u.t.reg()
	}
	blocks := GP64()
	MOVQ(k, blocks)
	steps := u.f.group * max(u.f.groups, 1)
	SHRQ(Imm(uint64(log2(steps))), blocks)

	quantBytes := u.f.group * panel * u.f.bits / 8
	turnBytes := turn * panel * u.f.bits / 8
	scales := 1
	if u.f.mins {
		scales = 2
	}
	groups, turns := GP64(), GP64()
	Label("block")
	if u.f.groups > 0 {
		u.head = GP64()
		MOVQ(u.at, u.head)
		ADDQ(U32(scales*2*panel), u.at)
		MOVQ(U32(u.f.groups), groups)
		Label("group")
	}
	for i := range u.units {
		u.loadScale(i, 0, quantBytes, u.scale)
		if u.f.mins {
			u.loadScale(i, 1, quantBytes, u.least)
		}
	}
	MOVQ(U32(u.f.group/turn), turns)
	Label("turn")
	for i := 0; i < u.units; i += u.abreast {
		for j := range u.abreast {
			u.prefetch(i+j, turnBytes)
		}
		switch {
		case u.f.bits == 8:
			u.bytes(i)
		case u.t.name == "AVX512":
			u.fields(i)
		default:
			u.fieldsAVX2(i)
		}
	}
	u.advance(turn)
	ADDQ(U32(turnBytes), u.at)
	DECQ(turns)
	JNZ(LabelRef("turn"))
	scaleBytes := scales * 2 * panel
	if u.f.groups > 0 {
		scaleBytes = scales * panel
	}
	ADDQ(U32(scaleBytes), u.at)
	if u.f.groups > 0 {
		DECQ(groups)
		JNZ(LabelRef("group"))
	}
	ADDQ(u.skip, u.at)
	DECQ(blocks)
	JNZ(LabelRef("block"))
}

// loadScale makes a unit's scale (which = 0) or minimum (1) of the group that starts here.
func (u *unpacker) loadScale(unit, which, quantBytes int, regs []VecVirtual) {
	d := regs[unit]
	if u.t.name == "AVX2" {
		d = u.t.reg()
	}
	if u.f.groups == 0 {
		VCVTPH2PS(u.of(u.at, unit, quantBytes+which*2*panel, 2), d)
	} else {
		// The product is exact: 11 bits times at most 8.
		s := u.t.reg()
		VCVTPH2PS(u.of(u.head, unit, which*2*panel, 2), d)
		if m := u.of(u.at, unit, quantBytes+which*panel, 1); u.f.bits == 8 {
			VPMOVSXBD(m, s)
		} else {
			VPMOVZXBD(m, s)
		}
		VCVTDQ2PS(s, s)
		VMULPS(s, d, d)
		if which == 1 && u.f.minus {
			if u.t.name == "AVX2" {
				VXORPS(consts.sign, d, d)
			} else {
				VPXORD(consts.sign, d, d)
			}
		}
	}
	if u.t.name == "AVX2" {
		if u.f.bits == 4 && which == 0 {
			VMULPS(consts.topScale, d, d)
		}
		VMOVUPS(d, u.saved(unit, which))
	}
}

func (u *unpacker) saved(unit, which int) Mem { return u.frame.Offset(32 * (2*unit + which)) }

// scales returns the registers of a unit's scale and minimum.
func (u *unpacker) scales(unit int) (scale, least VecVirtual) {
	if u.t.name == "AVX512" {
		return u.scale[unit], u.least[unit]
	}
	scale = u.t.reg()
	VMOVUPS(u.saved(unit, 0), scale)
	if u.f.mins {
		least = u.t.reg()
		VMOVUPS(u.saved(unit, 1), least)
	}
	return scale, least
}

// fields takes eight steps of 4-bit quants apart, one from each field of the 32-bit lanes. Scale times quant is exact (at most 17 and 4
// bits), so that a fused multiply-add rounds as the product and sum of the definition do.
func (u *unpacker) fields(unit int) {
	x := make([]VecVirtual, u.abreast)
	for i := range x {
		x[i] = u.t.reg()
		VMOVDQU32(u.of(u.at, unit+i, 0, 4), x[i])
	}
	for j := range turn {
		w := make([]VecVirtual, u.abreast)
		for i := range w {
			field := x[i]
			if w[i] = u.t.reg(); j > 0 {
				field = u.t.reg()
				VPSRLD(Imm(uint64(4*j)), x[i], field)
			}
			VPERMPS(u.table, field, w[i]) // looks at the low four bits of a lane
			u.scaled(w[i], u.scale[unit+i], u.least[unit+i])
		}
		u.use(unit, j, w)
	}
}

// fieldsAVX2 is fields with half as many registers, unit by unit. The fields of each byte come apart first, then every byte moves to the top
// of its lane: 2²⁴ times too large, as the scale is too small. Moves go to the one port that multiply-adds do not need.
func (u *unpacker) fieldsAVX2(unit int) {
	scale, least := u.scales(unit)
	x, high := u.t.reg(), u.t.reg()
	VMOVDQU(u.of(u.at, unit, 0, 4), x)
	VPSRLD(Imm(4), x, high)
	VPAND(consts.low, x, x)
	VPAND(consts.low, high, high)
	if u.f.offset != 0 {
		VPSUBB(consts.eight, x, x)
		VPSUBB(consts.eight, high, high)
	}
	for j := range turn {
		w, from := u.t.reg(), x
		if j%2 == 1 {
			from = high
		}
		VPSHUFB(consts.toTop[j/2], from, w)
		VCVTDQ2PS(w, w)
		u.scaled(w, scale, least)
		u.use(unit, j, []VecVirtual{w})
	}
}

// bytes takes eight steps of 8-bit quants.
func (u *unpacker) bytes(unit int) {
	scale, least := make([]VecVirtual, u.abreast), make([]VecVirtual, u.abreast)
	for i := range scale {
		scale[i], least[i] = u.scales(unit + i)
	}
	for j := range turn {
		w := make([]VecVirtual, u.abreast)
		for i := range w {
			w[i] = u.t.reg()
			VPMOVSXBD(u.of(u.at, unit+i, j*panel, 1), w[i])
			VCVTDQ2PS(w[i], w[i])
			u.scaled(w[i], scale[i], least[i])
		}
		u.use(unit, j, w)
	}
}

func (u *unpacker) scaled(w, scale, least VecVirtual) {
	if u.f.mins {
		VFMADD213PS(least, scale, w)
	} else {
		VMULPS(scale, w, w)
	}
}

// walkHalves is walk for F16 and BF16, any number of steps.
func (u *unpacker) walkHalves(k Register) {
	const unroll = 4
	step := func(j int) {
		for i := range u.units {
			w := u.t.reg()
			if i == 0 { // the step's quants of all panels stand together
				u.prefetch(i, u.units*2*u.t.lanes)
			}
			if m := u.of(u.at, i, 0, 2); u.f.name == "F16" {
				VCVTPH2PS(m, w)
			} else {
				VPMOVZXWD(m, w)
				VPSLLD(Imm(16), w, w)
			}
			u.use(i, j, []VecVirtual{w})
		}
		ADDQ(u.skip, u.at)
	}
	turns := GP64()
	MOVQ(k, turns)
	SHRQ(Imm(uint64(log2(unroll))), turns)
	JZ(LabelRef("rest"))
	Label("turn")
	for j := range unroll {
		step(j)
	}
	u.advance(unroll)
	DECQ(turns)
	JNZ(LabelRef("turn"))
	Label("rest")
	ANDQ(Imm(unroll-1), k)
	JZ(LabelRef("end"))
	Label("one")
	step(0)
	u.advance(1)
	DECQ(k)
	JNZ(LabelRef("one"))
	Label("end")
}
