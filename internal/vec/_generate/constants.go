// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var (
	constants = map[string]Mem{}
	maskTable Mem // tailLanes times −1 and then as many zeros
)

const tailLanes = 64

// expMin is the least float32 whose exponential is above 2⁻¹⁵⁰, half of the smallest denormal.
const expMin = -0x1.9fe368p+6

func defineConstants() {
	for _, c := range []struct {
		name string
		bits uint32
	}{
		{"expMin", math.Float32bits(expMin)},
		{"expMax", math.Float32bits(89)}, // above, e^x rounds to +Inf
		{"log2e", math.Float32bits(math.Log2E)},
		{"round", math.Float32bits(0x1.8p23)}, // adding it rounds to an integer, which then stands in the low bits
		{"halves", math.Float32bits(0x1.8p23) - 254},
		{"ln2High", math.Float32bits(0x1.62e43p-1)},
		{"ln2Low", math.Float32bits(-0x1.05c61p-29)},
		{"c2", math.Float32bits(0x1.fffffcp-2)},
		{"c3", math.Float32bits(0x1.555492p-3)},
		{"c4", math.Float32bits(0x1.5558bp-5)},
		{"c5", math.Float32bits(0x1.12398ep-7)},
		{"c6", math.Float32bits(0x1.6a4d6p-10)},
		{"one", math.Float32bits(1)},
		{"sign", 1 << 31},
	} {
		constants[c.name] = GLOBL(c.name, RODATA|NOPTR)
		for lane := range 8 {
			DATA(4*lane, U32(c.bits))
		}
	}
	maskTable = GLOBL("tailMask", RODATA|NOPTR)
	for lane := range 2 * tailLanes {
		v := ^uint32(0)
		if lane >= tailLanes {
			v = 0
		}
		DATA(4*lane, U32(v))
	}
	table("pairIndex", func(i int) uint32 { return uint32(i / 2) })
	table("evenSign", func(i int) uint32 { return uint32(1-i%2) << 31 })
}

// table defines 16 values.
func table(name string, f func(i int) uint32) {
	constants[name] = GLOBL(name, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(f(i)))
	}
}

// constant returns a constant as an operand: from memory if registers are few.
func (t *isa) constant(name string) Op {
	if t.wide {
		return t.load(name)
	}
	return constants[name]
}

// load returns a constant in a register, the same in every lane.
func (t *isa) load(name string) VecVirtual {
	r := t.reg()
	VBROADCASTSS(constants[name], r)
	return r
}
