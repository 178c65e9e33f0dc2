// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// hide writes the kernel that overwrites scores of hidden keys by −Inf.
func hide(t isa) {
	var laneBits Mem
	if t.lanes == 8 {
		laneBits = GLOBL("lanebits", RODATA|NOPTR)
		for i := range panel {
			DATA(4*i, U32(1<<i))
		}
	}
	begin("hide"+t.name, "func(s *float32, bits *uint16, next, h, panels int)",
		"sets s[i][p*16+j] to −Inf where bit p*16+j of lane i is 0; the bits of a lane start next bytes after those before.")
	s, bits, next, h, panels := argument("s"), argument("bits"), argument("next"), argument("h"), argument("panels")
	word, lowest := XMM(), splat(t, 0xff800000)
	p, i := GP64(), GP64()
	var overwrite func()
	if t.lanes == 16 {
		overwrite = func() {
			k, z := K(), ZMM()
			KMOVW(Mem{Base: bits, Index: i, Scale: 2}, k)
			VMOVAPS(lowest, z)
			VMOVUPS(Mem{Base: p}, k, z)
			VMOVUPS(z, Mem{Base: p})
		}
	} else {
		sel := [2]VecVirtual{YMM(), YMM()}
		VMOVDQU(laneBits, sel[0])
		VMOVDQU(laneBits.Offset(32), sel[1])
		overwrite = func() {
			w, b := GP32(), YMM()
			MOVWLZX(Mem{Base: bits, Index: i, Scale: 2}, w)
			VMOVD(w, word)
			VPBROADCASTD(word, b)
			for n := range sel {
				m, v := YMM(), YMM()
				VPAND(sel[n], b, m)
				VPCMPEQD(sel[n], m, m)
				VMOVUPS(Mem{Base: p, Disp: 32 * n}, v)
				VBLENDVPS(m, v, lowest, v)
				VMOVUPS(v, Mem{Base: p, Disp: 32 * n})
			}
		}
	}
	Label("lane")
	MOVQ(s, p)
	XORQ(i, i)
	Label("panel")
	overwrite()
	ADDQ(Imm(64), p)
	INCQ(i)
	CMPQ(i, panels)
	JLT(LabelRef("panel"))
	ADDQ(next, bits)
	ADDQ(U32(scoreStride), s)
	DECQ(h)
	JNZ(LabelRef("lane"))
	finish()
}

// eights repeats body for n float32, eight at a time, and moves the pointers along.
func eights(label string, n Register, body func(), pointers ...Register) {
	Label(label)
	body()
	for _, p := range pointers {
		ADDQ(Imm(32), p)
	}
	SUBQ(Imm(8), n)
	JNZ(LabelRef(label))
}

// scaled writes src·factor + 0 to dst: no result is −0.
func scaled(dst, src, n Register, factor, zero VecVirtual) {
	eights("loop", n, func() {
		y := YMM()
		VMULPS(Mem{Base: src}, factor, y)
		VADDPS(zero, y, y)
		VMOVUPS(y, Mem{Base: dst})
	}, src, dst)
}

// scale writes what scales queries that are not rotated.
func scale() {
	begin("scaleAVX2", "func(dst, src *float32, n int, factor float32)",
		"computes dst[i] = src[i]·factor + 0 for n elements, a multiple of 8: no result is −0.")
	dst, src, n := argument("dst"), argument("src"), argument("n")
	x, f, z := XMM(), YMM(), YMM()
	Load(Param("factor"), x)
	VBROADCASTSS(x, f)
	VXORPS(z, z, z)
	scaled(dst, src, n, f, z)
	finish()
}

// finite writes the test that lets hidden values be multiplied by 0.
func finite() {
	begin("finiteAVX2", "func(x *float32, n int) bool",
		"reports whether none of n elements, a multiple of 8, is NaN or infinite.")
	x, n := argument("x"), argument("n")
	z := YMM()
	VXORPS(z, z, z)
	var acc [4]VecVirtual
	for i := range acc {
		acc[i] = YMM()
		VXORPS(acc[i], acc[i], acc[i])
	}
	turns := GP64()
	MOVQ(n, turns)
	SHRQ(Imm(5), turns)
	JZ(LabelRef("rest"))
	Label("loop")
	for i, a := range acc { // x·0 is NaN if x is not finite
		VFMADD231PS(Mem{Base: x, Disp: 32 * i}, z, a)
	}
	ADDQ(U32(128), x)
	DECQ(turns)
	JNZ(LabelRef("loop"))
	Label("rest")
	ANDQ(Imm(31), n)
	JZ(LabelRef("done"))
	eights("one", n, func() { VFMADD231PS(Mem{Base: x}, z, acc[0]) }, x)
	Label("done")
	a := acc[0]
	for _, b := range acc[1:] {
		VADDPS(b, a, a)
	}
	m := GP32()
	VCMPPS(Imm(0x03), a, a, a) // NaN anywhere
	VMOVMSKPS(a, m)
	TESTL(m, m)
	r := GP8()
	SETEQ(r)
	Store(r, ReturnIndex(0))
	finish()
}

