// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// counters are what a store counts itself.
type counters struct {
	hits, misses, puts, replaced, deletes, rejected, corrupt, failures atomic.Uint64

	readBytes, writeBytes atomic.Uint64
	readTime, writeTime   atomic.Int64 // ns
	handles, pinned       atomic.Int64
}

// handle returns a counted handle.
func (n *counters) handle(kv *kvcache.KV) *kvcache.Handle {
	n.handles.Add(1)
	n.pinned.Add(kv.Bytes())
	return kvcache.NewHandle(kv, func() {
		n.handles.Add(-1)
		n.pinned.Add(-kv.Bytes())
	})
}

// Metrics returns what this store has done; it asks no server. Entries, Bytes and Budget are 0: others fill the servers as well, and their
// memory is theirs to limit. What handles keep is memory of this process, each of them a KV of its own.
func (s *Store) Metrics() kvcache.Metrics {
	n := &s.n
	return kvcache.Metrics{
		Tier:          tier,
		Hits:          n.hits.Load(),
		Misses:        n.misses.Load(),
		Puts:          n.puts.Load(),
		Replaced:      n.replaced.Load(),
		Deletes:       n.deletes.Load(),
		Rejected:      n.rejected.Load(),
		Corrupt:       n.corrupt.Load(),
		Failures:      n.failures.Load(),
		ReadBytes:     n.readBytes.Load(),
		WriteBytes:    n.writeBytes.Load(),
		ReadTime:      time.Duration(n.readTime.Load()),
		WriteTime:     time.Duration(n.writeTime.Load()),
		PinnedEntries: int(n.handles.Load()),
		PinnedBytes:   n.pinned.Load(),
		Handles:       int(n.handles.Load()),
	}
}
