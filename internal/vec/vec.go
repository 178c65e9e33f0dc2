// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package vec holds what a transformer needs beside matrix products and attention: sums, RMS norms, the gated unit and rotations.
//
// There are kernels for AVX2 and AVX-512 (package internal/cpu chooses) and portable code. A function has one fixed order of operations on
// both kinds of vectors, whatever their width: the bits of an element depend on the elements it is computed from and on nothing else, neither
// on its place nor on the length. Add, RMSNorm and the rotations give the same bits in the portable tier too. SiLUMul may round differently
// there, since it computes in float64: with scalar code that costs no more than float32. Products that are added are rounded first
// (float32(a*b)), which keeps the compiler from fusing them on some architectures only.
//
// Slices of one call must have equal lengths, or the call panics with a *LengthError; nothing is written then. A destination may be the
// same slice as a source, but must not overlap one partly.
package vec

import (
	"fmt"
	"math"
)

// LengthError is what a function of this package panics with when the lengths of its slices differ.
type LengthError struct {
	Func      string // the function called
	Want, Got int    // the first slice's length and the one that differs
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("vec: %s: slice of length %d among slices of length %d", e.Func, e.Got, e.Want)
}

func check(name string, want, got int) {
	if want != got {
		panic(&LengthError{Func: name, Want: want, Got: got})
	}
}

// Add adds x to dst.
func Add(dst, x []float32) {
	check("Add", len(dst), len(x))
	if addVector(dst, x) {
		return
	}
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}

// RMSNorm writes xᵢ/√(mean(x²)+eps)·wᵢ to dst (Zhang and Sennrich 2019, equation 4). The sum of squares and the scaling are in float64, so
// the result is within one unit in the last place and large activations do not overflow. An empty x is left as it is.
func RMSNorm(dst, x, w []float32, eps float32) {
	check("RMSNorm", len(dst), len(x))
	check("RMSNorm", len(dst), len(w))
	if len(x) == 0 {
		return
	}
	scale := 1 / math.Sqrt(sumSquares(x)/float64(len(x))+float64(eps))
	if scaleMulVector(dst, x, w, scale) {
		return
	}
	x, w = x[:len(dst)], w[:len(dst)]
	for i := range dst {
		dst[i] = float32(float64(x[i]) * scale * float64(w[i]))
	}
}

// sumSquares returns Σ xᵢ² as 32 running sums, each of every 32nd element, that are added in pairs: what the assembly does as well.
func sumSquares(x []float32) float64 {
	if sum, ok := sumSquaresVector(x); ok {
		return sum
	}
	var s [32]float64
	for lane := 0; lane < len(s); lane += 8 { // eight chains stay in registers
		var s0, s1, s2, s3, s4, s5, s6, s7 float64
		i := lane
		for ; i+8 <= len(x); i += len(s) {
			v := (*[8]float32)(x[i:])
			s0 += float64(float64(v[0]) * float64(v[0]))
			s1 += float64(float64(v[1]) * float64(v[1]))
			s2 += float64(float64(v[2]) * float64(v[2]))
			s3 += float64(float64(v[3]) * float64(v[3]))
			s4 += float64(float64(v[4]) * float64(v[4]))
			s5 += float64(float64(v[5]) * float64(v[5]))
			s6 += float64(float64(v[6]) * float64(v[6]))
			s7 += float64(float64(v[7]) * float64(v[7]))
		}
		*(*[8]float64)(s[lane:]) = [8]float64{s0, s1, s2, s3, s4, s5, s6, s7}
	}
	whole := len(x) &^ 7
	for i, v := range x[whole:] {
		s[(whole+i)%len(s)] += float64(float64(v) * float64(v))
	}
	for i := range 8 {
		s[i] = (s[i] + s[i+8]) + (s[i+16] + s[i+24])
	}
	for h := 4; h > 0; h /= 2 {
		for i := range h {
			s[i] += s[i+h]
		}
	}
	return s[0]
}
