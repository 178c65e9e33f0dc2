// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"sync"

	"github.com/graphkv/graphkv/internal/evict"
)

// EntryOverhead is what an entry costs besides its KV.Bytes, which are rounded up to
// pages of 8 KiB if they are more than 32 KiB: the entry, its
// slot in the index, the KV's header and a handle, rounded up. It is a fixed part of
// the accounting, so that a budget means the same on every machine and many tiny
// entries cannot exceed it unseen.
const EntryOverhead = 512

// footprint returns what n bytes take in memory. The allocator gives whole pages of 8 KiB to
// an object of more than 32 KiB, as mapping a file does in pages of its own. Smaller KVs only
// toy models have.
func footprint(n int64) int64 {
	const small, page = 32 << 10, 8 << 10
	if n <= small {
		return n
	}
	return (n + page - 1) &^ (page - 1)
}

// ErrNilKV is the value Put and Flight.Complete panic with when given no KV; it
// is returned by GetOrEncode when encode returns neither a KV nor an error.
var ErrNilKV = errors.New("kvcache: nil KV")

// Memory is an in-memory store of KVs with a byte budget; see the package
// comment for what it promises. Its operations take no time that ctx could end.
// It is safe for concurrent use.
//
// Every lookup (Get, Claim, each round of GetOrEncode) counts as one of Hits,
// Misses and Waits of its [Metrics], which are all of one instant.
type Memory struct {
	events EventListener
	below  []*tier // what is completed is written to these

	mu      sync.Mutex
	entries map[Key]*entry
	flights map[Key]*call
	order   evict.Policy[*entry] // of the indexed entries
	counts  Metrics
	closed  bool
	// What unlock does outside of the critical section.
	dead    []*Handle
	evicted []EvictEvent
}

// entry is one KV the store knows: indexed, held, or both. All fields but key
// and cost are guarded by the store's mutex.
type entry struct {
	key     Key
	kv      *KV     // nil once the entry is neither indexed nor held
	lower   *Handle // of the store that kv's memory belongs to; nil if it is the garbage collector's
	cost    int64
	refs    int // handles, and waiters that are about to get one
	indexed bool
	item    evict.Item[*entry]
}

// NewMemory returns an empty store that keeps at most budget bytes. With a
// budget ≤ 0 it keeps nothing; single-flight encoding still works.
func NewMemory(budget int64) *Memory {
	return &Memory{
		entries: make(map[Key]*entry),
		flights: make(map[Key]*call),
		counts:  Metrics{Tier: "memory", Budget: max(budget, 0)},
	}
}

// Get returns a handle to the KV of k if it is cached. It does not wait for a
// flight. The only allocation is the handle.
func (m *Memory) Get(_ context.Context, k Key) (*Handle, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, ErrClosed
	}
	e := m.entries[k]
	if e == nil {
		m.counts.Misses++
		m.mu.Unlock()
		return nil, ErrNotFound
	}
	kv := m.hit(e)
	m.mu.Unlock()
	return newHandle(m, e, kv), nil
}

// Has reports whether the KV of k is cached.
func (m *Memory) Has(_ context.Context, k Key) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, ErrClosed
	}
	return m.entries[k] != nil, nil
}

// Put stores kv under k. A KV already cached under k is replaced; handles to it
// stay valid. A flight of k goes on. Put panics with [ErrNilKV] if kv is nil.
func (m *Memory) Put(_ context.Context, k Key, kv *KV) error {
	e, err := m.put(k, kv, nil, 1)
	if err == nil {
		m.release(e)
	}
	return err
}

// put stores kv, which belongs to lower if that is not nil, and takes refs > 0 references to it.
func (m *Memory) put(k Key, kv *KV, lower *Handle, refs int) (*entry, error) {
	if kv == nil {
		panic(ErrNilKV)
	}
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return m.insert(k, kv, lower, refs), nil
}

// Delete takes the KV of k out of the cache. Handles to it stay valid, a flight of
// k goes on.
func (m *Memory) Delete(_ context.Context, k Key) error {
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		return ErrClosed
	}
	if e := m.entries[k]; e != nil {
		m.order.Remove(&e.item)
		m.drop(e)
		m.counts.Deletes++
	}
	return nil
}

// Metrics returns the store's counters and gauges.
func (m *Memory) Metrics() Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.counts
	s.Entries = len(m.entries)
	s.Flights = len(m.flights)
	return s
}

// Close drops everything that nobody holds. Handles stay valid, and flights can
// still be claimed and ended: a request at work is not disturbed. But nothing is
// kept any more, and the methods of [Store] return [ErrClosed].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.unlock()
	m.closed = true
	m.counts.Budget = 0
	for _, e := range m.entries {
		m.order.Remove(&e.item)
		m.drop(e)
		m.counts.Deletes++
	}
	return nil
}

// The methods below need m.mu, unless they say that they take it.

