// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the tile kernels of package attention. It is a module of its own so that the library does not depend on the
// generator.
//
// The constants here are repeated in the package, whose tests of the kernels fail where they differ. Labels are words: one named g would
// be taken for the goroutine register, and jumping to it crashes.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	panel       = 16                       // keys of a panel
	blockKeys   = 128                      // keys of a block
	scoreStride = 4 * (blockKeys + panel)  // bytes from one lane's scores to the next's
	laneStride  = 4 * (maxHeadDim + panel) // bytes from one lane's query or sums to the next's
	maxHeadDim  = 256

	// Offsets into panel state, see type lanes of the package.
	offMax, offBias, offRef, offAlpha, offTop, offSum = 0, 64, 128, 192, 256, 320
)

// isa is what differs between the two tiers.
type isa struct {
	name  string
	lanes int // float32 per register
	rows  int // tallest tile
	// tallest tile that widens keys and values as it reads them; taller ones use each often enough to have them widened before
	narrowRows int
	widest     []int // [rows+1] registers in a row of the widest tile for each height
	reg        func() VecVirtual
	zero       func(r VecVirtual)
}

var avx2 = isa{
	name: "AVX2", lanes: 8, rows: 6, narrowRows: 4,
	widest: []int{0, 8, 4, 2, 2, 2, 2},
	reg:    YMM,
	zero:   func(r VecVirtual) { VXORPS(r, r, r) },
}

var avx512 = isa{
	name: "AVX512", lanes: 16, rows: 14, narrowRows: 8,
	widest: []int{0, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2},
	reg:    ZMM,
	zero:   func(r VecVirtual) { VPXORD(r, r, r) },
}

func main() {
	ConstraintExpr("!noasm")
	for _, t := range []isa{avx2, avx512} {
		for h := 1; h <= t.rows; h++ {
			scores(t, h, nil)
			mix(t, h, nil)
		}
		for h := 1; h <= t.narrowRows; h++ {
			for _, f := range []*narrow{&half, &brain, &bytes} {
				scores(t, h, f)
				mix(t, h, f)
			}
		}
		softmax(t)
	}
	hide(avx512)
	hide(avx2)
	scale()
	finite()
	prefetch()
	widen("uint16", &half)
	widen("uint16", &brain)
	widen("int8", &bytes)
	multiply()
	normalize()
	Generate()
}

// narrow is a stored format other than float32: its size and how registers of numbers are widened.
type narrow struct {
	name string
	size int
	load func(m Mem, r VecVirtual)
}

var (
	half  = narrow{"F16", 2, func(m Mem, r VecVirtual) { VCVTPH2PS(m, r) }}
	brain = narrow{"BF16", 2, func(m Mem, r VecVirtual) {
		VPMOVZXWD(m, r)
		VPSLLD(Imm(16), r, r)
	}}
	bytes = narrow{"I8", 1, func(m Mem, r VecVirtual) { // without their scales, see kernels.multiply
		VPMOVSXBD(m, r)
		VCVTDQ2PS(r, r)
	}}
)

// begin starts a kernel, whose documentation has its name put before it.
func begin(name, signature string, doc ...string) {
	TEXT(name, NOSPLIT, signature)
	doc[0] = name + " " + doc[0]
	Doc(doc...)
	Pragma("noescape")
}

// finish ends a kernel that writes YMM or ZMM registers. Without VZEROUPPER, SSE code that follows would run slowly.
func finish() {
	VZEROUPPER()
	RET()
}

// argument loads a parameter.
func argument(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }

// splat fills a register.
func splat(t isa, bits uint32) VecVirtual {
	x, r, y := GP32(), XMM(), t.reg()
	MOVL(U32(bits), x)
	VMOVD(x, r)
	VPBROADCASTD(r, y)
	return y
}
