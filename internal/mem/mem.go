// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package mem allocates the memory that kernels stream, which starts on a cache line, and lays what stays for long in large pages.
package mem

import "unsafe"

// Align is what addresses are a multiple of: a cache line, and the widest vector there is.
const Align = 64

// Bytes returns n zeros.
func Bytes(n int) []byte {
	b := make([]byte, n)
	if !Aligned(b) { // today's allocator aligns long slices by itself, which nothing promises
		b = within(make([]byte, n+Align-1), n)
	}
	return b
}

// within returns the first n bytes of b at a multiple of Align.
func within(b []byte, n int) []byte {
	from := -misaligned(b) & (Align - 1)
	return b[from : from+n : from+n]
}

// Floats returns n zeros. The collector does not move heap objects.
func Floats(n int) []float32 {
	const size = 4
	b := Bytes((n*size + Align - 1) &^ (Align - 1))
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/size)[:n:n]
}

// Lasting is Floats for what is filled once and read over and over, such as the weights of a model: in large pages, which the system is asked
// for, reading all of it takes fewer address translations than in thousands of small ones. Making large pages takes the system longer, so it
// does not pay for keys and values, which come and go.
func Lasting(n int) []float32 {
	x := Floats(n)
	preferLargePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*n))
	return x
}

// Aligned reports whether b starts at a multiple of Align.
func Aligned(b []byte) bool { return misaligned(b) == 0 }

// misaligned returns how many bytes after a multiple of Align b starts.
func misaligned(b []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (Align - 1)) }
