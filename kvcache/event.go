// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import "time"

// EventListener is told what happens in a store, after it has happened. Functions that are nil are not called; the others are called from the
// goroutine that did the work, must be quick, may run at the same time, and must not call the store.
type EventListener struct {
	// Corrupt: a damaged KV was found and taken out of the way.
	Corrupt func(CorruptEvent)
	// Evicted: a KV had to make room.
	Evicted func(EvictEvent)
	// Failed: a store could not do what it was asked for (a full disk, a server that does not answer), or put it off. The request goes on without.
	Failed func(FailEvent)
	// State: a tier was taken out of use, or is back.
	State func(StateEvent)
}

// CorruptEvent is a damaged KV.
type CorruptEvent struct {
	Tier string
	Err  *CorruptError
	Kept string // where the damaged file was moved, "" if it was dropped
}

// EvictEvent is a KV that had to make room.
type EvictEvent struct {
	Tier  string
	Key   Key
	Bytes int64
}

// FailEvent is an operation that failed.
type FailEvent struct {
	Tier string
	Op   string // "get", "has", "put", "delete", "scan", …
	Key  Key
	Err  error
	Took time.Duration
}

// StateEvent is a tier that went out of use or came back.
type StateEvent struct {
	Tier string
	Op   string // what it is or was not used for: "get" (and then nothing else either), or "put" alone
	Up   bool
	Err  error // why it is down
}
