// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"fmt"
	"slices"
)

// Keys returns the metadata keys in file order.
func (f *File) Keys() []string { return slices.Clone(f.h.keys) }

// Value returns the metadata value of a key.
func (f *File) Value(key string) (Value, bool) {
	i, ok := f.h.index[key]
	if !ok {
		return Value{}, false
	}
	return f.h.values[i], true
}

// get returns the value of a key, or an error matching ErrMissing.
func (f *File) get(key string) (Value, error) {
	v, ok := f.Value(key)
	if !ok {
		return v, fmt.Errorf("%w %q", ErrMissing, key)
	}
	return v, nil
}

// mismatch describes a value that is not what was asked for.
func mismatch(key string, v Value, want string) error {
	got := v.kind.String()
	switch v.kind {
	case KindArray:
		got = "array of " + v.elem.String()
	case KindString:
	default:
		got += " " + v.String()
	}
	return fmt.Errorf("%w: key %q is %s, want %s", ErrType, key, got, want)
}

// String returns a string value. Its error matches [ErrMissing] or [ErrType].
func (f *File) String(key string) (string, error) {
	v, err := f.get(key)
	if err != nil {
		return "", err
	}
	if v.kind != KindString {
		return "", mismatch(key, v, "string")
	}
	return v.raw, nil
}

// Uint returns an integer value of any kind that is not negative. Its error
// matches [ErrMissing] or [ErrType].
func (f *File) Uint(key string) (uint64, error) {
	return number(f, key, "an integer of at least 0", Value.uint)
}

// Int returns an integer value of any kind that fits int64. Its error matches
// [ErrMissing] or [ErrType].
func (f *File) Int(key string) (int64, error) {
	return number(f, key, "an integer that fits int64", Value.int)
}

// Float returns a float32 or float64 value. Its error matches [ErrMissing] or
// [ErrType].
func (f *File) Float(key string) (float64, error) {
	return number(f, key, "a float", Value.float)
}

// Bool returns a bool value. Its error matches [ErrMissing] or [ErrType].
func (f *File) Bool(key string) (bool, error) {
	v, err := f.get(key)
	if err != nil {
		return false, err
	}
	if v.kind != KindBool {
		return false, mismatch(key, v, "bool")
	}
	return v.raw[0] != 0, nil
}

// Strings returns an array of strings, with one allocation for all of them.
// Its error matches [ErrMissing] or [ErrType].
func (f *File) Strings(key string) ([]string, error) {
	v, err := f.get(key)
	if err != nil {
		return nil, err
	}
	if v.kind != KindArray || v.elem != KindString {
		return nil, mismatch(key, v, "array of string")
	}
	return v.strings(), nil
}

// Ints returns an array of integers of any kind whose elements fit int64. Its
// error matches [ErrMissing] or [ErrType].
func (f *File) Ints(key string) ([]int64, error) {
	return numbers(f, key, "array of integers that fit int64", Value.int)
}

// Floats returns an array of float32 or float64 values. Its error matches
// [ErrMissing] or [ErrType].
func (f *File) Floats(key string) ([]float64, error) {
	return numbers(f, key, "array of floats", Value.float)
}

// number returns a value converted by get.
func number[T any](f *File, key, want string, get func(Value) (T, bool)) (T, error) {
	var none T
	v, err := f.get(key)
	if err != nil {
		return none, err
	}
	x, ok := get(v)
	if !ok {
		return none, mismatch(key, v, want)
	}
	return x, nil
}

// numbers returns an array whose elements get converts.
func numbers[T any](f *File, key, want string, get func(Value) (T, bool)) ([]T, error) {
	v, err := f.get(key)
	if err != nil {
		return nil, err
	}
	size := kinds[v.elem].size
	if v.kind != KindArray || size == 0 {
		return nil, mismatch(key, v, want)
	}
	// A zero of the kind tells whether it can be converted at all, so that an
	// empty array of another kind is refused as well.
	if _, ok := get(Value{kind: v.elem, raw: string(make([]byte, size))}); !ok {
		return nil, mismatch(key, v, want)
	}
	out := make([]T, v.n)
	for i := range out {
		x, ok := get(Value{kind: v.elem, raw: v.raw[i*size : (i+1)*size]})
		if !ok {
			return nil, fmt.Errorf("%w (element %d)", mismatch(key, v, want), i)
		}
		out[i] = x
	}
	return out, nil
}
