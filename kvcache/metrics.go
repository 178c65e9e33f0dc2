// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import "time"

// Metrics are a store's counters, which only grow, and gauges. Those of a [Tiered] store are in Tiers, the first tier first; its own fields
// count what its callers saw.
type Metrics struct {
	Tier string // "memory", "disk", "redis", "tiered"

	Hits, Misses uint64
	Puts         uint64
	Deletes      uint64
	Evictions    uint64 // entries dropped for room
	Rejected     uint64 // KVs too large for the whole budget, or refused by the policy
	Corrupt      uint64 // damaged KVs found
	Failures     uint64 // operations that failed for another reason
	Skipped      uint64 // operations not tried, since the tier was down, slow or not worth it
	ReadBytes    uint64
	WriteBytes   uint64
	ReadTime     time.Duration // sum over Gets that hit
	WriteTime    time.Duration

	Entries     int
	Bytes       int64 // their size, at most Budget
	Budget      int64 // 0: the tier has none
	PinnedBytes int64 // held by handles
	Queued      int   // writes that wait
	QueuedBytes int64
	Down        bool // not in use at the moment

	Tiers []Metrics
}
