// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// chains is how many independent accumulators keep every FMA unit busy: at least latency × units, which is 10 on all cores so far.
const chains = 12

// peak writes a loop of nothing but independent FMAs.
func peak(t isa) {
	name := "loop" + t.name
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(fmt.Sprintf("%s runs n turns of %d independent FMAs of %d lanes.", name, chains, t.lanes))
	n := Load(Param("n"), GP64())
	x, y := t.reg(), t.reg()
	t.zero(x)
	t.zero(y)
	acc := make([]VecVirtual, chains)
	for i := range acc {
		acc[i] = t.reg()
		t.zero(acc[i])
	}
	Label("turn")
	for i := range acc {
		VFMADD231PS(x, y, acc[i])
	}
	DECQ(n)
	JNZ(LabelRef("turn"))
	VZEROUPPER()
	RET()
}
