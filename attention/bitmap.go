// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math/bits"
)

// wordBits is the number of keys in one word of a Bitmap, and also in one block
// of keys, so that a row's view of a block is one word.
const wordBits = 64

// Bitmap says which keys of a part each query row may see. A new one hides all.
// It may be read concurrently, but not while it is changed.
type Bitmap struct {
	rows, cols, stride int
	words              []uint64
	row0, col0         int // the row and the key of the first bit: not 0 in a window of a mask
}

// NewBitmap returns a bitmap of rows × cols cleared bits. It panics if a size is
// negative.
func NewBitmap(rows, cols int) *Bitmap {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("attention: bitmap of %d × %d", rows, cols))
	}
	stride := (cols + wordBits - 1) / wordBits
	return &Bitmap{rows: rows, cols: cols, stride: stride, words: make([]uint64, rows*stride)}
}

// Rows returns the number of query rows.
func (b *Bitmap) Rows() int { return b.rows }

// Cols returns the number of keys.
func (b *Bitmap) Cols() int { return b.cols }

// Get reports whether row i may see key j. It panics if either is out of range.
func (b *Bitmap) Get(i, j int) bool {
	b.check(i, j, j+1)
	return b.words[i*b.stride+j/wordBits]>>(j%wordBits)&1 != 0
}

// Set lets row i see key j. It panics if either is out of range.
func (b *Bitmap) Set(i, j int) { b.SetRange(i, j, j+1) }

// SetRange lets row i see the keys lo ≤ j < hi. It panics if the row or the
// range is out of bounds.
func (b *Bitmap) SetRange(i, lo, hi int) {
	b.check(i, lo, hi)
	for w := lo / wordBits; w*wordBits < hi; w++ {
		b.words[i*b.stride+w] |= span(lo-w*wordBits, hi-w*wordBits)
	}
}

// Clear hides key j from row i. It panics if either is out of range.
func (b *Bitmap) Clear(i, j int) {
	b.check(i, j, j+1)
	b.words[i*b.stride+j/wordBits] &^= 1 << (j % wordBits)
}

// Count returns the number of pairs of a row and a key that it may see.
func (b *Bitmap) Count() int {
	n := 0
	for _, w := range b.words {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b *Bitmap) check(i, lo, hi int) {
	if i < 0 || i >= b.rows || lo < 0 || hi > b.cols || lo > hi {
		panic(fmt.Sprintf("attention: row %d, keys [%d, %d) outside a bitmap of %d × %d", i, lo, hi, b.rows, b.cols))
	}
}

// span returns a word with the bits lo ≤ i < hi set; the bounds are clamped to
// the word.
func span(lo, hi int) uint64 {
	lo, hi = max(lo, 0), min(hi, wordBits)
	if lo >= hi {
		return 0
	}
	return ^uint64(0) >> (wordBits - hi) &^ (1<<lo - 1)
}
