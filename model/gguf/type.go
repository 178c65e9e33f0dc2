// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"fmt"
	"math"
	"math/bits"
)

// Type is the storage type of a tensor's elements, with the numbers that
// GGUF files use.
type Type uint32

// The tensor types that [Dequantize] reads.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q8_0 Type = 8
	Q4_K Type = 12
	Q6_K Type = 14
	BF16 Type = 30
)

// layout tells how a type stores elements: blocks of elems elements in bytes
// bytes.
type layout struct {
	name         string
	elems, bytes int
}

// layouts lists every type of the format, so that files holding one that
// cannot be expanded still open. The numbers missing here were withdrawn.
var layouts = [...]layout{
	F32:  {"F32", 1, 4},
	F16:  {"F16", 1, 2},
	Q4_0: {"Q4_0", 32, 18},
	Q4_1: {"Q4_1", 32, 20},
	6:    {"Q5_0", 32, 22},
	7:    {"Q5_1", 32, 24},
	Q8_0: {"Q8_0", 32, 34},
	9:    {"Q8_1", 32, 36},
	10:   {"Q2_K", 256, 84},
	11:   {"Q3_K", 256, 110},
	Q4_K: {"Q4_K", 256, 144},
	13:   {"Q5_K", 256, 176},
	Q6_K: {"Q6_K", 256, 210},
	15:   {"Q8_K", 256, 292},
	16:   {"IQ2_XXS", 256, 66},
	17:   {"IQ2_XS", 256, 74},
	18:   {"IQ3_XXS", 256, 98},
	19:   {"IQ1_S", 256, 50},
	20:   {"IQ4_NL", 32, 18},
	21:   {"IQ3_S", 256, 110},
	22:   {"IQ2_S", 256, 82},
	23:   {"IQ4_XS", 256, 136},
	24:   {"I8", 1, 1},
	25:   {"I16", 1, 2},
	26:   {"I32", 1, 4},
	27:   {"I64", 1, 8},
	28:   {"F64", 1, 8},
	29:   {"IQ1_M", 256, 56},
	BF16: {"BF16", 1, 2},
	34:   {"TQ1_0", 256, 54},
	35:   {"TQ2_0", 256, 66},
	39:   {"MXFP4", 32, 17},
	40:   {"NVFP4", 64, 36},
	41:   {"Q1_0", 128, 18},
}

func (t Type) layout() (layout, bool) {
	if int64(t) >= int64(len(layouts)) || layouts[t].elems == 0 {
		return layout{}, false
	}
	return layouts[t], true
}

// size returns how many bytes a tensor of the given shape takes, or what is
// wrong with the shape. The number of its elements fits an int.
func (l layout) size(shape []uint64) (uint64, error) {
	elems := uint64(1)
	for d, n := range shape {
		if n == 0 {
			return 0, fmt.Errorf("dimension %d of %v is 0", d, shape)
		}
		hi, lo := bits.Mul64(elems, n)
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		elems = lo
	}
	rowLen := uint64(1)
	if len(shape) > 0 {
		rowLen = shape[0]
	}
	if rowLen%uint64(l.elems) != 0 {
		return 0, fmt.Errorf("row length %d is not a multiple of %d, the block of %s", rowLen, l.elems, l.name)
	}
	hi, bytes := bits.Mul64(elems/uint64(l.elems), uint64(l.bytes))
	if hi != 0 || bytes > math.MaxInt {
		return 0, fmt.Errorf("shape %v of %s overflows", shape, l.name)
	}
	return bytes, nil
}

// String returns the type's usual name, such as "Q4_K".
func (t Type) String() string {
	if l, ok := t.layout(); ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Block returns how many elements a block of the type holds and in how many
// bytes, or zeros for a type unknown to this package.
func (t Type) Block() (elems, bytes int) {
	l, _ := t.layout()
	return l.elems, l.bytes
}

// Supported reports whether [Dequantize] reads the type.
func (t Type) Supported() bool {
	switch t {
	case F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K:
		return true
	}
	return false
}

// Kind is the type of a metadata value.
type Kind uint32

// The kinds of metadata values, with the numbers that GGUF files use.
const (
	KindUint8 Kind = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64
)

var kinds = [...]struct {
	name string
	size int // bytes, 0 if it varies
}{
	KindUint8: {"uint8", 1}, KindInt8: {"int8", 1},
	KindUint16: {"uint16", 2}, KindInt16: {"int16", 2},
	KindUint32: {"uint32", 4}, KindInt32: {"int32", 4},
	KindFloat32: {"float32", 4}, KindBool: {"bool", 1},
	KindString: {"string", 0}, KindArray: {"array", 0},
	KindUint64: {"uint64", 8}, KindInt64: {"int64", 8},
	KindFloat64: {"float64", 8},
}

func (k Kind) known() bool { return int64(k) < int64(len(kinds)) }

// String returns the kind's name, such as "uint32".
func (k Kind) String() string {
	if k.known() {
		return kinds[k].name
	}
	return fmt.Sprintf("kind %d", uint32(k))
}
