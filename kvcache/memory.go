// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"errors"
	"sync"
)

// EntryOverhead is what an entry costs besides its KV.Bytes: the entry, its
// slot in the index, the KV's header and a handle, rounded up. It is a fixed part of
// the accounting, so that a budget means the same on every machine and many tiny
// entries cannot exceed it unseen.
const EntryOverhead = 256

// ErrNilKV is the value Put and Flight.Complete panic with when given no KV; it
// is returned by GetOrEncode when encode returns neither a KV nor an error.
var ErrNilKV = errors.New("kvcache: nil KV")

// Stats describes a store at one instant. The counters only grow. Every lookup
// (Get, Claim, each round of GetOrEncode) counts as one of Hits, Misses, Waits;
// at every instant Puts = Entries + Evictions + Replaced + Rejected.
type Stats struct {
	Hits      uint64 // lookups answered from the index
	Misses    uint64 // lookups that found nothing, those that became owners included
	Waits     uint64 // lookups that joined the flight of another
	Puts      uint64 // KVs handed to the store by Put or Flight.Complete
	Evictions uint64 // entries dropped by budget pressure or Evict
	Replaced  uint64 // entries dropped because a KV with the same key came in
	Rejected  uint64 // KVs larger than the whole budget: handed out, not kept
	Failures  uint64 // flights that failed

	Budget          int64 // the byte budget
	Entries         int   // entries in the index
	Bytes           int64 // their cost, at most Budget (KV.Bytes + EntryOverhead each)
	PinnedEntries   int   // entries held by handles, indexed or not
	PinnedBytes     int64 // their cost
	OrphanedEntries int   // the part of those that is no longer indexed
	OrphanedBytes   int64 // their cost
	Handles         int   // handles not yet released, and waiters about to get one
	Flights         int   // keys being encoded
}

// Memory is an in-memory store of KVs with a byte budget; see the package
// comment for what it promises. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	entries map[Key]*entry
	flights map[Key]*call
	idle    list // indexed entries nobody holds
	held    list // indexed entries somebody holds
	stats   Stats
}

// NewMemory returns an empty store that keeps at most budget bytes. With a
// budget ≤ 0 it keeps nothing; single-flight encoding still works.
func NewMemory(budget int64) *Memory {
	m := &Memory{
		entries: make(map[Key]*entry),
		flights: make(map[Key]*call),
		stats:   Stats{Budget: max(budget, 0)},
	}
	m.idle.init()
	m.held.init()
	return m
}

// Get returns a handle to the KV of k if it is cached. It does not wait for a
// flight. The only allocation is the handle.
func (m *Memory) Get(k Key) (*Handle, bool) {
	m.mu.Lock()
	e := m.entries[k]
	if e == nil {
		m.stats.Misses++
		m.mu.Unlock()
		return nil, false
	}
	kv := m.hit(e)
	m.mu.Unlock()
	return newHandle(m, e, kv), true
}

// Put stores kv under k and returns a handle to it. A KV already cached under k is
// replaced; handles to it stay valid. A flight of k goes on. Put panics with
// [ErrNilKV] if kv is nil. The caller must not write to kv any more.
func (m *Memory) Put(k Key, kv *KV) *Handle {
	if kv == nil {
		panic(ErrNilKV)
	}
	m.mu.Lock()
	e := m.insert(k, kv, 1)
	m.mu.Unlock()
	return newHandle(m, e, kv)
}

// Evict takes the KV of k out of the cache and reports whether it was there.
// Handles to it stay valid, a flight of k goes on.
func (m *Memory) Evict(k Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[k]
	if e == nil {
		return false
	}
	m.drop(e)
	m.stats.Evictions++
	return true
}

// Stats returns the counters, all of the same instant.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Entries = len(m.entries)
	s.Flights = len(m.flights)
	return s
}

// The methods below need m.mu.

// hit counts a hit on the indexed e and takes a reference to it.
func (m *Memory) hit(e *entry) *KV {
	m.stats.Hits++
	m.acquire(e)
	return e.kv
}

// acquire takes a reference to e, which must be indexed or held.
func (m *Memory) acquire(e *entry) {
	m.pin(e, 1)
	if e.indexed {
		e.unlink()
		m.held.pushFront(e)
	}
}

// pin counts n > 0 more references to e.
func (m *Memory) pin(e *entry, n int) {
	if e.refs == 0 {
		m.stats.PinnedEntries++
		m.stats.PinnedBytes += e.cost
	}
	e.refs += n
	m.stats.Handles += n
}

// unpin gives one reference back and lets go of what nobody needs any more.
func (m *Memory) unpin(e *entry) {
	e.refs--
	m.stats.Handles--
	if e.refs > 0 {
		return
	}
	m.stats.PinnedEntries--
	m.stats.PinnedBytes -= e.cost
	if e.indexed {
		e.unlink()
		m.idle.pushFront(e)
		return
	}
	m.stats.OrphanedEntries--
	m.stats.OrphanedBytes -= e.cost
	e.kv = nil
}

// insert makes an entry with refs > 0 references and indexes it if it fits.
func (m *Memory) insert(k Key, kv *KV, refs int) *entry {
	if old := m.entries[k]; old != nil {
		m.drop(old)
		m.stats.Replaced++
	}
	e := &entry{key: k, kv: kv, cost: kv.Bytes() + EntryOverhead}
	m.stats.Puts++
	m.pin(e, refs)
	if e.cost > m.stats.Budget {
		m.stats.Rejected++
		m.stats.OrphanedEntries++
		m.stats.OrphanedBytes += e.cost
		return e
	}
	for m.stats.Bytes > m.stats.Budget-e.cost {
		victim := m.idle.back()
		if victim == nil {
			victim = m.held.back()
		}
		m.drop(victim)
		m.stats.Evictions++
	}
	m.entries[k] = e
	e.indexed = true
	m.stats.Bytes += e.cost
	m.held.pushFront(e)
	return e
}

// drop takes e out of the index. If it is held, it becomes an orphan.
func (m *Memory) drop(e *entry) {
	delete(m.entries, e.key)
	e.unlink()
	e.indexed = false
	m.stats.Bytes -= e.cost
	if e.refs > 0 {
		m.stats.OrphanedEntries++
		m.stats.OrphanedBytes += e.cost
		return
	}
	e.kv = nil
}

// release is the end of a handle; it takes m.mu itself.
func (m *Memory) release(e *entry) {
	m.mu.Lock()
	m.unpin(e)
	m.mu.Unlock()
}