// prefetch writes what asks for outputs before they are written.
func prefetch() {
	begin("prefetchAVX2", "func(x *float32, n int)",
		"asks for n elements from x, in lines of 16.")
	x, n := argument("x"), argument("n")
	Label("line")
	PREFETCHT0(Mem{Base: x})
	ADDQ(Imm(64), x)
	SUBQ(Imm(16), n)
	JG(LabelRef("line"))
	RET()
}

// widen writes the widening of stored numbers.
func widen(element string, f *narrow) {
	begin("widen"+f.name+"AVX2", "func(dst *float32, src *"+element+", n int)",
		"widens n numbers, a multiple of 8.")
	dst, src, n := argument("dst"), argument("src"), argument("n")
	Label("loop")
	r := YMM()
	f.load(Mem{Base: src}, r)
	VMOVUPS(r, Mem{Base: dst})
	ADDQ(U32(uint32(8*f.size)), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("loop"))
	finish()
}

// multiply writes what applies the scales of 8-bit keys to scores, and those of values to weights: once for a key, and not for each of its
// elements.
func multiply() {
	begin("multiplyAVX2", "func(s, scales *float32, h, n int)",
		"computes s[i][j] *= scales[j], j < n, for h lanes.")
	s, scales := argument("s"), argument("scales")
	h, n := argument("h"), argument("n")
	at, left := GP64(), GP64()
	column := func(name string, width int) {
		Label(name)
		CMPQ(n, U32(uint32(width)))
		JLT(LabelRef(name + "Done"))
		MOVQ(s, at)
		MOVQ(h, left)
		x, y := YMM(), YMM()
		if width == 8 {
			VMOVUPS(Mem{Base: scales}, x)
		} else {
			VMOVSS(Mem{Base: scales}, x.AsX())
		}
		Label(name + "Lane")
		if width == 8 {
			VMULPS(Mem{Base: at}, x, y)
			VMOVUPS(y, Mem{Base: at})
		} else {
			VMULSS(Mem{Base: at}, x.AsX(), y.AsX())
			VMOVSS(y.AsX(), Mem{Base: at})
		}
		ADDQ(U32(scoreStride), at)
		DECQ(left)
		JNZ(LabelRef(name + "Lane"))
		ADDQ(U32(uint32(4*width)), s)
		ADDQ(U32(uint32(4*width)), scales)
		SUBQ(U32(uint32(width)), n)
		JMP(LabelRef(name))
		Label(name + "Done")
	}
	column("eight", 8)
	column("one", 1)
	finish()
}

// normalize writes the end of a lane: its weighted sums divided by the sum of its weights.
func normalize() {
	begin("normalizeAVX2", "func(dst, src, sums *float32, d int) float32",
		"computes dst[i] = src[i]/Σ sums + 0 for d elements, a multiple of 8, and returns Σ sums, of 16 partial sums; for 0 it sets dst to 0.")
	dst, src, sums, d := argument("dst"), argument("src"), argument("sums"), argument("d")
	y, x, z := YMM(), XMM(), XMM()
	VMOVUPS(Mem{Base: sums}, y)
	VADDPS(Mem{Base: sums, Disp: 32}, y, y)
	VEXTRACTF128(Imm(1), y, x)
	VADDPS(x, y.AsX(), x)
	VPERMILPS(Imm(0x4e), x, z)
	VADDPS(z, x, x)
	VPERMILPS(Imm(0xb1), x, z)
	VADDPS(z, x, x)
	Store(x, ReturnIndex(0))
	zero, one, inverse, factor := YMM(), GP32(), XMM(), YMM()
	VXORPS(zero, zero, zero)
	VXORPS(inverse, inverse, inverse)
	VUCOMISS(zero.AsX(), x)
	JNE(LabelRef("some"))
	JPS(LabelRef("some"))
	eights("clear", d, func() { VMOVUPS(zero, Mem{Base: dst}) }, dst)
	finish()
	Label("some")
	MOVL(U32(0x3f800000), one)
	VMOVD(one, inverse)
	VDIVSS(x, inverse, inverse)
	VBROADCASTSS(inverse, factor)
	scaled(dst, src, d, factor, zero)
	finish()
}
