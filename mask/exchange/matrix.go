// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/graphkv/graphkv/mask"
)

// Blocks is a square boolean matrix in blocks, as [mask.Mask] and [Matrix] are. Row q, column k says whether token q sees
// token k.
type Blocks interface {
	Tokens() int    // along an axis
	BlockSize() int // along the side of a block
	Side() int      // blocks along an axis, ⌈Tokens/BlockSize⌉
	// Row returns the blocks of row i that are not empty: their columns, ascending, and their kinds, which must be exact.
	Row(i int) (cols []int32, kinds []mask.Kind)
	// Bitmap draws block (i, j) into dst, which is grown if need be: BlockSize rows of ⌈BlockSize/64⌉ words, column c at bit
	// c%64 of word c/64, and bits beyond the last token 0.
	Bitmap(dst []uint64, i, j int) []uint64
}

var _ = []Blocks{(*mask.Mask)(nil), (*Matrix)(nil)}

// Matrix is a mask that was read from a file. It is immutable and safe for concurrent use.
type Matrix struct {
	tokens, blockSize, side, stride int

	rowPtr []int // side+1 offsets into cols, kinds and bitmaps
	cols   []int32
	kinds  []mask.Kind
	bitmap []int // where a partial block's bits begin
	bits   []uint64
	nnz    int64
	full   int
}

// Tokens returns the number of tokens along an axis.
func (m *Matrix) Tokens() int { return m.tokens }

// BlockSize returns the number of tokens along the side of a block.
func (m *Matrix) BlockSize() int { return m.blockSize }

// Side returns the number of blocks along an axis.
func (m *Matrix) Side() int { return m.side }

// NNZ returns the number of pairs (q, k) of which q sees k.
func (m *Matrix) NNZ() int64 { return m.nnz }

// NumFull returns the number of full blocks.
func (m *Matrix) NumFull() int { return m.full }

// NumPartial returns the number of partial blocks.
func (m *Matrix) NumPartial() int { return len(m.kinds) - m.full }

// Density returns the share of all pairs that are allowed.
func (m *Matrix) Density() float64 { return float64(m.nnz) / float64(m.tokens) / float64(m.tokens) }

// Row returns the blocks of row i that are not empty, as views that must not be changed.
func (m *Matrix) Row(i int) (cols []int32, kinds []mask.Kind) {
	lo, hi := m.rowPtr[i], m.rowPtr[i+1]
	return m.cols[lo:hi:hi], m.kinds[lo:hi:hi]
}

// Bitmap draws block (i, j), as [mask.Mask.Bitmap] does, and panics if there is no such block.
func (m *Matrix) Bitmap(dst []uint64, i, j int) []uint64 {
	if i < 0 || i >= m.side || j < 0 || j >= m.side {
		panic(fmt.Sprintf("exchange: block (%d, %d) of %d×%d", i, j, m.side, m.side))
	}
	size := m.blockSize * m.stride
	dst = slices.Grow(dst[:0], size)[:size]
	clear(dst)
	cols, kinds := m.Row(i)
	at, ok := slices.BinarySearch(cols, int32(j))
	switch {
	case !ok:
	case kinds[at] == mask.Partial:
		copy(dst, m.bits[m.bitmap[m.rowPtr[i]+at]:])
	default:
		width := min(m.blockSize, m.tokens-j*m.blockSize)
		for r := range min(m.blockSize, m.tokens-i*m.blockSize) {
			setRange(dst[r*m.stride:][:m.stride], 0, width)
		}
	}
	return dst
}

// Allowed reports whether token q sees token k. Tokens outside the matrix see nothing and are not seen.
func (m *Matrix) Allowed(q, k int) bool {
	if min(q, k) < 0 || max(q, k) >= m.tokens {
		return false
	}
	i := q / m.blockSize
	cols, kinds := m.Row(i)
	at, ok := slices.BinarySearch(cols, int32(k/m.blockSize))
	if !ok || kinds[at] == mask.Full {
		return ok
	}
	r, c := q%m.blockSize, k%m.blockSize
	return m.bits[m.bitmap[m.rowPtr[i]+at]+r*m.stride+c/64]>>(c%64)&1 == 1
}

// Picture draws the matrix for logs, see [mask.Picture].
func (m *Matrix) Picture(maxWidth int) string { return mask.Picture(m, maxWidth, nil) }

func (m *Matrix) String() string {
	return fmt.Sprintf("%d tokens, %d×%d blocks of %d: %d full, %d partial, density %.4f",
		m.tokens, m.side, m.side, m.blockSize, m.NumFull(), m.NumPartial(), m.Density())
}

// matrixBuilder puts a Matrix together, row of blocks by row of blocks. Within a row, columns may be touched in any order.
type matrixBuilder struct {
	*Matrix
	limit   int64
	slot    []int32  // per column: 1 + its place in scratch, or 0
	touched []int32  // columns of the row
	scratch []uint64 // the row's bitmaps
}

