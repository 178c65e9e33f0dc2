// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

// entry is one KV the store knows: indexed, held, or both. All fields but key
// and cost are guarded by the store's mutex.
type entry struct {
	key        Key
	kv         *KV // nil once the entry is neither indexed nor held
	cost       int64
	refs       int // handles, and waiters that are about to get one
	indexed    bool
	prev, next *entry // in one of the store's two lists while indexed
}

// list is an intrusive doubly linked ring; root.next is the most recently used.
type list struct {
	root entry
}

func (l *list) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *list) pushFront(e *entry) {
	e.prev, e.next = &l.root, l.root.next
	e.prev.next, e.next.prev = e, e
}

// back returns the least recently used entry, nil if the list is empty.
func (l *list) back() *entry {
	if l.root.prev == &l.root {
		return nil
	}
	return l.root.prev
}

// unlink takes e out of the list it is in.
func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}
