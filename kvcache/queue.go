// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"sync"
)

var (
	errQueueFull = errors.New("kvcache: the queue of writes is full")
	errNotInTime = errors.New("kvcache: the store was closed before the write was done")
)

// writeQueue is the writes that wait for a tier. Each holds a handle of the memory tier, so nothing is freed before it is written. One goroutine does
// them in order and exists while there are any: a store that is dropped without Close leaves none behind.
type writeQueue struct {
	t *tier

	mu      sync.Mutex
	changed sync.Cond // a write was done, or taken out
	waiting map[Key]*Handle
	order   []Key // in which they came; keys that do not wait any more are passed over
	bytes   int64 // of those that wait
	writing *Handle
	working bool // the goroutine is there
	closed  bool
}

func (q *writeQueue) init(t *tier) {
	q.t, q.waiting = t, make(map[Key]*Handle)
	q.changed.L = &q.mu
}

// add queues the KV of h, whose handle it takes over, or gives the write up. It never waits for the tier.
func (q *writeQueue) add(h *Handle) {
	if !q.t.writable() {
		q.t.skipped.Add(1)
		h.Release()
		return
	}
	k := h.e.key
	old, err := q.insert(k, h)
	if err != nil {
		q.t.lost(k, err)
		h.Release()
	}
	if old != nil {
		old.Release()
	}
}

// insert returns the write that h replaces, if there is one, or an error if there is no room.
func (q *writeQueue) insert(k Key, h *Handle) (old *Handle, err error) {
	n := h.KV().Bytes()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, errNotInTime
	}
	if old = q.waiting[k]; old != nil {
		q.bytes -= old.KV().Bytes()
	} else {
		if c := q.t.config; len(q.waiting) > 0 && (len(q.waiting) >= c.QueueLen || q.bytes+n > c.QueueBytes) {
			return nil, errQueueFull
		}
		q.order = append(q.order, k)
	}
	q.waiting[k] = h
	q.bytes += n
	if !q.working {
		q.working = true
		go q.work()
	}
	return old, nil
}

// work does writes until none waits.
func (q *writeQueue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) > 0 {
		k := q.order[0]
		q.order = q.order[1:]
		h := q.take(k)
		if h == nil {
			continue
		}
		q.writing = h
		q.mu.Unlock()
		q.t.write(h)
		q.mu.Lock()
		q.writing = nil
		q.changed.Broadcast()
	}
	q.working = false
	q.changed.Broadcast()
}

// take takes the write of k out and returns its handle, nil if none waits. It needs q.mu.
func (q *writeQueue) take(k Key) *Handle {
	h := q.waiting[k]
	if h != nil {
		delete(q.waiting, k)
		q.bytes -= h.KV().Bytes()
	}
	return h
}

// find returns a handle to the KV of k if it is queued: memory may have given it up already while the tier does not have it yet.
func (q *writeQueue) find(k Key) *Handle {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.waiting[k]
	if h == nil && q.writing != nil && q.writing.e.key == k {
		h = q.writing
	}
	if h == nil {
		return nil
	}
	return h.m.again(h.e)
}

// cancel takes the write of k out, or waits for the end of the one that is being done.
func (q *writeQueue) cancel(ctx context.Context, k Key) error {
	q.mu.Lock()
	h := q.take(k)
	q.changed.Broadcast()
	err := q.wait(ctx, func() bool { return q.writing == nil || q.writing.e.key != k })
	q.mu.Unlock()
	if h != nil {
		h.Release()
	}
	return err
}

// flush waits until there is nothing left to write.
func (q *writeQueue) flush(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.wait(ctx, func() bool { return !q.working })
}

// wait waits until done returns true or ctx ends. It needs q.mu.
func (q *writeQueue) wait(ctx context.Context, done func() bool) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})()
	for !done() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.changed.Wait()
	}
	return nil
}

// close lets nothing more in.
func (q *writeQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// drop gives up all that waits, and returns how many writes were not done.
func (q *writeQueue) drop() int {
	q.mu.Lock()
	waiting := q.waiting
	q.waiting, q.order, q.bytes = make(map[Key]*Handle), nil, 0
	n := len(waiting)
	if q.writing != nil {
		n++
	}
	q.mu.Unlock()
	for k, h := range waiting {
		q.t.lost(k, errNotInTime)
		h.Release()
	}
	return n
}

func (q *writeQueue) size() (n int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes = len(q.waiting), q.bytes
	if q.writing != nil {
		n++
	}
	return n, bytes
}
