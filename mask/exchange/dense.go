// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"fmt"
	"math"
)

// denseArray is a boolean array, tokens by tokens, as scaled_dot_product_attention takes a mask: true where q sees k.
func denseArray(b Blocks) array {
	n := b.Tokens()
	return array{name: "mask", dtype: boolean, shape: []int{n, n}, write: func(w *bufio.Writer) error {
		row := make([]byte, n)
		return eachRow(b, func(_ int, runs []run) error {
			clear(row)
			for _, r := range runs {
				for k := r.lo; k < r.hi; k++ {
					row[k] = 1
				}
			}
			_, err := w.Write(row)
			return err
		})
	}}
}

// additiveArray is a mask that is added to scores, [1, heads, tokens, tokens] float32, as Hugging Face's models take it:
// what edges add where q sees k, and hidden where it does not.
func additiveArray(b Blocks, hidden float32, s *scores) array {
	n := b.Tokens()
	return array{name: "attention_mask", dtype: float32s, shape: []int{1, s.heads, n, n}, write: func(w *bufio.Writer) error {
		row := make([]float32, n)
		for h := range s.heads {
			err := eachRow(b, func(q int, runs []run) error {
				for k := range row {
					row[k] = hidden
				}
				for _, r := range runs {
					clear(row[r.lo:r.hi])
				}
				s.add(row, h, q)
				return writeSlice(w, row)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}}
}

// readDense reads a mask of two dimensions, or of four with one batch entry: numbers that are added to scores if they have
// fractions, and otherwise whether q sees k. The matrix has what any head sees. bias is nil where all heads see that and nothing
// but 0 is added, and else [heads][tokens][tokens], −Inf where a head does not.
func readDense(f *reader, a *array) (m *Matrix, heads int, bias []float32, err error) {
	shape := a.shape
	heads = 1
	if len(shape) == 4 {
		if shape[0] != 1 || shape[1] < 1 {
			return nil, 0, nil, fmt.Errorf("array %q has shape %v: a mask of one batch entry is read", a.name, shape)
		}
		heads, shape = shape[1], shape[2:]
	}
	if len(shape) != 2 || shape[0] != shape[1] {
		return nil, 0, nil, fmt.Errorf("array %q has shape %v, want [n n] or [1 heads n n]", a.name, a.shape)
	}
	if a.dtype == text3 {
		return nil, 0, nil, fmt.Errorf("array %q is of type %v", a.name, a.dtype)
	}
	n := shape[0]
	b, err := f.matrix(n, f.blockSize)
	if err != nil {
		return nil, 0, nil, err
	}
	at, threshold, additive := a.floatAt(), hiddenBelow(a.dtype), a.dtype.float()
	biased := false
	for q := range n {
		for k := range n {
			visible, same := false, true
			for h := range heads {
				x := at((h*n+q)*n + k)
				if additive && (x != x || x > math.MaxFloat32) {
					return nil, 0, nil, fmt.Errorf("array %q has %v at (%d, %d) of head %d", a.name, x, q, k, h)
				}
				seen := x != 0
				if additive {
					seen = x > threshold
				}
				same = same && (h == 0 || seen == visible)
				visible = visible || seen
				biased = biased || additive && seen && x != 0
			}
			if !visible {
				continue
			}
			biased = biased || !same
			if err := b.allow(q, k, k+1); err != nil {
				return nil, 0, nil, err
			}
		}
		if err := b.endToken(q); err != nil {
			return nil, 0, nil, err
		}
	}
	if biased {
		size := 4 * int64(len(a.data)/a.dtype.size())
		if size > f.limit {
			return nil, 0, nil, &LimitError{What: fmt.Sprintf("array %q in float32", a.name), Bytes: size, Limit: f.limit}
		}
		bias = make([]float32, size/4)
		for i := range bias {
			x := at(i)
			switch {
			case additive && x <= threshold || !additive && x == 0:
				if b.Allowed(i/n%n, i%n) {
					bias[i] = float32(math.Inf(-1))
				}
			case additive:
				bias[i] = x
			}
		}
	}
	return b.done(), heads, bias, nil
}

// hiddenBelow returns the number from which on down a score's addend hides a key: half of the most negative finite number
// of a type, which is what Hugging Face's models put there, sums of two such having overflowed to −Inf.
func hiddenBelow(d dtype) float32 {
	if d == float16s {
		return -65504 / 2
	}
	return -math.MaxFloat32 / 2
}

// endToken closes the row of blocks that ends with token q.
func (b *matrixBuilder) endToken(q int) error {
	if (q+1)%b.blockSize == 0 || q+1 == b.tokens {
		return b.endRow()
	}
	return nil
}
