// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the tile kernels of package attention. It is a module of its own so that the library does not depend on the
// generator.
//
// The constants here are repeated in the package, whose tests of the kernels fail where they differ. Labels are words: one named g would
// be taken for the goroutine register, and jumping to it crashes. Kernels that write YMM or ZMM registers end with VZEROUPPER, without
// which SSE code that follows runs slowly.
package main

import (
	"fmt"
	"math/bits"

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
	valuesAhead = 16 // how many values ahead few lanes ask for

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
	hideAVX512()
	hideAVX2()
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

// broadcastFMA adds x[i]·row[j] to acc[i][j] for every i and j, with x[i] read from memory and row[j] loaded by load, if there is one.
func broadcastFMA(t isa, acc [][]VecVirtual, x func(i int) Mem, row []Op, load func(j int, r VecVirtual)) {
	read := func(j int) {
		r := t.reg()
		if load == nil {
			VMOVUPS(row[j], r)
		} else {
			load(j, r)
		}
		row[j] = r
	}
	if len(acc) > 1 { // one row uses each value once, straight from memory or one after the other
		for j := range row {
			read(j)
		}
	}
	for i := range acc {
		b := t.reg()
		VBROADCASTSS(x(i), b)
		for j := range row {
			if len(acc) == 1 && load != nil {
				read(j)
			}
			VFMADD231PS(row[j], b, acc[i][j])
		}
	}
}

// kernelName returns the name of a kernel and the size of the numbers that it reads.
func kernelName(what string, t isa, h int, f *narrow) (name string, size int) {
	if f == nil {
		return fmt.Sprintf("%s%d%s", what, h, t.name), 4
	}
	return fmt.Sprintf("%s%d%s%s", what, h, f.name, t.name), f.size
}

// few tells whether so few lanes share a block that they wait for memory: their kernels ask for what they will read themselves, a while later.
// Others bring the block closer that the next call will read.
func (t *isa) few(h int) bool { return h <= t.narrowRows }

func (t *isa) prefetching(h int) string {
	if t.few(h) {
		return "It asks for what follows in memory, by a fixed distance."
	}
	return "Memory from next on is brought to the second-level cache, one line in four steps."
}

// fetchNext asks for a line of the block that the next call will read.
func fetchNext(next Register) {
	PREFETCHT1(Mem{Base: next})
	ADDQ(Imm(64), next)
}

func tile(t isa, h, w int) [][]VecVirtual {
	acc := make([][]VecVirtual, h)
	for i := range acc {
		acc[i] = make([]VecVirtual, w)
		for j := range acc[i] {
			acc[i][j] = t.reg()
		}
	}
	return acc
}

// scores writes the kernel for the dot products of h lanes with panels of keys. The sums of a tile stay in registers for the whole head:
// one chain per score.
func scores(t isa, h int, f *narrow) {
	name, size := kernelName("scores", t, h, f)
	TEXT(name, NOSPLIT, "func(s, q *float32, k, next *byte, d, panels int)")
	Doc(fmt.Sprintf("%s computes s[i][p*16+j] = Σₜ q[i][t]·k[p][t][j] for %d lanes; d is a multiple of 4.", name, h), t.prefetching(h))
	Pragma("noescape")
	s, q0, k0 := Load(Param("s"), GP64()), Load(Param("q"), GP64()), Load(Param("k"), GP64())
	next := Load(Param("next"), GP64())
	d, panels := Load(Param("d"), GP64()), Load(Param("panels"), GP64())
	stride := GP64() // from one panel to the next
	MOVQ(d, stride)
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(panel*size)))), stride)
	SHRQ(Imm(2), d)
	per := panel / t.lanes
	most := tile(t, h, t.widest[h])
	for w := t.widest[h] / per; w >= 1; w /= 2 {
		loop, below := fmt.Sprintf("wide%d", w), fmt.Sprintf("below%d", w)
		Label(loop)
		CMPQ(panels, Imm(uint64(w)))
		JLT(LabelRef(below))
		bs := make([]Register, w)
		for i := range bs {
			bs[i] = GP64()
			if i == 0 {
				MOVQ(k0, bs[i])
			} else {
				LEAQ(Mem{Base: bs[i-1], Index: stride, Scale: 1}, bs[i])
			}
		}
		LEAQ(Mem{Base: bs[w-1], Index: stride, Scale: 1}, k0)
		var group Register // bytes of w panels
		if t.few(h) {
			group = GP64()
			MOVQ(stride, group)
			SHLQ(Imm(uint64(bits.TrailingZeros(uint(w)))), group)
		}
		acc := make([][]VecVirtual, h)
		for i := range acc {
			acc[i] = most[i][:w*per]
			for j := range acc[i] {
				t.zero(acc[i][j])
			}
		}
		q, turns := GP64(), GP64()
		MOVQ(q0, q)
		MOVQ(d, turns)
		turn := fmt.Sprintf("turn%d", w)
		Label(turn)
		for u := range 4 {
			row := make([]Op, w*per)
			for j := range row {
				row[j] = Mem{Base: bs[j/per], Disp: size * (panel*u + j%per*t.lanes)}
			}
			var load func(j int, r VecVirtual)
			if f != nil {
				load = func(j int, r VecVirtual) { f.load(row[j].(Mem), r) }
			}
			broadcastFMA(t, acc, func(i int) Mem { return Mem{Base: q, Disp: i*laneStride + 4*u} }, row, load)
		}
		for _, b := range bs {
			if t.few(h) {
				for at := 0; at < 4*panel*size; at += 64 {
					PREFETCHT0(Mem{Base: b, Disp: at, Index: group, Scale: 1})
				}
			}
			ADDQ(U32(uint32(4*panel*size)), b)
		}
		if !t.few(h) {
			fetchNext(next)
		}
		ADDQ(Imm(16), q)
		DECQ(turns)
		JNZ(LabelRef(turn))
		for i := range acc {
			for j := range acc[i] {
				VMOVUPS(acc[i][j], Mem{Base: s, Disp: i*scoreStride + 4*j*t.lanes})
			}
		}
		ADDQ(U32(uint32(4*panel*w)), s)
		SUBQ(Imm(uint64(w)), panels)
		JMP(LabelRef(loop))
		Label(below)
	}
	VZEROUPPER()
	RET()
}

