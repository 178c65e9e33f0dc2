// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/graphkv/graphkv/mask"
)

// run is a stretch of tokens lo ≤ k < hi that a token sees.
type run struct{ lo, hi int }

// eachRow calls f with every token and what it sees: ascending runs that do not touch, to be used until f returns.
func eachRow(b Blocks, f func(q int, runs []run) error) error {
	size, tokens := b.BlockSize(), b.Tokens()
	stride := (size + 63) / 64
	var bitmaps [][]uint64
	var runs []run
	for i := range b.Side() {
		cols, kinds := b.Row(i)
		for len(bitmaps) < len(cols) {
			bitmaps = append(bitmaps, nil)
		}
		for k, j := range cols {
			if kinds[k] == mask.Partial {
				bitmaps[k] = b.Bitmap(bitmaps[k], i, int(j))
			}
		}
		for q := i * size; q < min((i+1)*size, tokens); q++ {
			runs = runs[:0]
			for k, j := range cols {
				from := int(j) * size
				if kinds[k] == mask.Full {
					runs = extend(runs, from, min(from+size, tokens))
					continue
				}
				for w, word := range bitmaps[k][(q-i*size)*stride:][:stride] {
					for at := from + 64*w; word != 0; {
						skip := bits.TrailingZeros64(word)
						length := bits.TrailingZeros64(^(word >> skip))
						runs = extend(runs, at+skip, at+skip+length)
						word &^= 1<<(skip+length) - 1 // all of it where the shift is 64
					}
				}
			}
			if err := f(q, runs); err != nil {
				return err
			}
		}
	}
	return nil
}

// extend appends lo ≤ k < hi to runs, or to the last of them if they touch.
func extend(runs []run, lo, hi int) []run {
	if n := len(runs); n > 0 && runs[n-1].hi == lo {
		runs[n-1].hi = hi
		return runs
	}
	return append(runs, run{lo, hi})
}

