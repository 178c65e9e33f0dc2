// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import "fmt"

// Tensor is one tensor of a file.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // in GGUF order: Shape[0] is the row length; must not be changed; empty for a scalar

	// Offset is where Data starts in the file.
	Offset int64

	// Data holds the rows, one after the other. It is a view of the mapped
	// file: it must not be written to, nor used after [File.Close].
	Data []byte

	file         *File
	rowLen, rows int
}

// RowLen returns the number of elements in a row.
func (t Tensor) RowLen() int { return t.rowLen }

// Rows returns the number of rows: the product of all dimensions but the first.
func (t Tensor) Rows() int { return t.rows }

// Row expands row i into dst[:t.RowLen()]. It allocates nothing and may be
// called by several goroutines at once. The error matches [ErrUnsupported] if
// the tensor's type has no dequantiser, [ErrClosed] if the file was closed.
func (t Tensor) Row(dst []float32, i int) error {
	if i < 0 || i >= t.rows {
		return fmt.Errorf("gguf: tensor %q: row %d of %d", t.Name, i, t.rows)
	}
	if len(dst) < t.rowLen {
		return fmt.Errorf("gguf: tensor %q: row length %d, the destination holds %d", t.Name, t.rowLen, len(dst))
	}
	if t.file.closed.Load() {
		return fmt.Errorf("%w: tensor %q", ErrClosed, t.Name)
	}
	n := len(t.Data) / t.rows
	if err := Dequantize(dst[:t.rowLen], t.Type, t.Data[i*n:(i+1)*n]); err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return nil
}
