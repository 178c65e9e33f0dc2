// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package evict

// heap is a binary heap of items by their rank then, which is at most their rank now: the first whose ranks agree is the smallest of all.
type heap[V any] struct {
	items []*Item[V]
}

func (h *heap[V]) push(it *Item[V]) {
	it.heap, it.at = h, len(h.items)
	h.items = append(h.items, it)
	h.up(it)
}

func (h *heap[V]) remove(it *Item[V]) {
	last := len(h.items) - 1
	other := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	if other != it {
		h.put(other, it.at)
		h.up(other)
		h.down(other)
	}
	it.heap = nil
}

// settle puts an item in the place that is right now.
func (h *heap[V]) settle(it *Item[V]) {
	it.then = it.now
	h.down(it)
}

func (h *heap[V]) put(it *Item[V], at int) {
	h.items[at], it.at = it, at
}

func (h *heap[V]) up(it *Item[V]) {
	at := it.at
	for at > 0 {
		parent := h.items[(at-1)/2]
		if !it.then.less(parent.then) {
			break
		}
		h.put(parent, at)
		at = (at - 1) / 2
	}
	h.put(it, at)
}

func (h *heap[V]) down(it *Item[V]) {
	at := it.at
	for {
		child := 2*at + 1
		if child >= len(h.items) {
			break
		}
		if child+1 < len(h.items) && h.items[child+1].then.less(h.items[child].then) {
			child++
		}
		if !h.items[child].then.less(it.then) {
			break
		}
		h.put(h.items[child], at)
		at = child
	}
	h.put(it, at)
}
