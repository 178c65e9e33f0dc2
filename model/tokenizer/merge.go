// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"math"
	"math/bits"
)

// noRank marks a pair that no merge joins.
const noRank = math.MaxUint32

// pair holds two neighbouring token ids.
type pair uint64

func makePair(left, right int32) pair { return pair(uint32(left))<<32 | pair(uint32(right)) }

// mergeTable maps a pair of token ids to the rank of the merge that joins them and to the joined token. Open addressing with linear
// probing, at most half full: a lookup is one multiplication and, nearly always, one cache line.
type mergeTable struct {
	slots []mergeSlot
	shift uint8
}

type mergeSlot struct {
	key  pair
	rank uint32 // noRank: the slot is free
	id   int32
}

func newMergeTable(n int) mergeTable {
	size := max(4, 1<<bits.Len(uint(2*n)))
	t := mergeTable{slots: make([]mergeSlot, size), shift: uint8(64 - bits.TrailingZeros(uint(size)))}
	for i := range t.slots {
		t.slots[i].rank = noRank
	}
	return t
}

// slot returns the slot of k, or the free one where it belongs.
func (t *mergeTable) slot(k pair) *mergeSlot {
	mask := uint64(len(t.slots) - 1)
	for i := uint64(k) * 0x9e3779b97f4a7c15 >> t.shift; ; i++ {
		if s := &t.slots[i&mask]; s.key == k || s.rank == noRank {
			return s
		}
	}
}

// find returns the rank and the product of the merge of left and right; the rank is noRank if there is none.
func (t *mergeTable) find(left, right int32) (rank uint32, id int32) {
	s := t.slot(makePair(left, right))
	return s.rank, s.id
}

// shortWord is the number of symbols up to which looking for the lowest rank in a row of ranks beats a heap.
const shortWord = 48

// workspace holds what one call of Encode needs. It grows to the longest word met.
type workspace struct {
	ids        []int32
	ranks      []uint32
	prev, next []int32
	heap       []uint64
}

// merge applies the merges to the symbols in w.ids: always the one of the lowest rank, the leftmost of equals, until no pair can be
// joined. It returns the remaining symbols, a prefix of w.ids.
func (t *mergeTable) merge(w *workspace) []int32 {
	switch n := len(w.ids); {
	case n < 2:
		return w.ids
	case n <= shortWord:
		return t.mergeShort(w)
	default:
		return t.mergeLong(w)
	}
}

// mergeShort is quadratic in the number of symbols, on a row of ranks that fits the first-level cache.
func (t *mergeTable) mergeShort(w *workspace) []int32 {
	ids := w.ids
	w.ranks = grow(w.ranks, len(ids)-1)
	ranks := w.ranks
	for i := range ranks {
		ranks[i], _ = t.find(ids[i], ids[i+1])
	}
	for len(ranks) > 0 {
		best, at := ranks[0], 0
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		_, ids[at] = t.find(ids[at], ids[at+1])
		copy(ids[at+1:], ids[at+2:])
		ids = ids[:len(ids)-1]
		copy(ranks[at:], ranks[at+1:])
		ranks = ranks[:len(ranks)-1]
		if at > 0 {
			ranks[at-1], _ = t.find(ids[at-1], ids[at])
		}
		if at < len(ranks) {
			ranks[at], _ = t.find(ids[at], ids[at+1])
		}
	}
	return ids
}

// mergeLong keeps the pairs in a heap ordered by rank, then by place, and the symbols in a doubly linked list: O(n log n). An entry of
// the heap is rank<<32 | index of the left symbol; one whose pair has changed meanwhile no longer has that rank and is dropped.
func (t *mergeTable) mergeLong(w *workspace) []int32 {
	ids := w.ids
	n := len(ids)
	w.prev, w.next = grow(w.prev, n), grow(w.next, n)
	prev, next := w.prev, w.next
	h := w.heap[:0]
	for i := range ids {
		prev[i], next[i] = int32(i-1), int32(i+1)
		if i+1 < n {
			if r, _ := t.find(ids[i], ids[i+1]); r != noRank {
				h = append(h, uint64(r)<<32|uint64(i))
			}
		}
	}
	next[n-1] = -1
	for i := len(h)/2 - 1; i >= 0; i-- {
		siftDown(h, i)
	}
	for len(h) > 0 {
		top := h[0]
		h[0] = h[len(h)-1]
		h = h[:len(h)-1]
		siftDown(h, 0)

		i := int32(top & math.MaxUint32)
		if ids[i] < 0 { // joined to its left neighbour
			continue
		}
		j := next[i]
		if j < 0 {
			continue
		}
		r, id := t.find(ids[i], ids[j])
		if r != uint32(top>>32) {
			continue
		}
		ids[i], ids[j] = id, -1
		k := next[j]
		next[i] = k
		if k >= 0 {
			prev[k] = i
			if r, _ := t.find(id, ids[k]); r != noRank {
				h = push(h, uint64(r)<<32|uint64(i))
			}
		}
		if p := prev[i]; p >= 0 {
			if r, _ := t.find(ids[p], id); r != noRank {
				h = push(h, uint64(r)<<32|uint64(p))
			}
		}
	}
	w.heap = h
	m := 0
	for i := int32(0); i >= 0; i = next[i] {
		ids[m] = ids[i]
		m++
	}
	return ids[:m]
}

func siftDown(h []uint64, i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if h[i] <= h[c] {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

func push(h []uint64, v uint64) []uint64 {
	h = append(h, v)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 2
		if h[p] <= v {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = v
	return h
}

// grow returns s with length n; its contents are whatever was there.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