// mix writes the kernel for the weighted sums of values of h lanes. A sum is one chain over the keys, which may be cut between calls.
func mix(t isa, h int, f *narrow) {
	name, size := kernelName("mix", t, h, f)
	TEXT(name, NOSPLIT, "func(o, p *float32, v, next *byte, alpha *float32, d, n int)")
	Doc(fmt.Sprintf("%s computes o[i][t] = alpha[i]·o[i][t] + Σⱼ p[i][j]·v[j][t], j < n, for %d lanes; d is a multiple of %d.", name, h, t.lanes), t.prefetching(h))
	Pragma("noescape")
	o, p0, v0 := Load(Param("o"), GP64()), Load(Param("p"), GP64()), Load(Param("v"), GP64())
	next, alpha := Load(Param("next"), GP64()), Load(Param("alpha"), GP64())
	d, n := Load(Param("d"), GP64()), Load(Param("n"), GP64())
	stride := GP64()
	MOVQ(d, stride)
	if size > 1 {
		SHLQ(Imm(uint64(bits.TrailingZeros(uint(size)))), stride)
	}
	var later Register // bytes of valuesAhead values
	if t.few(h) {
		later = GP64()
		MOVQ(stride, later)
		SHLQ(Imm(uint64(bits.TrailingZeros(valuesAhead))), later)
	}
	for w := t.widest[h]; w >= 1; w /= 2 {
		loop, below := fmt.Sprintf("wide%d", w), fmt.Sprintf("below%d", w)
		Label(loop)
		CMPQ(d, U32(uint32(w*t.lanes)))
		JLT(LabelRef(below))
		acc := tile(t, h, w)
		for i := range acc {
			a := t.reg()
			VBROADCASTSS(Mem{Base: alpha, Disp: 4 * i}, a)
			for j := range acc[i] {
				VMULPS(Mem{Base: o, Disp: i*laneStride + 4*j*t.lanes}, a, acc[i][j])
			}
		}
		p, v, turns := GP64(), GP64(), GP64()
		MOVQ(p0, p)
		MOVQ(v0, v)
		step := func(u int) {
			row := make([]Op, w)
			for j := range row {
				row[j] = Mem{Base: v, Disp: size * j * t.lanes}
			}
			var load func(j int, r VecVirtual)
			if f != nil {
				load = func(j int, r VecVirtual) { f.load(row[j].(Mem), r) }
			}
			broadcastFMA(t, acc, func(i int) Mem { return Mem{Base: p, Disp: i*scoreStride + 4*u} }, row, load)
			if t.few(h) {
				for at := 0; at < w*t.lanes*size; at += 64 {
					PREFETCHT0(Mem{Base: v, Disp: at, Index: later, Scale: 1})
				}
			}
			ADDQ(stride, v)
		}
		turn, rest, one, store := fmt.Sprintf("turn%d", w), fmt.Sprintf("rest%d", w), fmt.Sprintf("one%d", w), fmt.Sprintf("store%d", w)
		MOVQ(n, turns)
		SHRQ(Imm(2), turns)
		JZ(LabelRef(rest))
		Label(turn)
		for u := range 4 {
			step(u)
		}
		if !t.few(h) {
			fetchNext(next)
		}
		ADDQ(Imm(16), p)
		DECQ(turns)
		JNZ(LabelRef(turn))
		Label(rest)
		MOVQ(n, turns)
		ANDQ(Imm(3), turns)
		JZ(LabelRef(store))
		Label(one)
		step(0)
		ADDQ(Imm(4), p)
		DECQ(turns)
		JNZ(LabelRef(one))
		Label(store)
		for i := range acc {
			for j := range acc[i] {
				VMOVUPS(acc[i][j], Mem{Base: o, Disp: i*laneStride + 4*j*t.lanes})
			}
		}
		ADDQ(U32(uint32(4*w*t.lanes)), o)
		ADDQ(U32(uint32(size*w*t.lanes)), v0)
		SUBQ(U32(uint32(w*t.lanes)), d)
		JMP(LabelRef(loop))
		Label(below)
	}
	VZEROUPPER()
	RET()
}

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

