// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the kernels of package vec. It is a module of its own so that the library does not depend on the generator.
//
// Every kernel exists for two tiers that differ in the width of a register only: they do the same operations on an element, and reductions
// keep the same number of partial sums, so that results are equal to the bit. The last elements of a slice go through the same code as the
// others, with loads and stores masked. Labels are words: one named g would be taken for the goroutine register, and jumping to it crashes.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
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
		exp(t)
		siluMul(t)
		add(t)
		axpy(t)
		dot(t)
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

// lanes is the number of float32 in a register.
func (t *isa) lanes() int { return t.bytes / 4 }

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

// mask says which of a register's lanes hold elements: by an opmask register or by the sign of its own lanes.
type mask struct {
	k Register
	v VecVirtual
}

// tailMasks returns the masks for n elements spread over registers of lanes lanes of 32 bits each, one for each of ks. n is less than what
// they hold together. An AVX2 mask is loaded when it is asked for: registers are few.
func (t *isa) tailMasks(n GPVirtual, lanes int, reg func() VecVirtual, ks ...Register) func(i int) *mask {
	if t.wide {
		MOVQ(n, RCX)
		bits := GP64()
		MOVQ(I32(1), bits)
		SHLQ(CL, bits)
		DECQ(bits)
		for i, k := range ks {
			if i > 0 {
				SHRQ(Imm(uint64(lanes)), bits)
			}
			KMOVW(bits.As32(), k)
		}
		return func(i int) *mask { return &mask{k: ks[i]} }
	}
	at, back := GP64(), GP64()
	LEAQ(maskTable.Offset(4*tailLanes), at)
	MOVQ(n, back)
	SHLQ(Imm(2), back)
	SUBQ(back, at)
	return func(i int) *mask {
		v := reg()
		VMOVUPS(Mem{Base: at, Disp: 4 * i * lanes}, v)
		return &mask{v: v}
	}
}

// loadFrom loads m, or the elements of it that a mask leaves, with zeros in the other lanes.
func (t *isa) loadFrom(m Op, k *mask, reg func() VecVirtual) VecVirtual {
	r := reg()
	switch {
	case k == nil:
		VMOVUPS(m, r)
	case t.wide:
		VMOVUPS_Z(m, k.k, r)
	default:
		VMASKMOVPS(m, k.v, r)
	}
	return r
}

func (t *isa) storeTo(r VecVirtual, m Op, k *mask) {
	switch {
	case k == nil:
		VMOVUPS(r, m)
	case t.wide:
		VMOVUPS(r, k.k, m)
	default:
		VMASKMOVPS(r, k.v, m)
	}
}

