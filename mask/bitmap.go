// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"fmt"
	"slices"
	"sort"
)

// Stride returns the number of 64-bit words in a row of a block's bitmap, ⌈BlockSize / 64⌉.
func (m *Mask) Stride() int { return (m.blockSize + 63) / 64 }

// Bitmap draws block (i, j) into dst, which is grown if needed, and returns it: BlockSize rows of Stride words; in row r,
// bit c%64 of word c/64 says whether query token i·BlockSize+r may see key token j·BlockSize+c. Bits beyond the last token
// are 0. It takes time proportional to the bitmap and to the nodes and edges that meet in it, and panics if there is no
// block (i, j).
func (m *Mask) Bitmap(dst []uint64, i, j int) []uint64 {
	if i < 0 || i >= m.side || j < 0 || j >= m.side {
		panic(fmt.Sprintf("mask: block (%d, %d) of %d×%d", i, j, m.side, m.side))
	}
	stride := m.Stride()
	size := m.blockSize * stride
	dst = slices.Grow(dst[:0], size)[:size]
	clear(dst)
	q0, k0 := i*m.blockSize, j*m.blockSize
	q1, k1 := min(q0+m.blockSize, m.Tokens()), min(k0+m.blockSize, m.Tokens())
	for q, node := q0, m.Node(q0); q < q1; node++ {
		end := min(m.offsets[node+1], q1)
		first := dst[(q-q0)*stride:][:stride] // what every token of the node sees of other nodes
		sources := m.seen(node)
		at := sort.Search(len(sources), func(s int) bool { return m.offsets[sources[s]+1] > k0 })
		for _, s := range sources[at:] {
			if m.offsets[s] >= k1 {
				break
			}
			setRange(first, max(m.offsets[s], k0)-k0, min(m.offsets[s+1], k1)-k0)
		}
		for p := q + 1; p < end; p++ {
			copy(dst[(p-q0)*stride:][:stride], first)
		}
		for lo := max(m.offsets[node], k0); q < end; q++ { // the node itself
			setRange(dst[(q-q0)*stride:][:stride], lo-k0, min(m.seesItselfTo(node, q), k1)-k0)
		}
	}
	return dst
}

// seesItselfTo returns the end of what query token q sees of its own node.
func (m *Mask) seesItselfTo(node, q int) int {
	if m.layout.Node(node).Bidirectional {
		return m.offsets[node+1]
	}
	return q + 1
}

// setRange sets the bits [lo, hi) of a row; an empty range sets none.
func setRange(row []uint64, lo, hi int) {
	for lo < hi {
		end := min(lo|63+1, hi)
		row[lo>>6] |= ^uint64(0) >> (64 - (end - lo)) << (lo & 63)
		lo = end
	}
}

// Dense returns the whole mask, [Tokens][Tokens] row by row, for small masks and tests. More than maxTokens tokens are an
// error.
func (m *Mask) Dense(maxTokens int) ([]bool, error) {
	n := m.Tokens()
	if n > maxTokens {
		return nil, fmt.Errorf("mask: %d tokens are too many for a dense mask, the limit is %d", n, maxTokens)
	}
	out := make([]bool, n*n)
	for node := range m.layout.Len() {
		from, to := m.Span(node)
		for q := from; q < to; q++ {
			row := out[q*n:][:n]
			for _, s := range m.seen(node) {
				for k := m.offsets[s]; k < m.offsets[s+1]; k++ {
					row[k] = true
				}
			}
			for k := from; k < m.seesItselfTo(node, q); k++ {
				row[k] = true
			}
		}
	}
	return out, nil
}
