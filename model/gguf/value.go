// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Value is one metadata value. It stays valid after [File.Close].
type Value struct {
	kind, elem Kind
	n          int    // elements of an array
	raw        string // checked bytes: the text, the number or all elements
}

// Kind returns the value's kind.
func (v Value) Kind() Kind { return v.kind }

// Elem returns the kind of an array's elements; it is meaningful only if Kind
// is KindArray.
func (v Value) Elem() Kind { return v.elem }

// Len returns the number of elements of an array, the bytes of a string, or 0.
func (v Value) Len() int {
	switch v.kind {
	case KindArray:
		return v.n
	case KindString:
		return len(v.raw)
	}
	return 0
}

// Any returns the value as a Go value: a number of the kind's own type, bool,
// string, a slice of one of these, or []any holding such slices for an array
// of arrays. Slices are fresh copies.
func (v Value) Any() any {
	r := v.raw
	switch v.kind {
	case KindArray:
		return v.slice()
	case KindUint8:
		return r[0]
	case KindInt8:
		return int8(r[0])
	case KindUint16:
		return le16(r)
	case KindInt16:
		return int16(le16(r))
	case KindUint32:
		return le32(r)
	case KindInt32:
		return int32(le32(r))
	case KindFloat32:
		return math.Float32frombits(le32(r))
	case KindBool:
		return r[0] != 0
	case KindUint64:
		return le64(r)
	case KindInt64:
		return int64(le64(r))
	case KindFloat64:
		return math.Float64frombits(le64(r))
	}
	return r
}

func (v Value) slice() any {
	switch v.elem {
	case KindUint8:
		return []uint8(v.raw)
	case KindInt8:
		return decode(v, func(s string) int8 { return int8(s[0]) })
	case KindUint16:
		return decode(v, le16)
	case KindInt16:
		return decode(v, func(s string) int16 { return int16(le16(s)) })
	case KindUint32:
		return decode(v, le32)
	case KindInt32:
		return decode(v, func(s string) int32 { return int32(le32(s)) })
	case KindFloat32:
		return decode(v, func(s string) float32 { return math.Float32frombits(le32(s)) })
	case KindBool:
		return decode(v, func(s string) bool { return s[0] != 0 })
	case KindString:
		return v.strings()
	case KindUint64:
		return decode(v, le64)
	case KindInt64:
		return decode(v, func(s string) int64 { return int64(le64(s)) })
	case KindFloat64:
		return decode(v, func(s string) float64 { return math.Float64frombits(le64(s)) })
	}
	out := make([]any, v.n)
	p := &parser{buf: v.raw}
	for i := range out {
		inner, err := p.array(1)
		if err != nil {
			panic(err) // the same code walked these bytes when the file was opened
		}
		out[i] = inner.slice()
	}
	return out
}

// decode returns the elements of an array of numbers.
func decode[T any](v Value, get func(string) T) []T {
	size := kinds[v.elem].size
	out := make([]T, v.n)
	for i := range out {
		out[i] = get(v.raw[i*size:])
	}
	return out
}

// strings returns the elements of an array of strings, as views of the header.
func (v Value) strings() []string {
	out := make([]string, v.n)
	raw := v.raw
	for i := range out {
		n := 8 + int(le64(raw))
		out[i], raw = raw[8:n], raw[n:]
	}
	return out
}

// String formats the value for people: text in quotes and cut when long, and
// only the first elements of an array.
func (v Value) String() string {
	switch v.kind {
	case KindString:
		return strconv.Quote(shorten(v.raw, 256))
	case KindArray:
	default:
		return fmt.Sprint(v.Any())
	}
	const most = 8
	var b strings.Builder
	fmt.Fprintf(&b, "[%d]%s{", v.n, v.elem)
	shown := min(v.n, most)
	if v.elem == KindArray {
		shown = 0
	}
	raw, size := v.raw, kinds[v.elem].size
	for i := range shown {
		if i > 0 {
			b.WriteString(", ")
		}
		if v.elem == KindString {
			raw, size = raw[8:], int(le64(raw))
		}
		b.WriteString(Value{kind: v.elem, raw: raw[:size]}.String())
		raw = raw[size:]
	}
	if shown < v.n {
		b.WriteString(" …")
	}
	b.WriteString("}")
	return b.String()
}

// uint returns an integer that is not negative; ok is false for anything else.
func (v Value) uint() (u uint64, ok bool) {
	switch v.kind {
	case KindUint8, KindUint16, KindUint32, KindUint64:
		return v.bits(), true
	case KindInt8, KindInt16, KindInt32, KindInt64:
		i := v.signed()
		return uint64(i), i >= 0
	}
	return 0, false
}

// int returns an integer that fits int64; ok is false for anything else.
func (v Value) int() (i int64, ok bool) {
	switch v.kind {
	case KindUint8, KindUint16, KindUint32, KindUint64:
		u := v.bits()
		return int64(u), u <= math.MaxInt64
	case KindInt8, KindInt16, KindInt32, KindInt64:
		return v.signed(), true
	}
	return 0, false
}

func (v Value) float() (x float64, ok bool) {
	switch v.kind {
	case KindFloat32:
		return float64(math.Float32frombits(le32(v.raw))), true
	case KindFloat64:
		return math.Float64frombits(le64(v.raw)), true
	}
	return 0, false
}

// bits returns the bytes of a number as an unsigned integer.
func (v Value) bits() uint64 {
	switch len(v.raw) {
	case 1:
		return uint64(v.raw[0])
	case 2:
		return uint64(le16(v.raw))
	case 4:
		return uint64(le32(v.raw))
	}
	return le64(v.raw)
}

// signed returns the bytes of a signed integer with the sign extended.
func (v Value) signed() int64 {
	unused := 64 - 8*len(v.raw)
	return int64(v.bits()<<unused) >> unused
}
