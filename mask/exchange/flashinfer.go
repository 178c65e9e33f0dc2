// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"fmt"
	"math"
	"slices"
)

// flashInferArrays are arguments of flashinfer.BlockSparseAttentionWrapper.plan under their names there, and mask_indptr,
// the offsets that it computes itself. N is padded to whole blocks, since plan wants it so: keys and values are to be
// padded to it.
//
// Bits are FlashInfer's: for every row of blocks, every query token's bits over the row's blocks one after the other, first
// token at the lowest bit, and every row of blocks starts at a new byte. They cover the full blocks too.
func flashInferArrays(b Blocks) ([]array, error) {
	size, side, tokens := b.BlockSize(), b.Side(), b.Tokens()
	indptr, indices, offsets := make([]int32, side+1), []int32(nil), make([]int32, side+1)
	total := int64(0)
	for i := range side {
		cols, _ := b.Row(i)
		indices = append(indices, cols...)
		rows := min(size, tokens-i*size)
		total += (int64(rows)*int64(len(cols))*int64(size) + 7) / 8
		if total > math.MaxInt32 {
			return nil, &LimitError{What: "FlashInfer's offsets into packed bits", Bytes: total, Limit: math.MaxInt32}
		}
		indptr[i+1], offsets[i+1] = int32(len(indices)), int32(total)
	}
	return []array{
		scalar("M", int64(tokens)), scalar("N", int64(side)*int64(size)), scalar("R", int64(size)), scalar("C", int64(size)),
		ofSlice("indptr", int32s, indptr),
		ofSlice("indices", int32s, indices),
		ofSlice("mask_indptr", int32s, offsets),
		{name: "packed_mask", dtype: uint8s, shape: []int{int(total)}, write: func(w *bufio.Writer) error {
			var bitmaps [][]uint64
			stride := (size + 63) / 64
			for i := range side {
				cols, _ := b.Row(i)
				for len(bitmaps) < len(cols) {
					bitmaps = append(bitmaps, nil)
				}
				for k, j := range cols {
					bitmaps[k] = b.Bitmap(bitmaps[k], i, int(j))
				}
				out := bitWriter{w: w}
				for r := range min(size, tokens-i*size) {
					for k := range cols {
						out.write(bitmaps[k][r*stride:][:stride], size)
					}
				}
				if err := out.end(); err != nil {
					return err
				}
			}
			return nil
		}},
	}, nil
}

// bitWriter writes bits, the first at the lowest bit of a byte. The writer's error is reported by end.
type bitWriter struct {
	w   *bufio.Writer
	acc uint64
	n   int // bits in acc, below 8
}

// write writes the first n bits of a row of words.
func (b *bitWriter) write(row []uint64, n int) {
	for c := 0; c < n; c += 8 {
		width := min(8, n-c)
		v := row[c/64] >> (c % 64) & (1<<width - 1)
		b.acc |= v << b.n
		if b.n += width; b.n >= 8 {
			b.w.WriteByte(byte(b.acc))
			b.acc >>= 8
			b.n -= 8
		}
	}
}

// end pads to a whole byte.
func (b *bitWriter) end() error {
	if b.n > 0 {
		b.w.WriteByte(byte(b.acc))
	}
	b.acc, b.n = 0, 0
	_, err := b.w.Write(nil)
	return err
}

