// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
)

// Format is how the numbers of keys and values are stored. Whatever it is, they are widened to float32 as they are read, and summed in
// float32.
type Format uint8

const (
	F32  Format = iota // 4 bytes a number, exact
	F16                // 2 bytes, IEEE 754 half precision: 11 significant bits up to 65504; larger ones become infinite
	BF16               // 2 bytes, the upper half of a float32: 8 significant bits
	I8                 // 1 byte, and a float32 scale for each token and head, of keys and of values: the largest number is ±127 scales
)

func (f Format) String() string {
	switch f {
	case F32:
		return "f32"
	case F16:
		return "f16"
	case BF16:
		return "bf16"
	case I8:
		return "i8"
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Valid reports whether f is one of the formats above.
func (f Format) Valid() bool { return f <= I8 }

// Formats returns all formats.
func Formats() []Format { return []Format{F32, F16, BF16, I8} }

// bytes returns the size of a number.
func (f Format) bytes() int {
	switch f {
	case F32:
		return 4
	case I8:
		return 1
	}
	return 2
}

// toF16 rounds to the nearest half-precision number, ties to even.
func toF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign, b := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 // NaN
	case b >= 0x477ff000: // 65520 rounds up
		return sign | 0x7c00
	case b < 0x38800000: // below 2⁻¹⁴: the sum's last place is 2⁻²⁴, that of a denormal number
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5))
	}
	b += 0x0fff + b>>13&1
	return sign | uint16(b>>13-(127-15)<<10)
}

// fromF16 widens a half-precision number.
func fromF16(h uint16) float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		if frac != 0 {
			frac |= 0x200 // quiet, as the conversion instruction makes it
		}
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// toBF16 rounds to the nearest bfloat16, ties to even.
func toBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// scaleI8 returns what one step of an 8-bit number stands for. It is NaN if a number is not finite, which makes all of them NaN.
func scaleI8(x []float32) float32 {
	top := uint32(0) // magnitudes are ordered like their bits
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	if top >= 0x7f800000 {
		return float32(math.NaN())
	}
	scale := math.Float32frombits(top) / 127
	if scale*127 > math.MaxFloat32 {
		scale = math.Nextafter32(scale, 0)
	}
	return scale
}

// inverseI8 returns what numbers are multiplied by before toI8 rounds them.
func inverseI8(scale float32) float32 {
	if scale < 0x1p-126 { // too small for the inverse: all numbers become 0
		return 0
	}
	return 1 / scale
}

// toI8 rounds x, within ±127, to the nearest integer, ties to even.
func toI8(x float32) int8 { return int8(math.Float32bits(x + 0x1.8p23)) }
