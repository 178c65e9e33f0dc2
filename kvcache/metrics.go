// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import "time"

// Metrics are a store's counters, which only grow, and gauges, all of one instant as far as the store can tell. What a store does not have,
// flights or queues say, stays 0. Those of a [Tiered] store are in Tiers, memory first; its own fields say what its callers saw.
type Metrics struct {
	Tier string // "memory", "disk", "redis", "tiered"

	Hits, Misses uint64 // lookups that found a KV, and that did not
	Waits        uint64 // lookups that joined the flight of another
	Puts         uint64 // KVs taken in: = Entries + Replaced + Deletes + Evictions + Rejected in a store of its own that began empty
	Replaced     uint64 // entries dropped because a KV with the same key came in
	Deletes      uint64 // entries dropped by Delete
	Evictions    uint64 // entries dropped for room
	Rejected     uint64 // KVs too large for the whole budget, or refused by the policy
	Corrupt      uint64 // damaged KVs found
	Failures     uint64 // operations that failed for another reason; in memory, flights that failed
	Skipped      uint64 // operations not tried, since the tier was down, slow or not worth it
	Dropped      uint64 // writes given up because the queue was full, or not done when Close had waited long enough
	ReadBytes    uint64
	WriteBytes   uint64
	ReadTime     time.Duration // sum over Gets that hit
	WriteTime    time.Duration

	Entries         int
	Bytes           int64 // their size, at most Budget
	Budget          int64 // 0: the tier has none, or, in memory, keeps nothing
	PinnedEntries   int   // entries held by handles
	PinnedBytes     int64 // their size
	OrphanedEntries int   // the part of those that is no longer found
	OrphanedBytes   int64 // their size
	Handles         int   // handles not yet released, and waiters about to get one
	Flights         int   // keys being encoded
	Queued          int   // writes that wait
	QueuedBytes     int64
	Down            bool // not in use at the moment

	Tiers []Metrics
}
