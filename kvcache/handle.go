// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"errors"
	"sync/atomic"
)

// ErrReleased is the value Handle.KV panics with after Release.
var ErrReleased = errors.New("kvcache: handle used after Release")

// Handle keeps one KV valid. Whoever gets a handle must release it.
type Handle struct {
	m       *Memory
	e       *entry
	release func()             // of a store without entries
	kv      atomic.Pointer[KV] // nil after Release
}

// NewHandle is for stores of other packages: it returns a handle to kv that calls
// release, unless nil, once, when it is released.
func NewHandle(kv *KV, release func()) *Handle {
	if kv == nil {
		panic(ErrNilKV)
	}
	h := &Handle{release: release}
	h.kv.Store(kv)
	return h
}

func newHandle(m *Memory, e *entry, kv *KV) *Handle {
	h := &Handle{m: m, e: e}
	h.kv.Store(kv)
	return h
}

// KV returns the keys and values. They are valid, and must not be used longer
// than, until Release. KV panics with [ErrReleased] after that.
func (h *Handle) KV() *KV {
	kv := h.kv.Load()
	if kv == nil {
		panic(ErrReleased)
	}
	return kv
}

// Release gives the handle up. Further calls do nothing. It is safe for
// concurrent use.
func (h *Handle) Release() {
	switch {
	case h.kv.Swap(nil) == nil:
	case h.m != nil:
		h.m.release(h.e)
	case h.release != nil:
		h.release()
	}
}
