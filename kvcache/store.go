// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotFound is what Store.Get returns, as it is or wrapped, for a key that the store does not have.
var ErrNotFound = errors.New("kvcache: not found")

// ErrClosed is returned by the methods of a store after Close.
var ErrClosed = errors.New("kvcache: store is closed")

// Store keeps KVs by key: in memory, on a disk, on a server, or in several of these. A store is safe for concurrent use.
//
// A store may forget, never lie: what Get returns has the very bits that were put, or is an error.
type Store interface {
	// Get returns a handle to the KV of k. The error is [ErrNotFound] when the store does not have it, a *[CorruptError] when what it has is
	// damaged (it is taken out of the way and counted as well), ctx's error when ctx ends, and otherwise says why the store could not tell. A
	// caller that can encode treats all of them as a miss.
	Get(ctx context.Context, k Key) (*Handle, error)
	// Has reports whether k is stored, without reading the KV: it may yet turn out to be damaged, or be gone a moment later. It counts neither as a
	// hit nor as a use.
	Has(ctx context.Context, k Key) (bool, error)
	// Put keeps kv under k as far as the store's budget allows; it replaces what was there. The caller must not write to kv any more. A store
	// in memory keeps kv itself, so its bytes must not be those of another store's handle, which [Flight.Adopt] is for. After an error the
	// store has either what it had before, or kv, or nothing under k.
	Put(ctx context.Context, k Key, kv *KV) error
	// Delete forgets k. It is no error if there was nothing. Handles stay valid.
	Delete(ctx context.Context, k Key) error
	// Metrics returns the store's counters and gauges.
	Metrics() Metrics
	// Close finishes what is being written and gives up the store's resources. Handles stay valid until they are released.
	Close() error
}

// Info is what a store is told about a node beside its KV.
type Info struct {
	Model [32]byte // fingerprint of the model
	Scope [32]byte // see [Scope.ID]: of one model, encoding, rotary embedding and namespace
	// Cost is what encoding the node took or would take, in seconds of one machine. A store that must evict weighs it against the KV's bytes.
	Cost float64
}

// CorruptError says that a stored KV is damaged. It was not returned to anyone.
type CorruptError struct {
	Key    Key    // what was asked for
	Where  string // a file, a server
	Reason string // which region, and what was found there
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("kvcache: %s: the KV of %v is damaged: %s", e.Where, e.Key, e.Reason)
}