// csrArrays are what scipy.sparse.save_npz writes for a csr_matrix of booleans, tokens by tokens. Like SciPy it takes 64-bit
// indices only where 32 bits are too few.
func csrArrays(b Blocks, limit int64) ([]array, error) {
	if n := 4 * int64(b.Tokens()); n > limit {
		return nil, &LimitError{What: fmt.Sprintf("a mask of %d tokens as %s", b.Tokens(), CSR), Bytes: n, Limit: limit}
	}
	indptr := make([]int64, b.Tokens()+1)
	err := eachRow(b, func(q int, runs []run) error {
		indptr[q+1] = indptr[q]
		for _, r := range runs {
			indptr[q+1] += int64(r.hi - r.lo)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	nnz := indptr[b.Tokens()]
	d := int32s
	if nnz > math.MaxInt32 {
		d = int64s
	}
	return []array{
		{name: "indices", dtype: d, shape: []int{int(nnz)}, write: func(w *bufio.Writer) error {
			var row []int64
			return eachRow(b, func(_ int, runs []run) error {
				row = row[:0]
				for _, r := range runs {
					for k := r.lo; k < r.hi; k++ {
						row = append(row, int64(k))
					}
				}
				return writeInts(w, d, row)
			})
		}},
		{name: "indptr", dtype: d, shape: []int{len(indptr)}, write: func(w *bufio.Writer) error { return writeInts(w, d, indptr) }},
		csrFormat(),
		ofSlice("shape", int64s, []int64{int64(b.Tokens()), int64(b.Tokens())}),
		{name: "data", dtype: boolean, shape: []int{int(nnz)}, write: func(w *bufio.Writer) error {
			ones := slices.Repeat([]byte{1}, 1<<16)
			for n := nnz; n > 0; n -= int64(len(ones)) {
				if _, err := w.Write(ones[:min(n, int64(len(ones)))]); err != nil {
					return err
				}
			}
			return nil
		}},
	}, nil
}

// csrFormat is how scipy.sparse.load_npz tells what kind of matrix it has.
func csrFormat() array {
	return array{name: "format", dtype: text3, shape: []int{}, write: func(w *bufio.Writer) error {
		_, err := w.WriteString("csr")
		return err
	}}
}

func writeInts(w *bufio.Writer, d dtype, x []int64) error {
	if d == int64s {
		return writeSlice(w, x)
	}
	narrow := make([]int32, 0, 1024)
	for chunk := range slices.Chunk(x, 1024) {
		narrow = narrow[:0]
		for _, v := range chunk {
			narrow = append(narrow, int32(v))
		}
		if err := writeSlice(w, narrow); err != nil {
			return err
		}
	}
	return nil
}

// csrBlocksArrays are a csr_matrix of blocks, 1 for a partial and 2 for a full one, and beside what SciPy reads the block
// size, the number of tokens and the bits of the partial blocks.
func csrBlocksArrays(b Blocks) []array {
	side := b.Side()
	indptr, indices, data := make([]int32, side+1), []int32(nil), []uint8(nil)
	partial := &list{num: make([]int32, side)}
	for i := range side {
		cols, kinds := b.Row(i)
		indices = append(indices, cols...)
		for k, j := range cols {
			data = append(data, uint8(kinds[k]))
			if kinds[k] == mask.Partial {
				partial.num[i]++
				partial.indices = append(partial.indices, j)
			}
		}
		indptr[i+1] = int32(len(indices))
	}
	return []array{
		ofSlice("indices", int32s, indices),
		ofSlice("indptr", int32s, indptr),
		csrFormat(),
		ofSlice("shape", int64s, []int64{int64(side), int64(side)}),
		ofSlice("data", uint8s, data),
		scalar("block_size", int64(b.BlockSize())),
		scalar("tokens", int64(b.Tokens())),
		partialBits(b, partial),
	}
}

// csr reads a csr_matrix: its rows and the numbers in it.
func (f *reader) csr() (*list, []int64, error) {
	if a, ok := f.arrays["format"]; ok && string(a.data) != "csr" {
		return nil, nil, fmt.Errorf("a sparse matrix of format %q is not read, only csr", a.data)
	}
	side, err := f.pair("shape")
	if err != nil {
		return nil, nil, err
	}
	a, err := f.array("data")
	if err != nil {
		return nil, nil, err
	}
	l, err := f.rows(side)
	if err != nil {
		return nil, nil, err
	}
	if n := len(a.data) / a.dtype.size(); n != len(l.indices) {
		return nil, nil, fmt.Errorf("array \"data\" has %d numbers for the %d of \"indices\"", n, len(l.indices))
	}
	values := make([]int64, len(l.indices))
	at := a.floatAt()
	for k := range values {
		if at(k) != 0 {
			values[k] = int64(at(k))
			if values[k] == 0 {
				values[k] = 1 // a fraction is not nothing
			}
		}
	}
	return l, values, nil
}

// readCSR reads a csr_matrix of tokens; what is stored and not 0 is seen.
func readCSR(f *reader) (*Matrix, error) {
	l, values, err := f.csr()
	if err != nil {
		return nil, err
	}
	b, err := f.matrix(len(l.num), f.blockSize)
	if err != nil {
		return nil, err
	}
	at := 0
	for q, n := range l.num {
		for k := at; k < at+int(n); k++ {
			if values[k] == 0 {
				continue
			}
			if err := b.allow(q, int(l.indices[k]), int(l.indices[k])+1); err != nil {
				return nil, err
			}
		}
		at += int(n)
		if err := b.endToken(q); err != nil {
			return nil, err
		}
	}
	return b.done(), nil
}

// readCSRBlocks reads what csrBlocksArrays writes.
func readCSRBlocks(f *reader) (*Matrix, error) {
	size, err := f.scalar("block_size")
	if err != nil {
		return nil, err
	}
	tokens, err := f.scalar("tokens")
	if err != nil {
		return nil, err
	}
	b, err := f.matrix(tokens, size)
	if err != nil {
		return nil, err
	}
	l, values, err := f.csr()
	if err != nil {
		return nil, err
	}
	if len(l.num) != b.side {
		return nil, fmt.Errorf("array \"shape\" says %d rows of blocks, %d tokens have %d", len(l.num), tokens, b.side)
	}
	partial, full := &list{num: make([]int32, b.side)}, &list{num: make([]int32, b.side)}
	at := 0
	for i, n := range l.num {
		for k := at; k < at+int(n); k++ {
			to := full
			switch values[k] {
			case 0:
				continue
			case int64(mask.Partial):
				to = partial
			case int64(mask.Full):
			default:
				return nil, fmt.Errorf("array \"data\" has %d in row %d, want %d for a partial and %d for a full block",
					values[k], i, mask.Partial, mask.Full)
			}
			to.num[i]++
			to.indices = append(to.indices, l.indices[k])
		}
		at += int(n)
	}
	return f.fill(b, partial, full)
}
