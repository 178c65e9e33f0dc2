// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"encoding/binary"
	"math"
)

// expandPortable makes n panels [k][16]float32 of packed ones whose blocks are stride bytes apart.
func expandPortable(dst []float32, src []byte, f Format, stride, n, k int) {
	l := &formats[f]
	size := l.block * Panel
	for i := range n {
		for b := range k / l.block {
			l.expand(dst[:size], src[b*stride+i*l.packed:][:l.packed])
			dst = dst[size:]
		}
	}
}

// row16 is one number for each of a panel's rows.
type row16 = [Panel]float32

func halves(src []byte) (x row16) {
	for i := range x {
		x[i] = half(binary.LittleEndian.Uint16(src[2*i:]))
	}
	return x
}

func expandF16(dst []float32, src []byte) { *(*row16)(dst) = halves(src) }

func expandBF16(dst []float32, src []byte) {
	for i := range dst[:Panel] {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func expandQ8_0(dst []float32, src []byte) {
	d := halves(src[32*Panel:])
	expandBytes(dst[:32*Panel], src, &d)
}

// expandBytes expands steps of signed bytes: x = d·q.
func expandBytes(dst []float32, src []byte, d *row16) {
	for ; len(dst) >= Panel; dst, src = dst[Panel:], src[Panel:] {
		x, q := (*row16)(dst), (*[Panel]byte)(src)
		for i := range x {
			x[i] = d[i] * float32(int8(q[i]))
		}
	}
}

func expandQ4_0(dst []float32, src []byte) {
	d := halves(src[16*Panel:])
	for t := range 4 { // words of eight fields
		for i := range Panel {
			x, s := binary.LittleEndian.Uint32(src[4*(t*Panel+i):]), d[i]
			to := dst[t*8*Panel+i:][:7*Panel+1]
			for j := 0; j < len(to); j += Panel {
				to[j] = s * float32(int32(x&15)-8)
				x >>= 4
			}
		}
	}
}

func expandQ4_1(dst []float32, src []byte) {
	d, m := halves(src[16*Panel:]), halves(src[18*Panel:])
	expandFields(dst, src, &d, &m)
}

// expandFields expands 32 steps of 4-bit quants: x = d·q + m, each operation rounded.
func expandFields(dst []float32, src []byte, d, m *row16) {
	for t := range 4 {
		for i := range Panel {
			x, s, least := binary.LittleEndian.Uint32(src[4*(t*Panel+i):]), d[i], m[i]
			to := dst[t*8*Panel+i:][:7*Panel+1]
			for j := 0; j < len(to); j += Panel {
				to[j] = float32(s*float32(int32(x&15))) + least
				x >>= 4
			}
		}
	}
}

func expandQ4_K(dst []float32, src []byte) {
	d, m := halves(src), halves(src[2*Panel:])
	src = src[4*Panel:]
	for range 8 {
		var scale, least row16
		for i := range Panel {
			scale[i] = d[i] * float32(src[16*Panel+i])
			least[i] = -(m[i] * float32(src[17*Panel+i]))
		}
		expandFields(dst, src, &scale, &least)
		dst, src = dst[32*Panel:], src[18*Panel:]
	}
}

func expandQ6_K(dst []float32, src []byte) {
	d := halves(src)
	src = src[2*Panel:]
	for range 16 {
		var scale row16
		for i := range Panel {
			scale[i] = d[i] * float32(int8(src[16*Panel+i]))
		}
		expandBytes(dst[:16*Panel], src, &scale)
		dst, src = dst[16*Panel:], src[17*Panel:]
	}
}

// half returns the value of an IEEE 754 half-precision number.
func half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exponent {
	case 0:
		x := float32(fraction) * 0x1p-24
		return math.Float32frombits(math.Float32bits(x) | sign)
	case 31:
		exponent = 255 - 112
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