// each walks slices of n elements, with a pointer to each: unroll registers of lanes elements a turn, then one, then the rest masked. The
// body gets the byte offset of its elements.
func (t *isa) each(n GPVirtual, pointers []GPVirtual, lanes, unroll int, reg func() VecVirtual, body func(at int, k *mask)) {
	advance := func(by int) {
		for _, p := range pointers {
			ADDQ(U32(4*by), p)
		}
		SUBQ(U32(by), n)
	}
	Label("block")
	CMPQ(n, U32(lanes*unroll))
	JL(LabelRef("single"))
	for i := range unroll {
		body(4*i*lanes, nil)
	}
	advance(lanes * unroll)
	JMP(LabelRef("block"))
	Label("single")
	CMPQ(n, U32(lanes))
	JL(LabelRef("tail"))
	body(0, nil)
	advance(lanes)
	JMP(LabelRef("single"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	body(0, t.tailMasks(n, lanes, reg, K1)(0))
	Label("done")
}

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
// result is set to 0 before it is scaled: a scaling that underflows takes a hundred cycles, and softmax sees many −Inf.
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

func exp(t *isa) {
	begin(t, "exp", "func(dst, src *float32, n int)", "writes e^src to dst.")
	dst, src, n := pointer("dst"), pointer("src"), pointer("n")
	e := newExponential(t)
	t.each(n, []GPVirtual{dst, src}, t.lanes(), 4, t.reg, func(at int, k *mask) {
		x := t.loadFrom(Mem{Base: src, Disp: at}, k, t.reg)
		t.storeTo(e.of(x), Mem{Base: dst, Disp: at}, k)
	})
	finish()
}

func pointer(param string) GPVirtual {
	r := GP64()
	Load(Param(param), r)
	return r
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

func axpy(t *isa) {
	begin(t, "axpy", "func(a float32, x, y *float32, n int)", "adds a·x, rounded, to y.")
	a := t.broadcast("a")
	x, y, n := pointer("x"), pointer("y"), pointer("n")
	t.each(n, []GPVirtual{x, y}, t.lanes(), 4, t.reg, func(at int, k *mask) {
		p := t.loadFrom(Mem{Base: x, Disp: at}, k, t.reg)
		VMULPS(a, p, p)
		VADDPS(t.loadFrom(Mem{Base: y, Disp: at}, k, t.reg), p, p)
		t.storeTo(p, Mem{Base: y, Disp: at}, k)
	})
	finish()
}

// reduce walks slices as each does, but in whole blocks of registers·lanes elements and one masked rest, so that element i always belongs
// to register i/lanes mod registers.
func (t *isa) reduce(n GPVirtual, pointers []GPVirtual, registers, lanes int, reg func() VecVirtual, body func(register int, k *mask)) {
	Label("block")
	CMPQ(n, U32(lanes*registers))
	JL(LabelRef("tail"))
	for i := range registers {
		body(i, nil)
	}
	for _, p := range pointers {
		ADDQ(U32(4*lanes*registers), p)
	}
	SUBQ(U32(lanes*registers), n)
	JMP(LabelRef("block"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("sum"))
	k := t.tailMasks(n, lanes, reg, []Register{K1, K2, K3, K4}[:min(registers, 4)]...)
	for i := range registers {
		body(i, k(i))
	}
	Label("sum")
}

// dot keeps 64 sums. They are added in pairs of registers, and then the upper half of what is left to the lower.
func dot(t *isa) {
	begin(t, "dot", "func(x, y *float32, n int) float32", "returns the sum of the products of 64 chains of fused multiply-adds.")
	x, y, n := pointer("x"), pointer("y"), pointer("n")
	acc := make([]VecVirtual, 64/t.lanes())
	for i := range acc {
		acc[i] = t.zero()
	}
	t.reduce(n, []GPVirtual{x, y}, len(acc), t.lanes(), t.reg, func(i int, k *mask) {
		v := t.loadFrom(Mem{Base: x, Disp: i * t.bytes}, k, t.reg)
		if k == nil {
			VFMADD231PS(Mem{Base: y, Disp: i * t.bytes}, v, acc[i])
			return
		}
		VFMADD231PS(t.loadFrom(Mem{Base: y, Disp: i * t.bytes}, k, t.reg), v, acc[i])
	})
	sum := t.halve(acc, VADDPS)
	low, high := sum.AsX(), XMM()
	VEXTRACTF128(Imm(1), sum.AsY(), high)
	VADDPS(high, low, low)
	VMOVHLPS(low, low, high)
	VADDPS(high, low, low)
	VMOVSHDUP(low, high)
	VADDSS(high, low, low)
	Store(low, ReturnIndex(0))
	finish()
}

// halve adds four registers of 512 bits, or their halves in eight of 256, in pairs: (0+1)+(2+3), and then the upper half of the sum to its
// lower, and returns the sum in a YMM.
func (t *isa) halve(acc []VecVirtual, add func(...Op)) VecVirtual {
	if t.wide {
		add(acc[1], acc[0], acc[0])
		add(acc[3], acc[2], acc[2])
		add(acc[2], acc[0], acc[0])
		high := YMM()
		VEXTRACTF64X4(Imm(1), acc[0], high)
		low := acc[0].AsY()
		add(high, low, low)
		return acc[0]
	}
	for i := range 2 {
		add(acc[2+i], acc[i], acc[i])
		add(acc[6+i], acc[4+i], acc[4+i])
		add(acc[4+i], acc[i], acc[i])
	}
	add(acc[1], acc[0], acc[0])
	return acc[0]
}

// double loads float32 values as float64.
func (t *isa) double(m Mem, k *mask) VecVirtual {
	r := t.reg()
	switch {
	case k == nil:
		VCVTPS2PD(m, r)
	case t.wide:
		VCVTPS2PD_Z(m, k.k, r)
	default:
		VCVTPS2PD(t.loadFrom(m, k, t.half), r)
	}
	return r
}

// sumSquares keeps 32 sums. Squares of float32 are exact in float64, so that a fused addition is the same as a separate one.
func sumSquares(t *isa) {
	begin(t, "sumSquares", "func(x *float32, n int) float64", "returns the sum of the squares of 32 chains.")
	x, n := pointer("x"), pointer("n")
	lanes := t.bytes / 8
	acc := make([]VecVirtual, 32/lanes)
	for i := range acc {
		acc[i] = t.zero()
	}
	t.reduce(n, []GPVirtual{x}, len(acc), lanes, t.half, func(i int, k *mask) {
		v := t.double(Mem{Base: x, Disp: 4 * i * lanes}, k)
		VFMADD231PD(v, v, acc[i])
	})
	sum := t.halve(acc, VADDPD)
	low, high := sum.AsX(), XMM()
	VEXTRACTF128(Imm(1), sum.AsY(), high)
	VADDPD(high, low, low)
	VUNPCKHPD(low, low, high)
	VADDSD(high, low, low)
	Store(low, ReturnIndex(0))
	finish()
}

func scaleMul(t *isa) {
	begin(t, "scaleMul", "func(dst, x, w *float32, scale float64, n int)", "writes x·scale·w, multiplied in float64, to dst.")
	dst, x, w, n := pointer("dst"), pointer("x"), pointer("w"), pointer("n")
	scale := t.reg()
	m, err := Param("scale").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSD(m.Addr, scale)
	t.each(n, []GPVirtual{dst, x, w}, t.bytes/8, 4, t.half, func(at int, k *mask) {
		v, u := t.double(Mem{Base: x, Disp: at}, k), t.double(Mem{Base: w, Disp: at}, k)
		VMULPD(scale, v, v)
		VMULPD(u, v, v)
		r := t.half()
		if t.wide {
			VCVTPD2PS(v, r)
		} else {
			VCVTPD2PSY(v, r)
		}
		t.storeTo(r, Mem{Base: dst, Disp: at}, k)
	})
	finish()
}

// rotation is what both pairings share: row after row, pairs are walked a register at a time, and for each register of cosines and sines all
// heads.
type rotation struct {
	t                           *isa
	row                         Mem // of dst, x and the table: 8 bytes each, then the rows left
	dst, x, cos, sin, pairs     GPVirtual
	heads, stride, dim, ahead   GPVirtual // the last three in bytes
	cosFactor, sinFactor, scale VecVirtual
	headDst, headX, head        GPVirtual
}

const rotateSignature = "func(dst, x, table *float32, pairs, rows, heads, nextRow, stride, dim, nextPosition int, cosFactor, sinFactor, scale float32)"

// rowsAhead is how many rows ahead of its work a rotation asks for memory: heads of one row are too short for the hardware to notice.
const rowsAhead = 6

func newRotation(t *isa) *rotation {
	r := &rotation{
		t: t, row: AllocLocal(32),
		dst: GP64(), x: GP64(), cos: GP64(), sin: GP64(), pairs: GP64(),
		heads: pointer("heads"), stride: pointer("stride"), dim: pointer("dim"), ahead: pointer("nextRow"),
		cosFactor: t.broadcast("cosFactor"), sinFactor: t.broadcast("sinFactor"), scale: t.broadcast("scale"),
		headDst: GP64(), headX: GP64(), head: GP64(),
	}
	SHLQ(Imm(2), r.stride)
	SHLQ(Imm(2), r.dim)
	IMUL3Q(U32(4*rowsAhead), r.ahead, r.ahead)
	for i, name := range []string{"dst", "x", "table", "rows"} {
		MOVQ(pointer(name), r.row.Offset(8*i))
	}
	return r
}

// walk emits the loops over rows and over steps of so many pairs, which move on by so many elements of a head. table emits what a step does
// once and returns what emits its work on one head.
func (r *rotation) walk(pairs, elements int, table func(tail bool) (head func())) {
	loop := func(name string, tail bool) {
		head := table(tail)
		MOVQ(r.dst, r.headDst)
		MOVQ(r.x, r.headX)
		MOVQ(r.heads, r.head)
		Label(name)
		head()
		ADDQ(r.stride, r.headDst)
		ADDQ(r.dim, r.headX)
		DECQ(r.head)
		JNZ(LabelRef(name))
	}
	Label("row")
	for i, p := range []GPVirtual{r.dst, r.x, r.cos} {
		MOVQ(r.row.Offset(8*i), p)
	}
	Load(Param("pairs"), r.pairs)
	LEAQ(Mem{Base: r.cos, Index: r.pairs, Scale: 4}, r.sin)
	Label("block")
	CMPQ(r.pairs, U32(pairs))
	JL(LabelRef("tail"))
	loop("heads", false)
	ADDQ(U32(4*elements), r.dst)
	ADDQ(U32(4*elements), r.x)
	ADDQ(U32(4*pairs), r.cos)
	ADDQ(U32(4*pairs), r.sin)
	SUBQ(U32(pairs), r.pairs)
	JMP(LabelRef("block"))
	Label("tail")
	TESTQ(r.pairs, r.pairs)
	JZ(LabelRef("next"))
	loop("tailHeads", true)
	Label("next")
	step := GP64()
	MOVQ(r.heads, step)
	IMULQ(r.stride, step)
	ADDQ(step, r.row)
	for i, name := range []string{"nextRow", "nextPosition"} {
		Load(Param(name), step)
		SHLQ(Imm(2), step)
		ADDQ(step, r.row.Offset(8*(i+1)))
	}
	DECQ(r.row.Offset(24))
	JNZ(LabelRef("row"))
	finish()
}

// rotateInterleaved takes a register of elements, half as many pairs: x·cos + swapped x·sin, with the sines of even elements negated.
func rotateInterleaved(t *isa) {
	begin(t, "rotateInterleaved", rotateSignature, "turns pairs (2i, 2i+1) of every head.")
	r := newRotation(t)
	index, sign := t.reg(), t.reg()
	VMOVUPS(constants["pairIndex"], index)
	VMOVUPS(constants["evenSign"], sign)
	VXORPS(sign, r.sinFactor, r.sinFactor)
	r.walk(t.lanes()/2, t.lanes(), func(tail bool) func() {
		var k, kHalf *mask
		if tail {
			kHalf = t.tailMasks(r.pairs, t.lanes()/2, t.half, K1)(0)
			elements := GP64()
			LEAQ(Mem{Base: r.pairs, Index: r.pairs, Scale: 1}, elements)
			k = t.tailMasks(elements, t.lanes(), t.reg, K2)(0)
		}
		spread := func(p GPVirtual, factor VecVirtual) VecVirtual {
			narrow := t.loadFrom(Mem{Base: p}, kHalf, t.half)
			v := t.reg()
			if t.wide {
				VPERMPS(narrow.AsZ(), index, v)
			} else {
				VPERMPS(narrow.AsY(), index, v)
			}
			VMULPS(factor, v, v)
			return v
		}
		cos, sin := spread(r.cos, r.cosFactor), spread(r.sin, r.sinFactor)
		return func() {
			v := t.loadFrom(Mem{Base: r.headX}, k, t.reg)
			PREFETCHT0(Mem{Base: r.headX, Index: r.ahead, Scale: 1})
			swapped := t.reg()
			VPERMILPS(Imm(0xb1), v, swapped)
			VMULPS(cos, v, v)
			VMULPS(sin, swapped, swapped)
			VADDPS(swapped, v, v)
			VMULPS(r.scale, v, v)
			t.storeTo(v, Mem{Base: r.headDst}, k)
		}
	})
}

// rotateHalfSplit takes a register of each half.
func rotateHalfSplit(t *isa) {
	begin(t, "rotateHalfSplit", rotateSignature, "turns pairs (i, pairs+i) of every head.")
	r := newRotation(t)
	between, highAhead := pointer("pairs"), GP64()
	SHLQ(Imm(2), between)
	LEAQ(Mem{Base: between, Index: r.ahead, Scale: 1}, highAhead)
	r.walk(t.lanes(), t.lanes(), func(tail bool) func() {
		var k *mask
		if tail {
			k = t.tailMasks(r.pairs, t.lanes(), t.reg, K1)(0)
		}
		cos, sin := t.loadFrom(Mem{Base: r.cos}, k, t.reg), t.loadFrom(Mem{Base: r.sin}, k, t.reg)
		VMULPS(r.cosFactor, cos, cos)
		VMULPS(r.sinFactor, sin, sin)
		return func() {
			low, high := Mem{Base: r.headX}, Mem{Base: r.headX, Index: between, Scale: 1}
			a, b := t.loadFrom(low, k, t.reg), t.loadFrom(high, k, t.reg)
			PREFETCHT0(Mem{Base: r.headX, Index: r.ahead, Scale: 1})
			PREFETCHT0(Mem{Base: r.headX, Index: highAhead, Scale: 1})
			ac, bs := t.reg(), t.reg()
			VMULPS(cos, a, ac)
			VMULPS(sin, b, bs)
			VSUBPS(bs, ac, ac)
			VMULPS(sin, a, a)
			VMULPS(cos, b, b)
			VADDPS(b, a, a)
			VMULPS(r.scale, ac, ac)
			VMULPS(r.scale, a, a)
			low.Base, high.Base = r.headDst, r.headDst
			t.storeTo(ac, low, k)
			t.storeTo(a, high, k)
		}
	})
}
