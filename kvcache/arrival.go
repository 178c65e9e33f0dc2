// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrIncomplete is what [KV.Wait] returns, wrapped, when a layer will not come any more.
var ErrIncomplete = errors.New("kvcache: a layer did not arrive")

// Streamer is a store that hands a KV out before all of it is there.
type Streamer interface {
	Store
	// Stream begins to fetch the KV of k. Its errors are those of Get. The fetch ends, with an error if need be, when ctx does.
	Stream(ctx context.Context, k Key) (Stream, error)
}

// Stream is a KV whose layers arrive one after the other. It is safe for concurrent use.
type Stream interface {
	// KV returns the KV. A layer must not be read before Wait has said that it is there, and nothing of it after Close.
	KV() *KV
	// Wait waits until a layer has arrived and was verified. Its errors are those of Get.
	Wait(ctx context.Context, layer int) error
	// Close ends the fetch if it is under way and gives the KV up.
	Close()
}

// progress is how far a KV has arrived.
type progress struct {
	ready atomic.Int32 // layers from the first on

	mu      sync.Mutex
	err     error         // why the others will not
	changed chan struct{} // closed, and replaced, when the above change; nil if nobody waits
}

// arrived makes the first n layers ready.
func (p *progress) arrived(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready.Store(int32(n))
	p.tell()
}

// fail says that no further layer will come.
func (p *progress) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = fmt.Errorf("%w: layer %d: %w", ErrIncomplete, p.ready.Load(), err)
	p.tell()
}

func (p *progress) tell() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *progress) wait(ctx context.Context, layer int) error {
	for {
		p.mu.Lock()
		ready, err := int(p.ready.Load()) > layer, p.err
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		switch {
		case ready:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Wait waits until layer l can be read. It returns at once for a KV that is all there, as every one is but that of an [Arrival]. The error is
// ctx's, or wraps [ErrIncomplete] and the reason.
func (kv *KV) Wait(ctx context.Context, l int) error {
	if kv.progress == nil || int(kv.progress.ready.Load()) > l {
		return nil
	}
	return kv.progress.wait(ctx, l)
}

// Arrival is a KV that a lower tier has, for the owner of a flight. Its layers may still be on the way: [KV.Wait] says when one can be read. When all
// of them are there and verified, the KV is in memory and the flight complete, whether or not the owner is still interested; if one fails, the
// flight has failed, and whoever needs the KV claims it again.
type Arrival struct {
	kv   *KV
	done chan struct{} // closed when the flight has ended

	mu       sync.Mutex
	h        *Handle // keeps the KV valid after the flight; of memory, or of the lower store if the flight failed
	err      error
	released bool
}

// KV returns the KV. It must not be used longer than until Release.
func (a *Arrival) KV() *KV { return a.kv }

// Wait waits until the flight has ended. The error is ctx's, or wraps [ErrIncomplete].
func (a *Arrival) Wait(ctx context.Context) error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release gives the KV up. Further calls do nothing.
func (a *Arrival) Release() {
	a.mu.Lock()
	h := a.h
	first := !a.released
	a.released = true
	a.mu.Unlock()
	if first && h != nil {
		h.Release()
	}
}

// settle is the end of the flight.
func (a *Arrival) settle(h *Handle, err error) {
	a.mu.Lock()
	a.h, a.err = h, err
	released := a.released
	a.mu.Unlock()
	close(a.done)
	if released {
		h.Release()
	}
}

// FetchLayers is Fetch for an owner who can use layers while others are on the way. On success the flight is the Arrival's to end. After an error it is
// still to be ended by the caller; the error is [ErrNotFound] or ctx's. A tier streams if its store is a [Streamer] and it has a time-out; of others
// all layers are there at once. Cancelling ctx ends the search, not the arrival of what it found, which is bounded as a fetch is.
//
// FetchLayers panics as Fetch does.
func (t *Tiered) FetchLayers(ctx context.Context, f *Flight, instead Estimate) (*Arrival, error) {
	if !f.owner {
		panic(ErrNotOwner)
	}
	var s *transfer
	level, lower, err := t.look(ctx, func(tier *tier) (h *Handle) {
		h, s = tier.stream(ctx, f.c.key, instead)
		return h
	})
	if err != nil {
		return nil, err
	}
	a := &Arrival{kv: lower.KV(), done: make(chan struct{})}
	complete := func() { a.settle(t.promoted(f.complete(a.kv, lower, 1+level), a.kv, level), nil) }
	if s == nil {
		complete()
		return a, nil
	}
	p := new(progress)
	a.kv.progress = p
	go t.tiers[level].receive(s, p, func(err error) {
		if err == nil {
			complete()
			return
		}
		f.Fail(err) // before those who wait for a layer hear of it: they may claim again
		p.fail(err)
		a.settle(lower, p.err)
	})
	return a, nil
}
