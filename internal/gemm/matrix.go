// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"unsafe"

	"github.com/graphkv/graphkv/internal/mem"
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

// Matrix is a weight matrix W with n output rows of k inputs each, packed once for Mul: ceil(n/16) panels of 16 rows, of which place j of
// panel p holds row 16p+j. Float32 panels are [k][16]. In other formats, for which see Format, four panels make one stream: the first block
// of each, then the second of each, and so on (as many as there are in the last stream). The layout does not depend on the machine. Rows beyond n in the last panel stay zero.
type Matrix struct {
	n, k   int
	format Format
	panels []float32 // F32; starts on a cache line
	packed []byte    // all other formats; starts on a cache line
}

// NewMatrix returns an all-zero packed matrix of n rows and k columns in float32.
func NewMatrix(n, k int) *Matrix { return NewMatrixOf(F32, n, k) }

// NewMatrixOf returns an all-zero packed matrix of n rows and k columns whose weights are kept in format f. It panics with a *ShapeError if
// k is not a multiple of f.Block().
func NewMatrixOf(f Format, n, k int) *Matrix { return newMatrix(mem.Floats, f, n, k) }

func newMatrix(alloc func(floats int) []float32, f Format, n, k int) *Matrix {
	if n < 0 || k < 0 {
		fail("NewMatrixOf", "negative dimension in %d × %d", n, k)
	}
	if int(f) >= len(formats) {
		fail("NewMatrixOf", "unknown format %d", f)
	}
	if k%f.Block() != 0 {
		fail("NewMatrixOf", "%d columns are not blocks of %d, as %v has them", k, f.Block(), f)
	}
	m := &Matrix{n: n, k: k, format: f}
	x := alloc(int(m.Bytes() / 4)) // panels are multiples of 16 bytes
	if f == F32 {
		m.panels = x
	} else {
		m.packed = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	}
	return m
}

// SetRow packs row, which must have length K, as output row i of a matrix in F32. Calls for different i may run at the same time.
func (m *Matrix) SetRow(i int, row []float32) {
	if m.format != F32 {
		fail("SetRow", "float32 row for a matrix in %v", m.format)
	}
	m.checkRow("SetRow", i)
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

func (m *Matrix) checkRow(name string, i int) {
	if i < 0 || i >= m.n {
		fail(name, "row %d of a matrix of %d rows", i, m.n)
	}
}

// N returns the number of output rows.
func (m *Matrix) N() int { return m.n }

// K returns the number of inputs per row.
func (m *Matrix) K() int { return m.k }

// Format returns how the weights are kept.
func (m *Matrix) Format() Format { return m.format }

// Bytes returns the size of the packed weights.
func (m *Matrix) Bytes() int64 {
	l := &formats[m.format]
	return int64(m.numPanels()) * int64(m.k/l.block*l.packed)
}

func (m *Matrix) numPanels() int { return (m.n + Panel - 1) / Panel }

// together is how many panels lie in one stream; the generator knows the same number.
const together = 4

// blocks returns the packed weights from panel p and step k0 on, and how far apart the blocks of a panel are. Panels of the same stream
// follow each other block by block.
func (m *Matrix) blocks(p, k0 int) (b []byte, stride int) {
	l := &formats[m.format]
	first := p / together * together
	stride = min(together, m.numPanels()-first) * l.packed
	return m.packed[first*(m.k/l.block)*l.packed+k0/l.block*stride+(p-first)*l.packed:], stride
}
