// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrRetry is what Flight.Wait returns when the owner failed, or when the KV
	// was evicted before Wait was called. The key is free: claim it again.
	ErrRetry = errors.New("kvcache: claim again")
	// ErrOwner is what Flight.Wait returns to the owner of an unfinished flight,
	// who would wait for itself.
	ErrOwner = errors.New("kvcache: the owner of a flight waits for itself")
	// ErrNotOwner is the value Complete, Adopt and Fail panic with when called on a
	// flight that another caller owns.
	ErrNotOwner = errors.New("kvcache: flight finished by a caller who does not own it")
	// ErrFinished is the value Complete and Adopt panic with on a finished flight.
	ErrFinished = errors.New("kvcache: Complete on a finished flight")

	errGaveUp  = errors.New("gave up")
	errNoValue = errors.New("encode panicked or ended its goroutine")
)

// call is the encoding of one key, shared by its owner and those who wait. The
// fields other than done are guarded by the store's mutex until done is closed.
type call struct {
	key      Key
	done     chan struct{} // closed when finished
	waiting  int           // callers inside Wait; each gets a reference at Complete
	finished bool
	e        *entry // of a completed call
	err      error  // of a failed call
}

// Flight is one caller's part in the encoding of a key. Its owner must call
// Complete, Adopt or Fail. Others call Wait; they may also walk away. It is safe for
// concurrent use.
type Flight struct {
	m     *Memory
	c     *call
	owner bool
}

// Claim looks k up. It returns
//
//   - a handle (and no flight) if k is cached;
//   - a flight and owner == true if nobody is encoding k: the caller has to,
//     and must end the flight with Complete, Adopt or Fail;
//   - a flight and owner == false if another caller is: Wait for it.
//
// Claim never blocks. A caller who claims a key twice finds its own flight the
// second time and must not wait for it before it has finished it; see the package
// comment for the rule that keeps requests from waiting for each other.
func (m *Memory) Claim(k Key) (h *Handle, f *Flight, owner bool) {
	m.mu.Lock()
	if e := m.entries[k]; e != nil {
		kv := m.hit(e)
		m.mu.Unlock()
		return newHandle(m, e, kv), nil, false
	}
	c := m.flights[k]
	if c != nil {
		m.counts.Waits++
	} else {
		m.counts.Misses++
		c = &call{key: k, done: make(chan struct{})}
		m.flights[k] = c
		owner = true
	}
	m.mu.Unlock()
	return nil, &Flight{m: m, c: c, owner: owner}, owner
}

// Complete stores kv, wakes those who wait and returns the owner's handle. It
// panics with [ErrNilKV] if kv is nil, with [ErrNotOwner] if the caller does not
// own the flight and with [ErrFinished] if it has ended before. The caller must
// not write to kv any more.
func (f *Flight) Complete(kv *KV) *Handle {
	if kv == nil {
		panic(ErrNilKV)
	}
	e := f.complete(kv, nil, 1+len(f.m.below))
	f.m.write(f.m.below, e, kv)
	return newHandle(f.m, e, kv)
}

// Adopt is Complete with the KV of a handle from another store, say one that is
// mapped from a file. Nothing is copied: the flight's store takes over h, and releases
// it when the KV is neither indexed nor held any more. The caller must not use h
// after that. Of a [Tiered] store it is memory that adopts; nothing is written below, where
// h came from. Adopt panics as Complete does, and with [ErrReleased] if h is released.
func (f *Flight) Adopt(h *Handle) *Handle {
	kv := h.KV()
	return newHandle(f.m, f.complete(kv, h, 1), kv)
}

// complete stores kv, which belongs to lower unless that is nil, with refs references
// besides those of the waiters, and ends the flight.
func (f *Flight) complete(kv *KV, lower *Handle, refs int) *entry {
	if !f.owner {
		panic(ErrNotOwner)
	}
	m, c := f.m, f.c
	m.mu.Lock()
	defer m.unlock()
	if c.finished {
		panic(ErrFinished)
	}
	// Waiters get their references here, so that budget pressure cannot take the
	// entry away before they wake up.
	c.e = m.insert(c.key, kv, lower, refs+c.waiting)
	f.finish()
	return c.e
}

