// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// valuesAhead is how many values ahead few lanes ask for.
const valuesAhead = 16

// broadcastFMA adds x[i]·row[j] to acc[i][j] for every i and j, which are read from memory; row is float32 if f is nil.
func broadcastFMA(t isa, acc [][]VecVirtual, x func(i int) Mem, row []Op, f *narrow) {
	read := func(j int) {
		r := t.reg()
		if f == nil {
			VMOVUPS(row[j], r)
		} else {
			f.load(row[j].(Mem), r)
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
			if len(acc) == 1 && f != nil {
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

// prefetching says it in the documentation.
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

// tile returns registers for h lanes of w sums each.
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

// leastChains is how many sums must be under way for multiply-adds to follow each other without waiting: their latency of 4 on two units. Few
// lanes that have as many read no more panels at once than it takes, since memory gives two long streams faster than four.
const leastChains = 8

// scores writes the kernel for the dot products of h lanes with panels of keys. The sums of a tile stay in registers for the whole head:
// one chain per score.
func scores(t isa, h int, f *narrow) {
	name, size := kernelName("scores", t, h, f)
	begin(name, "func(s, q *float32, k, next *byte, d, panels int)",
		fmt.Sprintf("computes s[i][p*16+j] = Σₜ q[i][t]·k[p][t][j] for %d lanes; d is a multiple of 4.", h), t.prefetching(h))
	s, q0, k0 := argument("s"), argument("q"), argument("k")
	var next Register
	if !t.few(h) {
		next = argument("next")
	}
	d, panels := argument("d"), argument("panels")
	stride := GP64() // from one panel to the next
	MOVQ(d, stride)
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(panel*size)))), stride)
	SHRQ(Imm(2), d)
	per := panel / t.lanes
	widest := t.widest[h] / per
	for t.few(h) && f == nil && widest > 2 && h*per*widest/2 >= leastChains {
		widest /= 2
	}
	most := tile(t, h, widest*per)
	for w := widest; w >= 1; w /= 2 {
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
			broadcastFMA(t, acc, func(i int) Mem { return Mem{Base: q, Disp: i*laneStride + 4*u} }, row, f)
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
	finish()
}

// mix writes the kernel for the weighted sums of values of h lanes. A sum is one chain over the keys, which may be cut between calls.
func mix(t isa, h int, f *narrow) {
	name, size := kernelName("mix", t, h, f)
	begin(name, "func(o, p *float32, v, next *byte, alpha *float32, d, n int)",
		fmt.Sprintf("computes o[i][t] = alpha[i]·o[i][t] + Σⱼ p[i][j]·v[j][t], j < n, for %d lanes; d is a multiple of %d.", h, t.lanes), t.prefetching(h))
	o, p0, v0 := argument("o"), argument("p"), argument("v")
	alpha := argument("alpha")
	var next Register
	if !t.few(h) {
		next = argument("next")
	}
	d, n := argument("d"), argument("n")
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
			broadcastFMA(t, acc, func(i int) Mem { return Mem{Base: p, Disp: i*scoreStride + 4*u} }, row, f)
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
	finish()
}
