// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"errors"
	"fmt"
	"slices"

	"github.com/graphkv/graphkv/posenc"
)

// builder finds the blocks row by row and from left to right.
type builder struct {
	*Mask

	// The block under construction: cells counts its allowed pairs.
	col, cells int
	open       bool

	rowLen    int // query tokens in the row
	maxBlocks int
	work      int // steps taken: visits of edges, nodes and blocks
}

func tooManyBlocks(blockSize, limit int) error {
	return fmt.Errorf("mask: blocks of %d tokens make more than %d blocks, use larger ones", blockSize, limit)
}

// build returns the mask, unless it has more than maxBlocks blocks, and the number of steps that it took.
func build(l *posenc.Layout, blockSize, maxBlocks int) (*Mask, int, error) {
	if l == nil {
		return nil, 0, errors.New("mask: no layout")
	}
	if blockSize < 1 || blockSize > MaxBlockSize {
		return nil, 0, fmt.Errorf("mask: block size %d, want 1 to %d", blockSize, MaxBlockSize)
	}
	if l.Tokens() > MaxTokens {
		return nil, 0, fmt.Errorf("mask: %d tokens, the limit is %d", l.Tokens(), MaxTokens)
	}
	for i := range l.Len() {
		if r := l.Node(i).Repair; !r.IsZero() {
			return nil, 0, fmt.Errorf("mask: node %d (%s) repairs node %d: tokens of it are never computed, see posenc.Layout.Lower", i, l.Node(i), r.Of)
		}
	}
	m := &Mask{layout: l, blockSize: blockSize, side: (l.Tokens()-1)/blockSize + 1}
	m.offsets = make([]int, l.Len()+1)
	for i := range l.Len() {
		n := l.Node(i).Len
		m.offsets[i+1] = m.offsets[i] + n
		m.nnz += ownPairs(l.Node(i), n)
		for _, s := range l.Sees(i) {
			m.nnz += int64(n) * int64(l.Node(int(s.Node)).Len)
		}
	}
	if least := m.nnz / int64(blockSize) / int64(blockSize); least > int64(maxBlocks) {
		return nil, 0, tooManyBlocks(blockSize, maxBlocks)
	}
	m.sortSources()
	b := &builder{Mask: m, maxBlocks: maxBlocks, work: 2 * l.NumEdges()}
	if err := b.rows(); err != nil {
		return nil, b.work, err
	}
	return m, b.work, nil
}

// sortSources copies the sources of every node in ascending order. Listing them by source first and then by reader sorts
// all rows in time linear in the edges.
func (m *Mask) sortSources() {
	n := m.layout.Len()
	m.srcPtr = make([]int, n+1)
	first := make([]int, n+1) // of the readers of each source
	for i := range n {
		row := m.layout.Sees(i)
		m.srcPtr[i+1] = m.srcPtr[i] + len(row)
		for _, s := range row {
			first[s.Node+1]++
		}
	}
	for i := range n {
		first[i+1] += first[i]
	}
	readers := make([]int32, m.layout.NumEdges())
	next := slices.Clone(first)
	for i := range n {
		for _, s := range m.layout.Sees(i) {
			readers[next[s.Node]] = int32(i)
			next[s.Node]++
		}
	}
	m.sources = make([]int32, len(readers))
	copy(next, m.srcPtr)
	for s := range n {
		for _, reader := range readers[first[s]:first[s+1]] {
			m.sources[next[reader]] = int32(s)
			next[reader]++
		}
	}
}

// run is a stretch of key tokens of one column that a node sees.
type run struct{ col, keys int }