// splat fills a register.
func splat(t isa, bits uint32) VecVirtual {
	x, r, y := GP32(), XMM(), t.reg()
	MOVL(U32(bits), x)
	VMOVD(x, r)
	VPBROADCASTD(r, y)
	return y
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
	TEXT("softmax"+t.name, NOSPLIT, "func(s, st *float32, h, panels int)")
	Doc("softmax" + t.name + " turns the scores of h ≥ 1 lanes and panels ≥ 1 panels into weights, see softmaxPortable.")
	Pragma("noescape")
	s0, st := Load(Param("s"), GP64()), Load(Param("st"), GP64())
	h, panels := Load(Param("h"), GP64()), Load(Param("panels"), GP64())
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
	VZEROUPPER()
	RET()
}

// hide kernels overwrite scores of hidden keys by −Inf.
func hideSignature(name string) (s, bits, next, h, panels GPVirtual) {
	TEXT(name, NOSPLIT, "func(s *float32, bits *uint16, next, h, panels int)")
	Doc(name + " sets s[i][p*16+j] to −Inf where bit p*16+j of lane i is 0; the bits of a lane start next bytes after those before.")
	Pragma("noescape")
	return Load(Param("s"), GP64()).(GPVirtual), Load(Param("bits"), GP64()).(GPVirtual), Load(Param("next"), GP64()).(GPVirtual),
		Load(Param("h"), GP64()).(GPVirtual), Load(Param("panels"), GP64()).(GPVirtual)
}

func hideAVX512() {
	s, bits, next, h, panels := hideSignature("hideAVX512")
	lowest := splat(avx512, 0xff800000)
	p, i := GP64(), GP64()
	Label("lane")
	MOVQ(s, p)
	XORQ(i, i)
	Label("panel")
	k, z := K(), ZMM()
	KMOVW(Mem{Base: bits, Index: i, Scale: 2}, k)
	VMOVAPS(lowest, z)
	VMOVUPS(Mem{Base: p}, k, z)
	VMOVUPS(z, Mem{Base: p})
	ADDQ(Imm(64), p)
	INCQ(i)
	CMPQ(i, panels)
	JLT(LabelRef("panel"))
	ADDQ(next, bits)
	ADDQ(U32(scoreStride), s)
	DECQ(h)
	JNZ(LabelRef("lane"))
	VZEROUPPER()
	RET()
}

