// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/graphkv/graphkv/posenc"
)

// Limits of New.
const (
	// MaxBlockSize is the largest block size.
	MaxBlockSize = 1 << 15
	// MaxTokens is the largest number of tokens; the number of allowed pairs then fits an int64.
	MaxTokens = math.MaxInt32
	// MaxBlocks is the largest number of blocks that are not empty.
	MaxBlocks = 1 << 28
)

// Kind says how much of a block is allowed.
type Kind uint8

const (
	Empty   Kind = iota // no pair is allowed
	Partial             // some pairs are, see Bitmap
	Full                // all pairs are, up to the last token
)

func (k Kind) String() string {
	switch k {
	case Empty:
		return "empty"
	case Partial:
		return "partial"
	case Full:
		return "full"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Block is a block that is not empty: query tokens from Row·BlockSize, key tokens from Col·BlockSize.
type Block struct {
	Row, Col int
	Kind     Kind
}

// Mask is an immutable block-sparse attention mask. It is safe for concurrent use.
type Mask struct {
	layout    *posenc.Layout
	blockSize int
	side      int   // blocks per axis
	offsets   []int // nodes+1: first token of each node
	srcPtr    []int // nodes+1 offsets into sources
	sources   []int32
	rowPtr    []int // side+1 offsets into cols and kinds
	cols      []int32
	kinds     []Kind
	nnz       int64
	full      int
}

// New lowers a layout to blocks of blockSize × blockSize tokens, 1 ≤ blockSize ≤ MaxBlockSize. The last row and column are
// cut off at the last token. A layout with repairs must be lowered first, see [posenc.Layout.Lower]. A small block size on dense layouts can make more than MaxBlocks blocks, which is an error.
func New(l *posenc.Layout, blockSize int) (*Mask, error) {
	m, _, err := build(l, blockSize, MaxBlocks)
	return m, err
}

// Layout returns the layout that the mask was made from.
func (m *Mask) Layout() *posenc.Layout { return m.layout }

// BlockSize returns the number of tokens along the side of a block.
func (m *Mask) BlockSize() int { return m.blockSize }

// Tokens returns the number of tokens along an axis.
func (m *Mask) Tokens() int { return m.offsets[len(m.offsets)-1] }

// Side returns the number of blocks along an axis, ⌈Tokens / BlockSize⌉.
func (m *Mask) Side() int { return m.side }

// Span returns the range of tokens [from, to) that belong to a node of the layout.
func (m *Mask) Span(node int) (from, to int) { return m.offsets[node], m.offsets[node+1] }

// Node returns the node of the layout that a token belongs to, 0 ≤ token < Tokens, by binary search.
func (m *Mask) Node(token int) int {
	lo, hi := 0, len(m.offsets)-1 // offsets[lo] ≤ token < offsets[hi]
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) >> 1); m.offsets[mid] <= token {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// seen returns the sources of a node in ascending order.
func (m *Mask) seen(node int) []int32 { return m.sources[m.srcPtr[node]:m.srcPtr[node+1]] }

// Allowed reports whether query token q may see key token k. Tokens outside the mask see nothing and are not seen.
func (m *Mask) Allowed(q, k int) bool {
	if q < 0 || k < 0 || q >= m.Tokens() || k >= m.Tokens() {
		return false
	}
	reader := m.Node(q)
	if from, to := m.Span(reader); k >= from && k < to {
		return k <= q || m.layout.Node(reader).Bidirectional
	}
	_, ok := slices.BinarySearch(m.seen(reader), int32(m.Node(k)))
	return ok
}

// Row returns the blocks of row i that are not empty: their columns, ascending, and their kinds. Both are views and must
// not be changed.
func (m *Mask) Row(i int) (cols []int32, kinds []Kind) {
	lo, hi := m.rowPtr[i], m.rowPtr[i+1]
	return m.cols[lo:hi:hi], m.kinds[lo:hi:hi]
}

// RowPtr returns the offsets of all rows, Side+1 of them, into the arrays of Cols and Kinds. It is a view and must not be
// changed.
func (m *Mask) RowPtr() []int { return m.rowPtr }

// Cols returns the columns of all blocks, row by row; a view that must not be changed.
func (m *Mask) Cols() []int32 { return m.cols }

// Kinds returns the kinds of all blocks, row by row; a view that must not be changed.
func (m *Mask) Kinds() []Kind { return m.kinds }

// Block returns the kind of block (i, j), 0 ≤ i, j < Side.
func (m *Mask) Block(i, j int) Kind {
	if j < 0 || j >= m.side {
		panic(fmt.Sprintf("mask: column %d of %d", j, m.side))
	}
	cols, kinds := m.Row(i)
	if at, ok := slices.BinarySearch(cols, int32(j)); ok {
		return kinds[at]
	}
	return Empty
}

// All yields the blocks that are not empty, row by row with ascending columns.
func (m *Mask) All() iter.Seq[Block] {
	return func(yield func(Block) bool) {
		for i := range m.side {
			for at := m.rowPtr[i]; at < m.rowPtr[i+1]; at++ {
				if !yield(Block{Row: i, Col: int(m.cols[at]), Kind: m.kinds[at]}) {
					return
				}
			}
		}
	}
}

// NNZ returns the number of allowed (query token, key token) pairs.
func (m *Mask) NNZ() int64 { return m.nnz }

// NumFull returns the number of full blocks.
func (m *Mask) NumFull() int { return m.full }

// NumPartial returns the number of partial blocks.
func (m *Mask) NumPartial() int { return len(m.kinds) - m.full }

// Density returns the share of all token pairs that is allowed, 0 to 1; one text read causally has slightly more than half.
func (m *Mask) Density() float64 {
	return float64(m.nnz) / float64(m.Tokens()) / float64(m.Tokens())
}

// String describes the mask in one line.
func (m *Mask) String() string {
	return fmt.Sprintf("%d tokens in %d nodes, %d×%d blocks of %d: %d full, %d partial, density %.4f",
		m.Tokens(), m.layout.Len(), m.side, m.side, m.blockSize, m.NumFull(), m.NumPartial(), m.Density())
}
