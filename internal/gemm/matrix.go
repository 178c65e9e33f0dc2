// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"unsafe"
)

// Panel is how many output rows of W stand side by side in packed form.
const Panel = 16

// ShapeError is what a function of this package panics with when a dimension or a slice does not fit.
type ShapeError struct {
	Func   string // the function called
	Detail string // the argument and its limit
}

func (e *ShapeError) Error() string { return "gemm: " + e.Func + ": " + e.Detail }

func fail(name, format string, args ...any) {
	panic(&ShapeError{Func: name, Detail: fmt.Sprintf(format, args...)})
}

// Matrix is a weight matrix W with n output rows of k inputs each, packed once for Mul: panels [ceil(n/16)][k][16], where place j of
// panel p holds row 16p+j. The layout does not depend on the machine. Rows beyond n in the last panel stay zero.
type Matrix struct {
	n, k   int
	panels []float32 // starts on a cache line
}

// NewMatrix returns an all-zero packed matrix of n rows and k columns.
func NewMatrix(n, k int) *Matrix {
	if n < 0 || k < 0 {
		fail("NewMatrix", "negative dimension in %d × %d", n, k)
	}
	return &Matrix{n: n, k: k, panels: aligned((n + Panel - 1) / Panel * Panel * k)}
}

// SetRow packs row, which must have length K, as output row i. Calls for different i may run at the same time.
func (m *Matrix) SetRow(i int, row []float32) {
	if i < 0 || i >= m.n {
		fail("SetRow", "row %d of a matrix of %d rows", i, m.n)
	}
	if len(row) != m.k {
		fail("SetRow", "row of %d values for a matrix of %d columns", len(row), m.k)
	}
	if m.k == 0 {
		return
	}
	dst := m.panels[i/Panel*Panel*m.k+i%Panel:]
	for j, v := range row {
		dst[j*Panel] = v
	}
}

// N returns the number of output rows.
func (m *Matrix) N() int { return m.n }

// K returns the number of inputs per row.
func (m *Matrix) K() int { return m.k }

// Bytes returns the size of the packed weights.
func (m *Matrix) Bytes() int64 { return 4 * int64(len(m.panels)) }

// aligned returns n zeros that start on a 64-byte boundary, so that one packed step of 16 is one cache line. The collector does not move
// heap objects.
func aligned(n int) []float32 {
	const line = 64 / 4
	s := make([]float32, n+line-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(s)))/4) & (line - 1)
	return s[skip : skip+n : skip+n]
}
