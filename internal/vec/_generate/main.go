// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the kernels of package vec. It is a module of its own so that the library does not depend on the generator.
//
// Every kernel exists for two tiers that differ in the width of a register only: they do the same operations on an element, and a sum is
// one of the same partial sums, so that results are equal to the bit. The last elements of a slice go through the same code as the others,
// with loads and stores masked. Labels are words: one named g would be taken for the goroutine register, and jumping to it crashes.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"
)

// isa is one tier.
type isa struct {
	name  string
	bytes int // of a register
	reg   func() VecVirtual
	half  func() VecVirtual // register of half the width
	wide  bool              // has opmasks and 32 registers
}

var (
	avx2   = &isa{name: "AVX2", bytes: 32, reg: YMM, half: XMM}
	avx512 = &isa{name: "AVX512", bytes: 64, reg: ZMM, half: YMM, wide: true}
)

func main() {
	ConstraintExpr("!noasm")
	defineConstants()
	for _, t := range []*isa{avx2, avx512} {
		siluMul(t)
		add(t)
		sumSquares(t)
		scaleMul(t)
		rotateInterleaved(t)
		rotateHalfSplit(t)
	}
	Generate()
}

// begin starts a function. Its assembly names end with the tier.
func begin(t *isa, name, signature, doc string) {
	TEXT(name+t.name, NOSPLIT, signature)
	Doc(name + t.name + " " + doc)
	Pragma("noescape")
}

// finish ends a function. Without VZEROUPPER, SSE code that follows would run slowly.
func finish() {
	VZEROUPPER()
	RET()
}

// pointer loads a parameter: a pointer or a count.
func pointer(param string) GPVirtual {
	r := GP64()
	Load(Param(param), r)
	return r
}

// lanes is the number of float32 in a register.
func (t *isa) lanes() int { return t.bytes / 4 }

// broadcast returns a float32 parameter in every lane of a register.
func (t *isa) broadcast(param string) VecVirtual {
	m, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	r := t.reg()
	VBROADCASTSS(m.Addr, r)
	return r
}

func (t *isa) zero() VecVirtual {
	r := t.reg()
	if t.wide {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}