// newMatrix begins a matrix whose bitmaps may take limit bytes.
func newMatrix(tokens, blockSize int, limit int64) (*matrixBuilder, error) {
	if tokens < 1 || tokens > mask.MaxTokens {
		return nil, fmt.Errorf("%d tokens, want 1 to %d", tokens, mask.MaxTokens)
	}
	if blockSize < 1 || blockSize > mask.MaxBlockSize {
		return nil, fmt.Errorf("block size %d, want 1 to %d", blockSize, mask.MaxBlockSize)
	}
	m := &Matrix{tokens: tokens, blockSize: blockSize, side: (tokens-1)/blockSize + 1, stride: (blockSize + 63) / 64}
	if n := 12 * int64(m.side); n > limit {
		return nil, &LimitError{What: fmt.Sprintf("a mask of %d tokens in blocks of %d", tokens, blockSize), Bytes: n, Limit: limit}
	}
	m.rowPtr = make([]int, 1, m.side+1)
	return &matrixBuilder{Matrix: m, limit: limit, slot: make([]int32, m.side)}, nil
}

// block returns the bitmap of column j in the row at hand, all 0 when it is first asked for.
func (b *matrixBuilder) block(j int) ([]uint64, error) {
	size := b.blockSize * b.stride
	if b.slot[j] == 0 {
		if n := 8 * int64(len(b.bits)+(len(b.touched)+1)*size); n > b.limit {
			return nil, &LimitError{What: fmt.Sprintf("a mask with partial blocks of %d×%d tokens", b.blockSize, b.blockSize), Bytes: n, Limit: b.limit}
		}
		b.touched = append(b.touched, int32(j))
		b.slot[j] = int32(len(b.touched))
		n := len(b.touched) * size
		b.scratch = slices.Grow(b.scratch[:n-size], size)[:n]
		clear(b.scratch[n-size:])
	}
	return b.scratch[(int(b.slot[j])-1)*size:][:size], nil
}

// allow lets token q, which must lie in the row at hand, see the tokens lo ≤ k < hi.
func (b *matrixBuilder) allow(q, lo, hi int) error {
	r := q % b.blockSize
	for lo < hi {
		j := lo / b.blockSize
		end := min((j+1)*b.blockSize, hi)
		bitmap, err := b.block(j)
		if err != nil {
			return err
		}
		setRange(bitmap[r*b.stride:][:b.stride], lo-j*b.blockSize, end-j*b.blockSize)
		lo = end
	}
	return nil
}

// endRow closes the row of blocks at hand: blocks are full, partial or left out by their bits.
func (b *matrixBuilder) endRow() error {
	i := len(b.rowPtr) - 1
	size := b.blockSize * b.stride
	slices.Sort(b.touched)
	for _, j := range b.touched {
		bitmap := b.scratch[(int(b.slot[j])-1)*size:][:size]
		b.slot[j] = 0
		cells := 0
		for _, w := range bitmap {
			cells += bits.OnesCount64(w)
		}
		if cells == 0 {
			continue
		}
		if len(b.cols) == mask.MaxBlocks {
			return fmt.Errorf("more than %d blocks", mask.MaxBlocks)
		}
		kind, at := mask.Partial, len(b.bits)
		if cells == min(b.blockSize, b.tokens-i*b.blockSize)*min(b.blockSize, b.tokens-int(j)*b.blockSize) {
			kind = mask.Full
			b.full++
		} else {
			b.bits = append(b.bits, bitmap...)
		}
		b.cols, b.kinds, b.bitmap = append(b.cols, j), append(b.kinds, kind), append(b.bitmap, at)
		b.nnz += int64(cells)
	}
	b.touched = b.touched[:0]
	b.rowPtr = append(b.rowPtr, len(b.cols))
	return nil
}

// done returns the matrix after its last row.
func (b *matrixBuilder) done() *Matrix {
	if len(b.rowPtr) != b.side+1 {
		panic(fmt.Sprintf("exchange: %d rows of %d", len(b.rowPtr)-1, b.side))
	}
	return b.Matrix
}

// setRange sets the bits lo ≤ c < hi of a bitmap's row.
func setRange(row []uint64, lo, hi int) {
	for lo < hi {
		end := min(lo|63+1, hi)
		row[lo>>6] |= ^uint64(0) >> (64 - (end - lo)) << (lo & 63)
		lo = end
	}
}

// packedStride is the number of bytes of a packed row.
func packedStride(size int) int { return (size + 7) / 8 }

// pack appends a bitmap's rows, each padded to whole bytes: column c at bit c%8 of byte c/8.
func pack(dst []byte, bitmap []uint64, size int) []byte {
	stride, width := (size+63)/64, packedStride(size)
	for r := range size {
		for c := range width {
			dst = append(dst, byte(bitmap[r*stride+c/8]>>(c%8*8)))
		}
	}
	return dst
}

// unpack is the inverse of pack; bits at and beyond rows and cols must be 0.
func unpack(bitmap []uint64, packed []byte, size, rows, cols int) error {
	stride, width := (size+63)/64, packedStride(size)
	for r := range size {
		for c := range width {
			v := packed[r*width+c]
			allowed := byte(0xff)
			if r >= rows {
				allowed = 0
			} else if n := cols - 8*c; n < 8 {
				allowed = 1<<max(n, 0) - 1
			}
			if v&^allowed != 0 {
				return errors.New("bits beyond the last token are set")
			}
			bitmap[r*stride+c/8] |= uint64(v) << (c % 8 * 8)
		}
	}
	return nil
}
