// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// format is how a panel of quantised weights lies in memory (package gemm's Format says it in words).
type format struct {
	name   string
	bits   int  // of a quant: 4, 8, or 16 for half-precision numbers, which have no scales
	group  int  // steps of k that share a scale
	groups int  // groups that share a pair of half-precision scales; 0: every group has its own
	mins   bool // weights have a minimum beside the scale
	minus  bool // the minimum is subtracted
	offset int  // taken from the quant before it is scaled
}

var formats = []format{
	{name: "F16", bits: 16},
	{name: "BF16", bits: 16},
	{name: "Q8_0", bits: 8, group: 32},
	{name: "Q4_0", bits: 4, group: 32, offset: 8},
	{name: "Q4_1", bits: 4, group: 32, mins: true},
	{name: "Q4_K", bits: 4, group: 32, groups: 8, mins: true, minus: true},
	{name: "Q6_K", bits: 8, group: 16, groups: 16},
}

// directPanels is, for each height from 0, how many panels the widest kernel takes that multiplies so many rows by packed weights.
var directPanels = map[string][]int{
	"AVX2":   {0, 2, 2, 1, 1},
	"AVX512": {0, 4, 4, 4, 4, 2, 2, 2, 2},
}

// abreastRows is the number of rows from which two panels go side by side: a value of A is then read once for both, and twice as many sums
// do not wait for each other. With fewer rows the weights have to come from memory as fast as they can, which four panels one after the
// other let them do sooner.
const abreastRows = 5

// nextRows is the number of rows from which kernels have time to bring closer what is read after the product, nextBytes for every step of k.
const nextRows, nextBytes = 5, 16

// together is how many panels lie in one stream: block by block, one panel after the other.
const together = 4

// packed returns the bytes of a block of one panel.
func (f format) packed() int {
	if f.bits == 16 {
		return 2 * panel
	}
	scales := 1
	if f.mins {
		scales = 2
	}
	if f.groups == 0 {
		return f.group*panel*f.bits/8 + scales*2*panel
	}
	return scales*2*panel + f.groups*(f.group*panel*f.bits/8+scales*panel)
}

// ahead returns how far direct kernels prefetch: some whole blocks, since the panels between are another kernel's if it takes fewer than
// stand together.
func (f format) ahead() int {
	const least = 8192
	n := together * f.packed()
	return (least + n - 1) / n * n
}

// quants writes the kernels of one tier.
func quants(t isa) {
	for _, f := range formats {
		expand(t, f)
		for h, most := range directPanels[t.name] {
			for w := 1; w <= most; w *= 2 {
				direct(t, f, h, w)
			}
		}
	}
}

// expand writes the kernel that makes a float32 panel of a packed one.
func expand(t isa, f format) {
	name := fmt.Sprintf("expand%s%s", f.name, t.name)
	TEXT(name, NOSPLIT, "func(dst *float32, b *byte, stride, k int)")
	Doc(fmt.Sprintf("%s expands a panel of %s, its blocks stride bytes apart, to [k][16]float32.", name, f.name))
	Pragma("noescape")
	dst, k := Load(Param("dst"), GP64()), Load(Param("k"), GP64())
	u := &unpacker{t: t, f: f, units: panel / t.lanes, abreast: 1, fetch: true}
	u.start()
	u.use = func(unit, step int, w []VecVirtual) {
		VMOVUPS(w[0], Mem{Base: dst, Disp: 4 * (step*panel + unit*t.lanes)})
	}
	u.advance = func(steps int) { ADDQ(U32(4*steps*panel), dst) }
	u.walk(k)
	VZEROUPPER()
	RET()
}

// direct writes the kernel that multiplies h rows by w panels in their packed form. As in tile, every element of C is one chain.
func direct(t isa, f format, h, w int) {
	name := fmt.Sprintf("direct%dx%d%s%s", h, w*panel, f.name, t.name)
	TEXT(name, NOSPLIT, "func(c *float32, ldc int, a *float32, b *byte, stride, k int, next *byte)")
	Doc(fmt.Sprintf("%s computes a tile of %d rows and %d panels of %s, the blocks of each stride bytes apart.", name, h, w, f.name))
	if h >= nextRows {
		Doc(fmt.Sprintf("Meanwhile it brings the %d·k bytes from next on closer.", nextBytes))
	}
	Pragma("noescape")
	a, k := Load(Param("a"), GP64()), Load(Param("k"), GP64())
	var next Register
	if h >= nextRows {
		next = Load(Param("next"), GP64())
	}
	u := &unpacker{t: t, f: f, units: w * panel / t.lanes, abreast: 1, fetch: true}
	if t.name == "AVX512" && h >= abreastRows && w > 1 {
		u.abreast = 2
	}
	u.start()
	acc := make([][]VecVirtual, h)
	for i := range acc {
		acc[i] = make([]VecVirtual, u.units)
		for j := range acc[i] {
			acc[i][j] = t.reg()
			t.zero(acc[i][j])
		}
	}
	u.use = func(unit, step int, w []VecVirtual) {
		for i := range h {
			x := Mem{Base: a, Disp: 4 * (step*h + i)}
			if t.name == "AVX512" && len(w) == 1 {
				VFMADD231PS_BCST(x, w[0], acc[i][unit])
				continue
			}
			v := t.reg()
			VBROADCASTSS(x, v)
			for j := range w {
				VFMADD231PS(v, w[j], acc[i][unit+j])
			}
		}
	}
	u.advance = func(steps int) {
		ADDQ(U32(4*steps*h), a)
		if next != nil {
			for i := 0; i < steps*nextBytes; i += 64 {
				PREFETCHT1(Mem{Base: next, Disp: i})
			}
			ADDQ(U32(steps*nextBytes), next)
		}
	}
	u.walk(k)
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	for i := range h {
		for j := range acc[i] {
			VMOVUPS(acc[i][j], Mem{Base: c, Disp: 4 * j * t.lanes})
		}
		if i+1 < h {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}
