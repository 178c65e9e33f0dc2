// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the loops of package readpeak.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A turn of a loop loads this many bytes from each of the streams.
const (
	streams = 4
	turn    = 128
)

func main() {
	ConstraintExpr("!noasm")
	read("AVX2", 32, YMM)
	read("AVX512", 64, ZMM)
	Generate()
}

// read loads streams·n bytes into registers and leaves them there.
func read(name string, size int, reg func() VecVirtual) {
	TEXT("read"+name, NOSPLIT, "func(p *byte, n int)")
	Doc(fmt.Sprintf("read%s loads n bytes, a multiple of %d, from p and from p+n, p+2n and p+3n.", name, turn))
	n := Load(Param("n"), GP64())
	p := make([]Register, streams)
	for s := range p {
		r := GP64()
		if s == 0 {
			Load(Param("p"), r)
		} else {
			MOVQ(p[s-1], r)
			ADDQ(n, r)
		}
		p[s] = r
	}
	at := GP64()
	XORQ(at, at)
	Label("loop")
	CMPQ(at, n)
	JGE(LabelRef("done"))
	for s := range p {
		for off := 0; off < turn; off += size {
			VMOVUPS(Mem{Base: p[s], Index: at, Scale: 1, Disp: off}, reg())
		}
	}
	ADDQ(Imm(turn), at)
	JMP(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}
