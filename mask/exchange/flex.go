// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"fmt"

	"github.com/graphkv/graphkv/mask"
)

// list is one of a BlockMask's pairs of tensors: how many blocks each row has, and which.
type list struct {
	num     []int32 // rows
	indices []int32 // row after row, without padding
	width   int     // of the longest row, at least 1
}

// lists splits the blocks by kind as FlexAttention does: to it a block that the last token cuts off is never full, since
// padding is not visible. Each list is given by rows and, transposed, by columns.
func lists(b Blocks) (partial, full, partialT, fullT *list) {
	side := b.Side()
	ragged := side - 1
	if b.Tokens()%b.BlockSize() == 0 {
		ragged = side
	}
	each := func(f func(full bool, i, j int)) {
		for i := range side {
			cols, kinds := b.Row(i)
			for k, j := range cols {
				f(kinds[k] == mask.Full && i != ragged && int(j) != ragged, i, int(j))
			}
		}
	}
	rows, cols := [2]*list{}, [2]*list{} // partial, full
	for k := range 2 {
		rows[k], cols[k] = &list{num: make([]int32, side)}, &list{num: make([]int32, side)}
	}
	at := func(full bool) int {
		if full {
			return 1
		}
		return 0
	}
	each(func(full bool, i, j int) {
		k := at(full)
		rows[k].num[i]++
		cols[k].num[j]++
		rows[k].indices = append(rows[k].indices, int32(j))
	})
	for k := range 2 {
		rows[k].measure()
		cols[k].measure()
		next := make([]int, side)
		for j := range side - 1 {
			next[j+1] = next[j] + int(cols[k].num[j])
		}
		cols[k].indices = make([]int32, len(rows[k].indices))
		n := 0
		for i, num := range rows[k].num {
			for range num {
				j := rows[k].indices[n]
				cols[k].indices[next[j]] = int32(i)
				next[j]++
				n++
			}
		}
	}
	return rows[0], rows[1], cols[0], cols[1]
}

func (l *list) measure() {
	l.width = 1
	for _, n := range l.num {
		l.width = max(l.width, int(n))
	}
}

