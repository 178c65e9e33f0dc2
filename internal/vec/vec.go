// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package vec holds the element-wise and reduction kernels that a transformer needs beside matrix products.
//
// Every function has one fixed order of operations, so a result depends on the arguments alone. Functions whose value passes through an
// exponential or a root compute in float64 inside: with scalar code it costs no more than float32 and leaves one rounding at the end.
// Products that are added are rounded first (float32(a*b)), which keeps the compiler from fusing them on some architectures only.
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
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}

// Axpy adds a·x to y, with the product rounded before it is added.
func Axpy(a float32, x, y []float32) {
	check("Axpy", len(y), len(x))
	x = x[:len(y)]
	for i := range y {
		y[i] += float32(a * x[i])
	}
}

// Dot returns Σ xᵢ·yᵢ in float32. Eight running sums take every eighth product and are added in pairs at the end; its error is below
// (n/8+4)·2⁻²⁴·Σ|xᵢ·yᵢ| to first order.
func Dot(x, y []float32) float32 {
	check("Dot", len(x), len(y))
	y = y[:len(x)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(x) >= 8 && len(y) >= 8 {
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		s4 += float32(x[4] * y[4])
		s5 += float32(x[5] * y[5])
		s6 += float32(x[6] * y[6])
		s7 += float32(x[7] * y[7])
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		s0 += float32(v * y[i])
	}
	return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

// RMSNorm writes xᵢ/√(mean(x²)+eps)·wᵢ to dst (Zhang and Sennrich 2019, equation 4). The sum of squares and the scaling are in float64, so
// the result is within one unit in the last place and large activations do not overflow. An empty x is left as it is.
func RMSNorm(dst, x, w []float32, eps float32) {
	check("RMSNorm", len(dst), len(x))
	check("RMSNorm", len(dst), len(w))
	if len(x) == 0 {
		return
	}
	var s0, s1, s2, s3 float64
	r := x
	for len(r) >= 4 {
		a, b, c, d := float64(r[0]), float64(r[1]), float64(r[2]), float64(r[3])
		s0 += float64(a * a)
		s1 += float64(b * b)
		s2 += float64(c * c)
		s3 += float64(d * d)
		r = r[4:]
	}
	for _, v := range r {
		s0 += float64(float64(v) * float64(v))
	}
	scale := 1 / math.Sqrt(((s0+s1)+(s2+s3))/float64(len(x))+float64(eps))
	x, w = x[:len(dst)], w[:len(dst)]
	for i := range dst {
		dst[i] = float32(float64(x[i]) * scale * float64(w[i]))
	}
}