// unlock ends a critical section in which entries may have been dropped, and does what
// takes time or calls others after it.
func (m *Memory) unlock() {
	dead, evicted := m.dead, m.evicted
	m.dead, m.evicted = nil, nil
	m.mu.Unlock()
	for _, h := range dead {
		h.Release()
	}
	for _, e := range evicted {
		m.events.Evicted(e)
	}
}

// again returns one more handle to the KV of e, nil if it is gone; it takes m.mu itself.
func (m *Memory) again(e *entry) *Handle {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.kv == nil {
		return nil
	}
	m.acquire(e)
	return newHandle(m, e, e.kv)
}

// write queues e, which has a reference for each of these tiers.
func (m *Memory) write(tiers []*tier, e *entry, kv *KV) {
	for _, t := range tiers {
		t.queue.add(newHandle(m, e, kv))
	}
}

// hit counts a hit on the indexed e and takes a reference to it.
func (m *Memory) hit(e *entry) *KV {
	m.counts.Hits++
	m.counts.ReadBytes += uint64(e.kv.Bytes())
	m.acquire(e)
	return e.kv
}

// acquire takes a reference to e, which must be indexed or held.
func (m *Memory) acquire(e *entry) {
	if e.indexed {
		m.order.Use(&e.item)
		if e.refs == 0 {
			m.order.Hold(&e.item)
		}
	}
	m.pin(e, 1)
}

// pin counts n > 0 more references to e.
func (m *Memory) pin(e *entry, n int) {
	if e.refs == 0 {
		m.counts.PinnedEntries++
		m.counts.PinnedBytes += e.cost
	}
	e.refs += n
	m.counts.Handles += n
}

// unpin gives one reference back and lets go of what nobody needs any more.
func (m *Memory) unpin(e *entry) {
	e.refs--
	m.counts.Handles--
	if e.refs > 0 {
		return
	}
	m.counts.PinnedEntries--
	m.counts.PinnedBytes -= e.cost
	if e.indexed {
		m.order.Idle(&e.item)
		return
	}
	m.orphan(e, -1)
	m.free(e)
}

// insert indexes kv if it fits and returns its entry with refs > 0 more references.
func (m *Memory) insert(k Key, kv *KV, lower *Handle, refs int) *entry {
	e, known := m.entryFor(k, kv, lower)
	m.counts.Puts++
	m.counts.WriteBytes += uint64(kv.Bytes())
	m.pin(e, refs)
	if e.indexed {
		m.order.Use(&e.item)
		m.counts.Replaced++ // by itself
		return e
	}
	if old := m.entries[k]; old != nil {
		m.order.Remove(&old.item)
		m.drop(old)
		m.counts.Replaced++
	}
	if m.closed || e.cost > m.counts.Budget {
		m.counts.Rejected++
		if !known {
			m.orphan(e, 1)
		}
		return e
	}
	for m.counts.Bytes > m.counts.Budget-e.cost {
		victim, _ := m.order.Evict() // there is one, as there are bytes
		m.drop(victim)
		m.counts.Evictions++
		if m.events.Evicted != nil {
			m.evicted = append(m.evicted, EvictEvent{m.counts.Tier, victim.key, victim.cost})
		}
	}
	if known {
		m.orphan(e, -1)
	}
	m.entries[k] = e
	e.indexed = true
	m.counts.Bytes += e.cost
	m.order.Add(&e.item, e.cost, kv.info.Cost, true)
	return e
}

// entryFor returns a new entry, or the one that is known already: the index may have given it up while a write to a lower tier held it, and now it comes
// back from there.
func (m *Memory) entryFor(k Key, kv *KV, lower *Handle) (e *entry, known bool) {
	if lower != nil && lower.m == m && lower.e.key == k {
		m.dead = append(m.dead, lower)
		return lower.e, true
	}
	e = &entry{key: k, kv: kv, lower: lower, cost: footprint(kv.Bytes()) + EntryOverhead}
	e.item.Value = e
	return e, false
}

// orphan counts n more orphans like e.
func (m *Memory) orphan(e *entry, n int) {
	m.counts.OrphanedEntries += n
	m.counts.OrphanedBytes += int64(n) * e.cost
}

// drop takes e, which the order has let go, out of the index. If it is held, it becomes an orphan.
func (m *Memory) drop(e *entry) {
	delete(m.entries, e.key)
	e.indexed = false
	m.counts.Bytes -= e.cost
	if e.refs > 0 {
		m.orphan(e, 1)
		return
	}
	m.free(e)
}

// free lets go of the numbers of e, which is neither indexed nor held.
func (m *Memory) free(e *entry) {
	e.kv = nil
	if e.lower != nil {
		m.dead = append(m.dead, e.lower)
		e.lower = nil
	}
}

// release is the end of a handle; it takes m.mu itself.
func (m *Memory) release(e *entry) {
	m.mu.Lock()
	m.unpin(e)
	m.unlock()
}