// Fail ends the flight without a KV. Those who wait are told to claim again; err
// is quoted to them but not wrapped, because it is the owner's error, not theirs.
// Fail does nothing on a finished flight, so it can be deferred. It panics with
// [ErrNotOwner] if the caller does not own the flight.
func (f *Flight) Fail(err error) {
	if !f.owner {
		panic(ErrNotOwner)
	}
	if err == nil {
		err = errGaveUp
	}
	m, c := f.m, f.c
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.finished {
		return
	}
	c.err = err
	m.counts.Failures++
	f.finish()
}

// finish ends the call; it needs the store's mutex.
func (f *Flight) finish() {
	f.c.finished = true
	delete(f.m.flights, f.c.key)
	close(f.c.done)
}

// Wait waits until the flight ends and returns a handle to its KV. The error
// wraps [ErrRetry] if the owner failed or if the KV is gone by the time Wait is
// called, it is ctx.Err() if ctx ends first, and [ErrOwner] if the caller owns
// the unfinished flight. The outcome of a finished flight is returned even if
// ctx has ended.
func (f *Flight) Wait(ctx context.Context) (*Handle, error) {
	m, c := f.m, f.c
	m.mu.Lock()
	switch {
	case c.finished && c.err != nil:
		m.mu.Unlock()
		return nil, c.retry()
	case c.finished:
		m.mu.Unlock()
		if h := m.again(c.e); h != nil {
			return h, nil
		}
		return nil, fmt.Errorf("%w: the KV was evicted before Wait", ErrRetry)
	case f.owner:
		m.mu.Unlock()
		return nil, ErrOwner
	}
	c.waiting++
	m.mu.Unlock()

	select {
	case <-c.done:
	case <-ctx.Done():
		m.mu.Lock()
		if !c.finished {
			c.waiting--
			m.mu.Unlock()
			return nil, ctx.Err()
		}
		m.mu.Unlock()
	}
	if c.err != nil {
		return nil, c.retry()
	}
	return newHandle(m, c.e, c.e.kv), nil // Complete took the reference
}

func (c *call) retry() error {
	return fmt.Errorf("%w: the owner failed: %v", ErrRetry, c.err)
}

// GetOrEncode returns the KV of k: from the cache, from the flight of another
// caller, or by calling encode and storing its result. hit is true if this call
// did not run encode. Among concurrent callers for one key only one runs encode.
//
// encode runs in the caller's goroutine with ctx. Its error is returned as it is,
// and only to the caller who ran it: those who wait try again themselves. If
// encode panics, the flight fails and the panic goes on. The error is ctx.Err()
// if ctx ends while waiting or before encode starts; a KV at hand is returned
// even then. encode may itself ask for the sources of k: the depth of nodes
// falls along such a chain, so it cannot become a circle.
func (m *Memory) GetOrEncode(ctx context.Context, k Key, encode func(context.Context) (*KV, error)) (h *Handle, hit bool, err error) {
	return m.getOrEncode(ctx, k, encode, nil)
}

// getOrEncode calls fetch, unless it is nil, before encode; if that returns a handle, the flight has ended.
func (m *Memory) getOrEncode(ctx context.Context, k Key, encode func(context.Context) (*KV, error), fetch func(*Flight) *Handle) (h *Handle, hit bool, err error) {
	for {
		h, f, owner := m.Claim(k)
		if h != nil {
			return h, true, nil
		}
		if owner {
			return f.run(ctx, encode, fetch)
		}
		h, err := f.Wait(ctx)
		if err == nil {
			return h, true, nil
		}
		if !errors.Is(err, ErrRetry) {
			return nil, false, err
		}
	}
}

// run ends the flight whatever happens.
func (f *Flight) run(ctx context.Context, encode func(context.Context) (*KV, error), fetch func(*Flight) *Handle) (h *Handle, hit bool, err error) {
	failure := errNoValue
	defer func() { f.Fail(failure) }() // does nothing after Complete
	if fetch != nil {
		if h := fetch(f); h != nil {
			return h, true, nil
		}
	}
	if failure = ctx.Err(); failure != nil {
		return nil, false, failure
	}
	failure = errNoValue
	kv, err := encode(ctx)
	switch {
	case err != nil:
		failure = err
	case kv == nil:
		failure = ErrNilKV
	default:
		return f.Complete(kv), false, nil
	}
	return nil, false, failure
}