// arrays returns the pair of tensors under FlexAttention's names, for one batch entry and one head, which it broadcasts.
func (l *list) arrays(num, indices string) []array {
	return []array{
		ofSlice(num, int32s, l.num, 1, 1, len(l.num)),
		{name: indices, dtype: int32s, shape: []int{1, 1, len(l.num), l.width}, write: func(w *bufio.Writer) error {
			row, at := make([]int32, l.width), 0
			for _, n := range l.num {
				clear(row[copy(row, l.indices[at:at+int(n)]):])
				at += int(n)
				if err := writeSlice(w, row); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

// flexArrays are the tensors of a torch.nn.attention.flex_attention.BlockMask and the bits of its partial blocks.
func flexArrays(b Blocks) []array {
	partial, full, partialT, fullT := lists(b)
	size := b.BlockSize()
	return append(append(append(append(append([]array{
		ofSlice("seq_lengths", int64s, []int64{int64(b.Tokens()), int64(b.Tokens())}),
		ofSlice("BLOCK_SIZE", int64s, []int64{int64(size), int64(size)}),
	},
		partial.arrays("kv_num_blocks", "kv_indices")...),
		full.arrays("full_kv_num_blocks", "full_kv_indices")...),
		partialT.arrays("q_num_blocks", "q_indices")...),
		fullT.arrays("full_q_num_blocks", "full_q_indices")...),
		partialBits(b, partial))
}

// partialBits packs the listed blocks, row after row: [blocks][size][⌈size/8⌉] bytes, column c at bit c%8 of byte c/8.
func partialBits(b Blocks, l *list) array {
	size := b.BlockSize()
	return array{name: "partial_bits", dtype: uint8s, shape: []int{len(l.indices), size, packedStride(size)}, write: func(w *bufio.Writer) error {
		var bitmap []uint64
		var packed []byte
		at := 0
		for i, n := range l.num {
			for _, j := range l.indices[at : at+int(n)] {
				bitmap = b.Bitmap(bitmap, i, int(j))
				packed = pack(packed[:0], bitmap, size)
				if _, err := w.Write(packed); err != nil {
					return err
				}
			}
			at += int(n)
		}
		return nil
	}}
}

// readFlex reads what flexArrays writes. Of a BlockMask without partial_bits there must be no partial block.
func readFlex(f *reader) (*Matrix, error) {
	size, err := f.pair("BLOCK_SIZE")
	if err != nil {
		return nil, err
	}
	length, err := f.pair("seq_lengths")
	if err != nil {
		return nil, err
	}
	b, err := f.matrix(length, size)
	if err != nil {
		return nil, err
	}
	partial, err := f.list("kv_num_blocks", "kv_indices", b.side)
	if err != nil {
		return nil, err
	}
	full := &list{num: make([]int32, b.side)}
	if f.has("full_kv_num_blocks") {
		if full, err = f.list("full_kv_num_blocks", "full_kv_indices", b.side); err != nil {
			return nil, err
		}
	}
	return f.fill(b, partial, full)
}

// fill adds listed blocks to a matrix: partial ones by their bits, full ones whole.
func (f *reader) fill(b *matrixBuilder, partial, full *list) (*Matrix, error) {
	var packed []byte
	block := b.blockSize * packedStride(b.blockSize)
	if len(partial.indices) > 0 {
		a, err := f.array("partial_bits")
		if err != nil {
			return nil, fmt.Errorf("its partial blocks cannot be told apart: %w", err)
		}
		if a.dtype != uint8s || len(a.data)/block != len(partial.indices) || len(a.data)%block != 0 {
			return nil, fmt.Errorf("array \"partial_bits\" has shape %v of type %v, %d partial blocks need %v of bytes",
				a.shape, a.dtype, len(partial.indices), []int{len(partial.indices), b.blockSize, packedStride(b.blockSize)})
		}
		packed = a.data
	}
	p, q := 0, 0
	for i := range b.side {
		rows := min(b.blockSize, b.tokens-i*b.blockSize)
		for range partial.num[i] {
			j := int(partial.indices[p])
			bitmap, err := b.block(j)
			if err == nil {
				err = unpack(bitmap, packed[p*block:][:block], b.blockSize, rows, min(b.blockSize, b.tokens-j*b.blockSize))
			}
			if err != nil {
				return nil, fmt.Errorf("block (%d, %d): %w", i, j, err)
			}
			p++
		}
		for range full.num[i] {
			j := int(full.indices[q])
			if b.slot[j] != 0 {
				return nil, fmt.Errorf("block (%d, %d) is both partial and full", i, j)
			}
			if err := b.fullBlock(i, j); err != nil {
				return nil, err
			}
			q++
		}
		if err := b.endRow(); err != nil {
			return nil, err
		}
	}
	return b.done(), nil
}

// fullBlock allows all of block (i, j), up to the last token.
func (b *matrixBuilder) fullBlock(i, j int) error {
	lo := j * b.blockSize
	for q := i * b.blockSize; q < min((i+1)*b.blockSize, b.tokens); q++ {
		if err := b.allow(q, lo, min(lo+b.blockSize, b.tokens)); err != nil {
			return err
		}
	}
	return nil
}

// list reads a pair of tensors whose leading dimensions are 1. Columns must ascend.
func (f *reader) list(num, indices string, side int) (*list, error) {
	a, err := f.array(num)
	if err != nil {
		return nil, err
	}
	c, err := f.array(indices)
	if err != nil {
		return nil, err
	}
	for _, a := range []*array{a, c} {
		for _, n := range a.shape[:min(2, len(a.shape))] {
			if len(a.shape) > 2 && n != 1 {
				return nil, fmt.Errorf("array %q has shape %v: a mask of several batch entries or heads is not read", a.name, a.shape)
			}
		}
	}
	if len(a.shape) != 3 || a.shape[2] != side || len(c.shape) != 4 || c.shape[2] != side {
		return nil, fmt.Errorf("arrays %q and %q have shapes %v and %v, want [1 1 %d] and [1 1 %d n]", num, indices, a.shape, c.shape, side, side)
	}
	counts, err := a.intAt()
	if err != nil {
		return nil, err
	}
	at, err := c.intAt()
	if err != nil {
		return nil, err
	}
	l, width := &list{num: make([]int32, side)}, c.shape[3]
	for i := range side {
		n := counts(i)
		if n < 0 || n > int64(width) {
			return nil, fmt.Errorf("array %q: row %d has %d blocks, %q has room for %d", num, i, n, indices, width)
		}
		l.num[i] = int32(n)
		last := int64(-1)
		for k := range int(n) {
			j := at(i*width + k)
			if j <= last || j >= int64(side) {
				return nil, fmt.Errorf("array %q: row %d has column %d after %d, want ascending ones below %d", indices, i, j, last, side)
			}
			l.indices = append(l.indices, int32(j))
			last = j
		}
	}
	return l, nil
}
