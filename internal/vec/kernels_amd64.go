// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package vec

//go:generate go -C _generate run . -out ../vec_amd64.s -stubs ../vec_amd64.go -pkg vec

import (
	"unsafe"

	"github.com/graphkv/graphkv/internal/cpu"
)

// The functions of this file run the current tier's kernel and return true, or return false if the tier has none. They name the kernels and
// do not look them up in a table: arguments of a call through a variable would move to the heap. Lengths are checked by the callers.

func siluMulVector(dst, gate, up []float32) bool {
	d, g, u := unsafe.SliceData(dst), unsafe.SliceData(gate), unsafe.SliceData(up)
	switch cpu.Current() {
	case cpu.AVX512:
		siluMulAVX512(d, g, u, len(dst))
	case cpu.AVX2:
		siluMulAVX2(d, g, u, len(dst))
	default:
		return false
	}
	return true
}

func addVector(dst, x []float32) bool {
	d, s := unsafe.SliceData(dst), unsafe.SliceData(x)
	switch cpu.Current() {
	case cpu.AVX512:
		addAVX512(d, s, len(dst))
	case cpu.AVX2:
		addAVX2(d, s, len(dst))
	default:
		return false
	}
	return true
}

func sumSquaresVector(x []float32) (sum float64, ok bool) {
	a := unsafe.SliceData(x)
	switch cpu.Current() {
	case cpu.AVX512:
		return sumSquaresAVX512(a, len(x)), true
	case cpu.AVX2:
		return sumSquaresAVX2(a, len(x)), true
	}
	return 0, false
}

func scaleMulVector(dst, x, w []float32, scale float64) bool {
	d, a, b := unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(w)
	switch cpu.Current() {
	case cpu.AVX512:
		scaleMulAVX512(d, a, b, scale, len(dst))
	case cpu.AVX2:
		scaleMulAVX2(d, a, b, scale, len(dst))
	default:
		return false
	}
	return true
}

type rotateKernel func(dst, x, table *float32, pairs, rows, heads, nextRow, stride, dim, nextPosition int, cosFactor, sinFactor, scale float32)

func (r *Rows) run(k rotateKernel, dst, x []float32) {
	k(&dst[0], &x[0], &r.Table[r.Position], r.Pairs, r.Rows, r.Heads, r.NextRow, r.Stride, r.Dim, r.NextPosition, r.CosFactor, r.SinFactor, r.Scale)
}

func rotateInterleavedVector(dst, x []float32, r *Rows) bool {
	switch cpu.Current() {
	case cpu.AVX512:
		r.run(rotateInterleavedAVX512, dst, x)
	case cpu.AVX2:
		r.run(rotateInterleavedAVX2, dst, x)
	default:
		return false
	}
	return true
}

func rotateHalfSplitVector(dst, x []float32, r *Rows) bool {
	switch cpu.Current() {
	case cpu.AVX512:
		r.run(rotateHalfSplitAVX512, dst, x)
	case cpu.AVX2:
		r.run(rotateHalfSplitAVX2, dst, x)
	default:
		return false
	}
	return true
}
