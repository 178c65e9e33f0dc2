// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/graphkv/graphkv/kvcache"
)

// lent is a KV of a lower store, and how often its handle was released.
func lent(seed uint64) (*kvcache.Handle, *atomic.Int32) {
	released := new(atomic.Int32)
	return kvcache.NewHandle(makeKV(seed), func() { released.Add(1) }), released
}

// An adopted KV is the lower store's own memory; its handle is released once, when the KV
// is neither found nor held any more, and not before.
func testAdopt(s suite) {
	keeps := s.Metrics().Budget > 0
	lower, released := lent(1)
	kv := lower.KV()
	f, w := s.own(1), s.join(1)
	h := f.Adopt(lower)
	if h.KV() != kv {
		s.Error("an adopted KV was copied")
	}
	other, err := w.Wait(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	h.Release()
	s.check(other, 1)
	if n := released.Load(); n != 0 {
		s.Errorf("released %d times while held", n)
	}
	other.Release()
	if keeps {
		if n := released.Load(); n != 0 {
			s.Errorf("released %d times while cached", n)
		}
		h = s.get(1)
		s.delete(1)
		s.check(h, 1)
		if n := released.Load(); n != 0 {
			s.Errorf("released %d times while an orphan", n)
		}
		h.Release()
	}
	if n := released.Load(); n != 1 {
		s.Errorf("released %d times at the end, want 1", n)
	}

	lower, _ = lent(2)
	lower.Release()
	f = s.own(2)
	s.panics(kvcache.ErrReleased, func() { f.Adopt(lower) })
	f.Fail(nil)
}

// Under pressure adopted KVs are let go like any other.
func testAdoptPressure(s suite) {
	var all []*atomic.Int32
	for seed := range uint64(30) {
		lower, released := lent(seed)
		all = append(all, released)
		s.own(seed).Adopt(lower).Release()
	}
	kept := 0
	for seed, released := range all {
		switch released.Load() {
		case 0:
			kept++
		case 1:
		default:
			s.Errorf("KV %d released more than once", seed)
		}
	}
	if m := s.Metrics(); kept != m.Entries {
		s.Errorf("%d adopted KVs not released, %d cached", kept, m.Entries)
	}
}

// Close frees what is idle and leaves what is held; who is at work can finish.
func testClose(s suite) {
	lower, released := lent(1)
	s.own(1).Adopt(lower).Release()
	held := s.put(2)
	f, w := s.own(3), s.join(3)
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	if n := released.Load(); n != 1 {
		s.Errorf("closed, and an idle KV released %d times", n)
	}
	s.check(held, 2)
	h := f.Complete(makeKV(3))
	other, err := w.Wait(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	s.check(h, 3)
	s.check(other, 3)
	for _, h := range []*kvcache.Handle{held, h, other} {
		h.Release()
	}
	if _, err := s.Get(context.Background(), keyOf(2)); !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Get after Close: %v", err)
	}
	h, hit, err := s.GetOrEncode(context.Background(), keyOf(4), func(context.Context) (*kvcache.KV, error) { return makeKV(4), nil })
	if err != nil || hit {
		s.Fatalf("GetOrEncode after Close: hit %v, %v", hit, err)
	}
	h.Release()
}
