// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Format is how the weights of a Matrix are kept. The quantised formats are those of GGUF (ggml-common.h names them block_q8_0 and so on),
// repacked so that the sixteen rows of a panel are expanded side by side. Steps run along k; all numbers are little-endian.
//
//	F16, BF16  per step: 16 halves
//	Q8_0       per 32 steps: the quants of each step, 16 bytes; 16 scales (half)
//	Q4_0       per 32 steps: for each 8 steps, 16 words whose 4-bit field s, from the lowest, is the quant of step s; 16 scales (half)
//	Q4_1       as Q4_0, then 16 minimums (half)
//	Q4_K       per 256 steps: 16 scales, 16 minimums (half); per 32 steps: quants as Q4_0, 16 scales, 16 minimums (bytes)
//	Q6_K       per 256 steps: 16 scales (half); per 16 steps: the quants of each step less 32, 16 bytes; 16 scales (bytes)
//
// Six bits take a byte in Q6_K, since taking them from two places costs more time than reading two bits more.
//
// An expanded weight has the very bits that the formula of its format gives in float32.
type Format uint8

const (
	F32 Format = iota
	F16
	BF16
	Q8_0
	Q4_0
	Q4_1
	Q4_K
	Q6_K
)

// String returns GGUF's name.
func (f Format) String() string {
	if int(f) < len(formats) {
		return formats[f].name
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Block returns how many successive weights of a row the format keeps together: K must be a multiple of it.
func (f Format) Block() int { return formats[f].block }

// layout is a format's blocks in a file and in a panel.
type layout struct {
	name   string
	block  int // weights
	bytes  int // of a block of one row in a file
	packed int // of a block of sixteen rows in a panel
	// set packs a block of one row; dst is the block of its panel.
	set func(dst, src []byte, lane int)
	// expand makes a block of a panel [block][16]float32.
	expand func(dst []float32, src []byte)
}

var formats = [...]layout{
	F32:  {name: "F32", block: 1, bytes: 4, packed: 4 * Panel},
	F16:  {name: "F16", block: 1, bytes: 2, packed: 2 * Panel, set: setHalf, expand: expandF16},
	BF16: {name: "BF16", block: 1, bytes: 2, packed: 2 * Panel, set: setHalf, expand: expandBF16},
	Q8_0: {name: "Q8_0", block: 32, bytes: 34, packed: 34 * Panel, set: setQ8_0, expand: expandQ8_0},
	Q4_0: {name: "Q4_0", block: 32, bytes: 18, packed: 18 * Panel, set: setQ4_0, expand: expandQ4_0},
	Q4_1: {name: "Q4_1", block: 32, bytes: 20, packed: 20 * Panel, set: setQ4_1, expand: expandQ4_1},
	Q4_K: {name: "Q4_K", block: 256, bytes: 144, packed: 148 * Panel, set: setQ4_K, expand: expandQ4_K},
	Q6_K: {name: "Q6_K", block: 256, bytes: 210, packed: 274 * Panel, set: setQ6_K, expand: expandQ6_K},
}

// SetBlocks packs src, a row of K weights as a GGUF file has them, as output row i. Calls for different i may run at the same time.
func (m *Matrix) SetBlocks(i int, src []byte) {
	m.checkRow("SetBlocks", i)
	l := &formats[m.format]
	if want := m.k / l.block * l.bytes; len(src) != want {
		fail("SetBlocks", "row of %d bytes for %d columns in %v, which take %d", len(src), m.k, m.format, want)
	}
	if m.format == F32 {
		dst := m.panels[i/Panel*Panel*m.k:]
		for j := range m.k {
			dst[j*Panel+i%Panel] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*j:]))
		}
		return
	}
	if len(src) == 0 {
		return
	}
	packed, stride := m.blocks(i/Panel, 0)
	for at := 0; len(src) > 0; src, at = src[l.bytes:], at+stride {
		l.set(packed[at:at+l.packed], src[:l.bytes], i%Panel)
	}
}

func setHalf(dst, src []byte, lane int) { dst[2*lane], dst[2*lane+1] = src[0], src[1] }

func setQ8_0(dst, src []byte, lane int) {
	setHalf(dst[32*Panel:], src, lane)
	for j, q := range src[2:34] {
		dst[j*Panel+lane] = q
	}
}

func setQ4_0(dst, src []byte, lane int) {
	setHalf(dst[16*Panel:], src, lane)
	setFields(dst, src[2:], lane, 0)
	setFields(dst[8*Panel:], src[2:], lane, 4)
}

func setQ4_1(dst, src []byte, lane int) {
	setHalf(dst[16*Panel:], src, lane)
	setHalf(dst[18*Panel:], src[2:], lane)
	setFields(dst, src[4:], lane, 0)
	setFields(dst[8*Panel:], src[4:], lane, 4)
}

// setFields packs the 4-bit quants at the given bit of 16 bytes, for 16 steps.
func setFields(dst, src []byte, lane, bit int) {
	for t := range 2 {
		x := binary.LittleEndian.Uint64(src[8*t:]) >> bit & 0x0f0f0f0f0f0f0f0f
		x = (x | x>>4) & 0x00ff00ff00ff00ff
		x = (x | x>>8) & 0x0000ffff0000ffff
		binary.LittleEndian.PutUint32(dst[4*(t*Panel+lane):], uint32(x|x>>16))
	}
}

func setQ4_K(dst, src []byte, lane int) {
	setHalf(dst, src, lane)
	setHalf(dst[2*Panel:], src[2:], lane)
	scales, quants := src[4:16], src[16:]
	for g := range 8 {
		to := dst[(4+18*g)*Panel:]
		from := quants[g/2*32:]
		setFields(to, from, lane, g%2*4)
		setFields(to[8*Panel:], from[16:], lane, g%2*4)
		// Eight 6-bit scales and minimums in twelve bytes: those of groups 4 to 7 have their high bits on top of the others.
		scale, least := scales[g%4]&63, scales[g%4+4]&63
		if g >= 4 {
			scale = scales[g+4]&15 | scales[g-4]>>6<<4
			least = scales[g+4]>>4 | scales[g]>>6<<4
		}
		to[16*Panel+lane], to[17*Panel+lane] = scale, least
	}
}

func setQ6_K(dst, src []byte, lane int) {
	setHalf(dst, src[208:], lane)
	for j := range 256 {
		// Runs of 32 weights: low bits in the halves of 64 bytes, high bits in two bits of 32 bytes, and again for the second half.
		half, run, i := j/128, j/32%4, j%32
		low := src[64*half+run%2*32+i] >> (run / 2 * 4) & 15
		high := src[128+32*half+i] >> (2 * run) & 3
		to := dst[(2+j/16*17)*Panel:]
		to[j%16*Panel+lane] = low | high<<4 - 32
		if j%16 == 0 {
			to[16*Panel+lane] = src[192+j/16]
		}
	}
}