func hideAVX2() {
	low := GLOBL("lanebits", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(1<<i))
	}
	s, bits, next, h, panels := hideSignature("hideAVX2")
	y, lowest := XMM(), splat(avx2, 0xff800000)
	sel := [2]VecVirtual{YMM(), YMM()}
	VMOVDQU(low, sel[0])
	VMOVDQU(low.Offset(32), sel[1])
	p, i := GP64(), GP64()
	Label("lane")
	MOVQ(s, p)
	XORQ(i, i)
	Label("panel")
	w, b := GP32(), YMM()
	MOVWLZX(Mem{Base: bits, Index: i, Scale: 2}, w)
	VMOVD(w, y)
	VPBROADCASTD(y, b)
	for n := range sel {
		m, v := YMM(), YMM()
		VPAND(sel[n], b, m)
		VPCMPEQD(sel[n], m, m)
		VMOVUPS(Mem{Base: p, Disp: 32 * n}, v)
		VBLENDVPS(m, v, lowest, v)
		VMOVUPS(v, Mem{Base: p, Disp: 32 * n})
	}
	ADDQ(Imm(64), p)
	INCQ(i)
	CMPQ(i, panels)
	JLT(LabelRef("panel"))
	ADDQ(next, bits)
	ADDQ(U32(scoreStride), s)
	DECQ(h)
	JNZ(LabelRef("lane"))
	VZEROUPPER()
	RET()
}

func scale() {
	TEXT("scaleAVX2", NOSPLIT, "func(dst, src *float32, n int, factor float32)")
	Doc("scaleAVX2 computes dst[i] = src[i]·factor + 0 for n elements, a multiple of 8: no result is −0.")
	Pragma("noescape")
	dst, src, n := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("n"), GP64())
	x, f, z := XMM(), YMM(), YMM()
	Load(Param("factor"), x)
	VBROADCASTSS(x, f)
	VXORPS(z, z, z)
	Label("loop")
	y := YMM()
	VMULPS(Mem{Base: src}, f, y)
	VADDPS(z, y, y)
	VMOVUPS(y, Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func finite() {
	TEXT("finiteAVX2", NOSPLIT, "func(x *float32, n int) bool")
	Doc("finiteAVX2 reports whether none of n elements, a multiple of 8, is NaN or infinite.")
	Pragma("noescape")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
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
	Label("one")
	VFMADD231PS(Mem{Base: x}, z, acc[0])
	ADDQ(Imm(32), x)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("one"))
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
	VZEROUPPER()
	RET()
}

func prefetch() {
	TEXT("prefetchAVX2", NOSPLIT, "func(x *float32, n int)")
	Doc("prefetchAVX2 asks for n elements from x, in lines of 16.")
	Pragma("noescape")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	Label("line")
	PREFETCHT0(Mem{Base: x})
	ADDQ(Imm(64), x)
	SUBQ(Imm(16), n)
	JG(LabelRef("line"))
	RET()
}

// widen writes the widening of stored numbers.
func widen(element string, f *narrow) {
	TEXT("widen"+f.name+"AVX2", NOSPLIT, "func(dst *float32, src *"+element+", n int)")
	Doc("widen" + f.name + "AVX2 widens n numbers, a multiple of 8.")
	Pragma("noescape")
	dst, src, n := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("n"), GP64())
	Label("loop")
	r := YMM()
	f.load(Mem{Base: src}, r)
	VMOVUPS(r, Mem{Base: dst})
	ADDQ(U32(uint32(8*f.size)), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// multiply writes what applies the scales of 8-bit keys to scores, and those of values to weights: once for a key, and not for each of its
// elements.
func multiply() {
	TEXT("multiplyAVX2", NOSPLIT, "func(s, scales *float32, h, n int)")
	Doc("multiplyAVX2 computes s[i][j] *= scales[j], j < n, for h lanes.")
	Pragma("noescape")
	s, scales := Load(Param("s"), GP64()), Load(Param("scales"), GP64())
	h, n := Load(Param("h"), GP64()), Load(Param("n"), GP64())
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
	VZEROUPPER()
	RET()
}

// normalize writes the end of a lane: its weighted sums divided by the sum of its weights.
func normalize() {
	TEXT("normalizeAVX2", NOSPLIT, "func(dst, src, sums *float32, d int) float32")
	Doc("normalizeAVX2 computes dst[i] = src[i]/Σ sums + 0 for d elements, a multiple of 8, and returns Σ sums, of 16 partial sums; for 0 it sets dst to 0.")
	Pragma("noescape")
	dst, src, sums, d := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("sums"), GP64()), Load(Param("d"), GP64())
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
	Label("clear")
	VMOVUPS(zero, Mem{Base: dst})
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), d)
	JNZ(LabelRef("clear"))
	VZEROUPPER()
	RET()
	Label("some")
	MOVL(U32(0x3f800000), one)
	VMOVD(one, inverse)
	VDIVSS(x, inverse, inverse)
	VBROADCASTSS(inverse, factor)
	Label("loop")
	v := YMM()
	VMULPS(Mem{Base: src}, factor, v)
	VADDPS(zero, v, v)
	VMOVUPS(v, Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(8), d)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