func (b *builder) rows() error {
	b.rowPtr = make([]int, b.side+1)
	var (
		node    int                                // holds the row's first token
		pattern []run                              // what node "of" sees of its sources
		before  int                                // how many runs of the pattern stand before the node
		of      = -1                               // the node of the pattern
		weights = make([]int, b.layout.Len())      // query tokens of the row that see a node; 0 between rows
		touched = make([]int32, 0, b.layout.Len()) // sources outside the row with a weight
	)
	for i := range b.side {
		from := i * b.blockSize
		to := min(from+b.blockSize, b.Tokens())
		b.rowLen = to - from
		for b.offsets[node+1] <= from {
			node++
		}
		if b.offsets[node+1] >= to {
			// The whole row belongs to one node. Such rows repeat what they see of other nodes.
			if of != node {
				of = node
				earlier, later := b.split(node)
				pattern = b.pattern(pattern[:0], earlier)
				before = len(pattern)
				pattern = b.pattern(pattern, later)
			}
			for _, r := range pattern[:before] {
				b.add(r.col, r.keys*b.rowLen)
			}
			b.span(b.offsets[node], from, b.rowLen)
			b.add(i, int(ownPairs(b.layout.Node(node), b.rowLen)))
			if b.layout.Node(node).Bidirectional {
				b.span(to, b.offsets[node+1], b.rowLen)
			}
			for _, r := range pattern[before:] {
				b.add(r.col, r.keys*b.rowLen)
			}
		} else {
			touched = touched[:0]
			last := node
			for u := node; u < b.layout.Len() && b.offsets[u] < to; u++ {
				rows := min(b.offsets[u+1], to) - max(b.offsets[u], from)
				sources := b.seen(u)
				b.work += 1 + len(sources)
				for _, s := range sources {
					if weights[s] == 0 && (int(s) < node || b.offsets[s] >= to) {
						touched = append(touched, s)
					}
					weights[s] += rows
				}
				last = u
			}
			slices.Sort(touched)
			later, _ := slices.BinarySearch(touched, int32(node)) // of a group with a node in the row
			b.outside(touched[:later], weights)
			for u := node; u <= last; u++ { // these may be seen from within the row, and see themselves
				rows := min(b.offsets[u+1], to) - max(b.offsets[u], from)
				b.span(b.offsets[u], from, weights[u]+rows)
				b.add(i, weights[u]*rows+int(ownPairs(b.layout.Node(u), rows)))
				seen := weights[u]
				if b.layout.Node(u).Bidirectional {
					seen += rows
				}
				if seen > 0 {
					b.span(to, b.offsets[u+1], seen)
				}
				weights[u] = 0
			}
			b.outside(touched[later:], weights)
		}
		b.flush()
		b.rowPtr[i+1] = len(b.cols)
		if len(b.cols) > b.maxBlocks {
			return tooManyBlocks(b.blockSize, b.maxBlocks)
		}
	}
	return nil
}

// split returns the sources before and after a node.
func (b *builder) split(node int) (earlier, later []int32) {
	sources := b.seen(node)
	at, _ := slices.BinarySearch(sources, int32(node))
	return sources[:at], sources[at:]
}

// outside adds sources that have no token in the row and clears their weights.
func (b *builder) outside(sources []int32, weights []int) {
	for _, s := range sources {
		b.span(b.offsets[s], b.offsets[s+1], weights[s])
		weights[s] = 0
	}
}

// ownPairs returns how many pairs n consecutive tokens of a node make among themselves.
func ownPairs(x posenc.Node, n int) int64 {
	if x.Bidirectional {
		return int64(n) * int64(n)
	}
	return int64(n) * int64(n+1) / 2
}

// pattern appends, column by column, how many tokens of some sources a node sees.
func (b *builder) pattern(dst []run, sources []int32) []run {
	first := len(dst)
	b.work += len(sources)
	for _, s := range sources {
		for from, to := b.offsets[s], b.offsets[s+1]; from < to; {
			b.work++
			col := from / b.blockSize
			end := min((col+1)*b.blockSize, to)
			if k := len(dst) - 1; k >= first && dst[k].col == col {
				dst[k].keys += end - from
			} else {
				dst = append(dst, run{col, end - from})
			}
			from = end
		}
	}
	return dst
}

// span adds the key tokens [from, to), each seen by weight query tokens of the row.
func (b *builder) span(from, to, weight int) {
	for from < to {
		col := from / b.blockSize
		end := min((col+1)*b.blockSize, to)
		b.add(col, weight*(end-from))
		from = end
	}
}

// add adds allowed pairs to a column; columns never decrease within a row.
func (b *builder) add(col, cells int) {
	b.work++
	if b.open && b.col == col {
		b.cells += cells
		return
	}
	b.flush()
	b.col, b.cells, b.open = col, cells, true
}

// flush closes the current block. Pairs are counted once each, so a block is full exactly if the count is its size.
func (b *builder) flush() {
	if !b.open {
		return
	}
	b.open = false
	if len(b.cols) > b.maxBlocks {
		return // rows reports it
	}
	kind := Partial
	if b.cells == b.rowLen*min(b.blockSize, b.Tokens()-b.col*b.blockSize) {
		kind = Full
		b.full++
	}
	b.cols = append(b.cols, int32(b.col))
	b.kinds = append(b.kinds, kind)
}