// readFlashInfer reads what flashInferArrays writes; mask_indptr follows from the rest. Without packed_mask all blocks are
// full, as for plan.
func readFlashInfer(f *reader) (*Matrix, error) {
	var shape [4]int // M, N, R, C
	for k, name := range []string{"M", "N", "R", "C"} {
		var err error
		if shape[k], err = f.scalar(name); err != nil {
			return nil, err
		}
	}
	tokens, size := shape[0], shape[2]
	if shape[3] != size {
		return nil, fmt.Errorf("blocks of %d×%d tokens are not read, only square ones", size, shape[3])
	}
	b, err := f.matrix(tokens, size)
	if err != nil {
		return nil, err
	}
	if n := shape[1]; n != tokens && n != b.side*size {
		return nil, fmt.Errorf("%d queries and %d keys; a mask has as many of each, the keys padded to whole blocks or not", tokens, n)
	}
	l, err := f.rows(b.side)
	if err != nil {
		return nil, err
	}
	if !f.has("packed_mask") {
		return f.fill(b, &list{num: make([]int32, b.side)}, l)
	}
	packed, err := f.array("packed_mask")
	if err != nil {
		return nil, err
	}
	if packed.dtype != uint8s {
		return nil, fmt.Errorf("array \"packed_mask\" is of type %v, want bytes", packed.dtype)
	}
	data, at := packed.data, 0
	bit := make([]uint64, (size+63)/64)
	for i := range b.side {
		cols := l.indices[at : at+int(l.num[i])]
		at += len(cols)
		rows := min(size, tokens-i*size)
		n := (int64(rows)*int64(len(cols))*int64(size) + 7) / 8
		if n > int64(len(data)) {
			return nil, fmt.Errorf("array \"packed_mask\" ends within row %d of blocks", i)
		}
		in := bitReader{data: data[:n]}
		data = data[n:]
		if len(cols) == 0 {
			rows = 0
		}
		for r := range rows {
			for _, j := range cols {
				clear(bit)
				in.read(bit, size)
				bitmap, err := b.block(int(j))
				if err != nil {
					return nil, err
				}
				copy(bitmap[r*b.stride:][:b.stride], bit)
				if over := int(j)*size + size - tokens; over > 0 && anySet(bit, size-over, size) {
					return nil, fmt.Errorf("block (%d, %d): bits beyond the last token are set", i, j)
				}
			}
		}
		if err := b.endRow(); err != nil {
			return nil, err
		}
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("array \"packed_mask\" has %d bytes after the last row of blocks", len(data))
	}
	return b.done(), nil
}

// bitReader is the inverse of bitWriter.
type bitReader struct {
	data []byte
	acc  uint64
	n    int
}

// read reads n bits into a row of words that is 0.
func (b *bitReader) read(row []uint64, n int) {
	for c := 0; c < n; c += 8 {
		width := min(8, n-c)
		if b.n < width {
			b.acc |= uint64(b.data[0]) << b.n
			b.data = b.data[1:]
			b.n += 8
		}
		row[c/64] |= b.acc & (1<<width - 1) << (c % 64)
		b.acc >>= width
		b.n -= width
	}
}

// anySet reports whether one of the bits lo ≤ c < hi of a row is set.
func anySet(row []uint64, lo, hi int) bool {
	for c := lo; c < hi; c++ {
		if row[c/64]>>(c%64)&1 == 1 {
			return true
		}
	}
	return false
}

// rows reads indptr and indices: rows of ascending columns below side.
func (f *reader) rows(side int) (*list, error) {
	p, err := f.array("indptr")
	if err != nil {
		return nil, err
	}
	indptr, err := p.ints()
	if err != nil {
		return nil, err
	}
	c, err := f.array("indices")
	if err != nil {
		return nil, err
	}
	column, err := c.intAt()
	if err != nil {
		return nil, err
	}
	n := int64(len(c.data) / c.dtype.size())
	if len(indptr) != side+1 || indptr[0] != 0 || indptr[side] != n {
		return nil, fmt.Errorf("array \"indptr\" is of %d numbers and ends with %v, want %d that end with the %d of \"indices\"",
			len(indptr), slices.Clone(indptr[max(0, len(indptr)-1):]), side+1, n)
	}
	l := &list{num: make([]int32, side), indices: make([]int32, n)}
	for i := range side {
		if indptr[i+1] < indptr[i] || indptr[i+1] > n || indptr[i+1]-indptr[i] > int64(side) {
			return nil, fmt.Errorf("array \"indptr\": row %d is from %d to %d of %d", i, indptr[i], indptr[i+1], n)
		}
		l.num[i] = int32(indptr[i+1] - indptr[i])
		last := int64(-1)
		for k := indptr[i]; k < indptr[i+1]; k++ {
			j := column(int(k))
			if j <= last || j >= int64(side) {
				return nil, fmt.Errorf("array \"indices\": row %d has column %d after %d, want ascending ones below %d", i, j, last, side)
			}
			l.indices[k] = int32(j)
			last = j
		}
	}
	return l, nil
}
