// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Dequantize expands src, whole blocks of type t, into dst; src must hold
// exactly len(dst) elements. It reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K
// and Q6_K; for other types the error matches [ErrUnsupported].
//
// Results equal ggml's reference dequantisers bit for bit on every platform:
// each product and sum is rounded to float32.
func Dequantize(dst []float32, t Type, src []byte) error {
	if !t.Supported() {
		return fmt.Errorf("%w: no dequantiser for %s", ErrUnsupported, t)
	}
	elems, bytes := t.Block()
	if len(dst)%elems != 0 || len(src)%bytes != 0 || len(dst)/elems != len(src)/bytes {
		return fmt.Errorf("gguf: %d elements of %s are not %d bytes (blocks of %d in %d bytes)",
			len(dst), t, len(src), elems, bytes)
	}
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = half(src[2*i:])
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case Q8_0:
		for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
			q8_0((*[32]float32)(dst), (*[34]byte)(src))
		}
	case Q4_0:
		for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
			q4_0((*[32]float32)(dst), (*[18]byte)(src))
		}
	case Q4_1:
		for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
			q4_1((*[32]float32)(dst), (*[20]byte)(src))
		}
	case Q4_K:
		for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
			q4_K((*[256]float32)(dst), (*[144]byte)(src))
		}
	case Q6_K:
		for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
			q6_K((*[256]float32)(dst), (*[210]byte)(src))
		}
	}
	return nil
}

// The blocks below are ggml's (ggml-common.h, ggml-quants.c). Fields follow
// each other without padding.

// q8_0: half d; int8 q[32]. x = d·q.
func q8_0(dst *[32]float32, b *[34]byte) {
	d := half(b[:])
	for i, q := range b[2:] {
		dst[i] = d * float32(int8(q))
	}
}

// q4_0: half d; 16 bytes of 4-bit q, low halves first. x = d·(q−8).
func q4_0(dst *[32]float32, b *[18]byte) {
	d := half(b[:])
	for i, q := range b[2:] {
		dst[i] = d * float32(int(q&15)-8)
		dst[i+16] = d * float32(int(q>>4)-8)
	}
}

// q4_1: half d, m; 16 bytes of 4-bit q, low halves first. x = d·q + m.
func q4_1(dst *[32]float32, b *[20]byte) {
	d, m := half(b[:]), half(b[2:])
	for i, q := range b[4:] {
		// The conversions keep the compiler from fusing product and sum.
		dst[i] = float32(d*float32(q&15)) + m
		dst[i+16] = float32(d*float32(q>>4)) + m
	}
}

// q4_K: half d, dmin; 12 bytes with eight 6-bit scales s and mins m; 128 bytes
// of 4-bit q. Group g of 32 has x = (d·s[g])·q − dmin·m[g]; groups 2j and 2j+1
// share 32 bytes, low halves first.
func q4_K(dst *[256]float32, b *[144]byte) {
	d, dmin := half(b[:]), half(b[2:])
	packed := (*[12]byte)(b[4:])
	for j := range 4 {
		s0, m0 := scaleMin(packed, 2*j)
		s1, m1 := scaleMin(packed, 2*j+1)
		d0, min0 := d*float32(s0), dmin*float32(m0)
		d1, min1 := d*float32(s1), dmin*float32(m1)
		lo, hi := (*[32]float32)(dst[64*j:]), (*[32]float32)(dst[64*j+32:])
		for i, q := range (*[32]byte)(b[16+32*j:]) {
			lo[i] = float32(d0*float32(q&15)) - min0
			hi[i] = float32(d1*float32(q>>4)) - min1
		}
	}
}

// scaleMin unpacks the scale and min of group g of a q4_K block. Groups 0–3
// lie in the low 6 bits of bytes g and g+4; groups 4–7 have their low 4 bits in
// byte g+4 and their high 2 bits on top of groups 0–3.
func scaleMin(p *[12]byte, g int) (scale, least uint8) {
	if g < 4 {
		return p[g] & 63, p[g+4] & 63
	}
	return p[g+4]&15 | p[g-4]>>6<<4, p[g+4]>>4 | p[g]>>6<<4
}

// q6_K: 128 bytes of low 4 bits, 64 bytes of high 2 bits, int8 s[16], half d.
// Group g of 16 has x = (d·s[g])·(q−32). Each half of the block is four runs of
// 32 elements: the runs take their low bits from the low halves of 64 bytes,
// then from the high halves, and their high bits from bits 0–1, 2–3, 4–5 and
// 6–7 of 32 bytes.
func q6_K(dst *[256]float32, b *[210]byte) {
	var ds [16]float32
	d := half(b[208:])
	for i, s := range b[192:208] {
		ds[i] = d * float32(int8(s))
	}
	for n := range 2 {
		out := (*[128]float32)(dst[128*n:])
		low, high := (*[64]byte)(b[64*n:]), (*[32]byte)(b[128+32*n:])
		s := (*[8]float32)(ds[8*n:])
		for i, h := range high {
			k := i / 16
			out[i] = s[k] * float32(int(low[i]&15|h&3<<4)-32)
			out[i+32] = s[k+2] * float32(int(low[i+32]&15|h>>2&3<<4)-32)
			out[i+64] = s[k+4] * float32(int(low[i]>>4|h>>4&3<<4)-32)
			out[i+96] = s[k+6] * float32(int(low[i+32]>>4|h>>6<<4)-32)
		}
	}
}

// half returns the IEEE 754 half-precision number at the start of b.
func half(b []byte) float32 {
	h := uint32(binary.LittleEndian.Uint16(b))
	sign, rest := h&0x8000<<16, h&0x7fff<<13 // exponent and mantissa in place
	switch h & 0x7c00 {
	case 0: // zero or subnormal: take the implied 1 off again
		const one = 113 << 23 // 2⁻¹⁴
		x := math.Float32frombits(rest|one) - math.Float32frombits(one)
		return math.Float32frombits(math.Float32bits(x) | sign)
	case 0x7c00: // infinity or NaN
		return math.Float32frombits(sign | rest | 0xff<<23)
	}
	return math.Float32frombits(sign | (rest + 112<<23))
}
