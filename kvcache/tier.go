// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// tier is a store below memory at work.
type tier struct {
	config Tier
	name   string
	events EventListener
	reads  breaker
	writes breaker
	fetch  meter
	put    meter
	queue  writeQueue
	stop   context.Context // ends when the tier is closed
	end    context.CancelFunc

	stuck                               atomic.Int32 // puts that did not end in time and have not yet
	skipped, dropped, failures, corrupt atomic.Uint64
}

func newTier(c Tier, events EventListener) *tier {
	if c.ProbeEvery == 0 {
		c.ProbeEvery = time.Second
	}
	if c.QueueLen == 0 {
		c.QueueLen = 1024
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 256 << 20
	}
	t := &tier{config: c, name: c.Store.Metrics().Tier, events: events}
	t.stop, t.end = context.WithCancel(context.Background())
	t.queue.init(t)
	return t
}

// get returns the KV of k, or nil if for whatever reason there is none to be had from this tier.
func (t *tier) get(ctx context.Context, k Key, instead Estimate) *Handle {
	h, ask, _ := t.prepare(k, instead)
	if !ask {
		return h
	}
	start := time.Now()
	t.fetch.begin()
	h, err := t.run(ctx, "get", k, t.fetch.limit(t.config.Timeout, instead, 1), func(ctx context.Context) (*Handle, error) {
		h, err := t.config.Store.Get(ctx, k)
		if err != nil || instead.fits(h.KV()) {
			return h, err
		}
		defer h.Release()
		return nil, t.misfit(ctx, k, h.KV(), instead)
	})
	var bytes int64
	switch {
	case err == nil:
		bytes = h.KV().Bytes()
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		bytes = instead.Bytes // it is no faster than that
	}
	t.fetch.end(bytes, time.Since(start))
	return h
}

// has reports whether the tier has k or is about to.
func (t *tier) has(ctx context.Context, k Key) bool {
	if h := t.queue.find(k); h != nil {
		h.Release()
		return true
	}
	if t.stop.Err() != nil || t.reads.down.Load() {
		return false
	}
	_, err := t.run(ctx, "has", k, t.config.Timeout, func(ctx context.Context) (*Handle, error) {
		ok, err := t.config.Store.Has(ctx, k)
		if err == nil && !ok {
			err = ErrNotFound
		}
		return nil, err
	})
	return err == nil
}

// prepare is the beginning of a fetch: it returns the KV of k if that is queued, and whether the store is to be asked, for a trial or because it pays.
func (t *tier) prepare(k Key, instead Estimate) (h *Handle, ask, trial bool) {
	if h := t.queue.find(k); h != nil {
		return h, false, false
	}
	if t.stop.Err() != nil {
		return nil, false, false
	}
	if !t.reads.down.Load() {
		ask, trial = t.fetch.worth(instead, t.config.ProbeEvery)
	}
	if !ask {
		t.skipped.Add(1)
	}
	return nil, ask, trial
}

// misfit takes a KV out of the store that was written under a key which it cannot belong to: its sums are right, so the store does not know.
func (t *tier) misfit(ctx context.Context, k Key, kv *KV, want Estimate) error {
	err := &CorruptError{Key: k, Where: t.name, Reason: fmt.Sprintf("it is of shape %+v and %d tokens, want %+v and %d", kv.Shape(), kv.Tokens(), want.Shape, want.Tokens)}
	if deleted := t.config.Store.Delete(ctx, k); deleted != nil {
		err.Reason += fmt.Sprintf(" (and it could not be deleted: %v)", deleted)
	}
	if t.events.Corrupt != nil {
		t.events.Corrupt(CorruptEvent{Tier: t.name, Err: err})
	}
	return err
}

// delete forgets k, and what is queued of it.
func (t *tier) delete(ctx context.Context, k Key) error {
	if err := t.queue.cancel(ctx, k); err != nil {
		return err
	}
	if t.reads.down.Load() || t.stuck.Load() > 0 { // a write that did not come back in time may come through later
		t.skipped.Add(1)
		return errDown
	}
	_, err := t.run(ctx, "delete", k, t.config.Timeout, func(ctx context.Context) (*Handle, error) {
		return nil, t.config.Store.Delete(ctx, k)
	})
	return err
}

// writable reports whether a write may be queued: to a tier that failed to write, when it is time to try again, and not while one hangs, which holds
// its KV.
func (t *tier) writable() bool {
	return !t.reads.down.Load() && t.stuck.Load() == 0 && (!t.writes.down.Load() || t.writes.due(t.config.ProbeEvery))
}

// write puts the KV of h and releases it.
func (t *tier) write(h *Handle) {
	if !t.writable() {
		t.skipped.Add(1)
		h.Release()
		return
	}
	kv, k := h.KV(), h.e.key
	start := time.Now()
	t.put.begin()
	limit := t.put.limit(t.config.Timeout, Estimate{Bytes: kv.Bytes()}, 1)
	_, err := t.run(t.stop, "put", k, limit, func(ctx context.Context) (*Handle, error) {
		defer h.Release() // not before the store is done with it, in time or not
		return nil, t.config.Store.Put(ctx, k, kv)
	})
	var bytes int64
	switch {
	case err == nil:
		bytes = kv.Bytes()
	case t.stop.Err() != nil:
		t.lost(k, errNotInTime)
	}
	t.put.end(bytes, time.Since(start))
}

var errDown = errors.New("it is out of use")

// run does an operation and judges the tier by its outcome. If limit is not 0 it returns within a little more than limit. The operation gets to the end
// of that even if ctx ends before: a caller without patience must not keep a tier that hangs from being found out.
func (t *tier) run(ctx context.Context, op string, k Key, limit time.Duration, f func(context.Context) (*Handle, error)) (*Handle, error) {
	start := time.Now()
	if limit <= 0 {
		h, err := f(ctx)
		if ctx.Err() == nil {
			t.judge(op, err)
		}
		return h, err
	}
	type outcome struct {
		h   *Handle
		err error
	}
	var settled atomic.Bool // the outcome is delivered, or nobody waits for it
	done, late := make(chan outcome, 1), make(chan error, 1)
	// A store that heeds its context reports for itself. One that does not is given up a little later.
	timer := time.AfterFunc(limit+limit/4, func() {
		if op == "put" {
			t.stuck.Add(1)
		}
		err := fmt.Errorf("kvcache: %s did not %s within %v: %w", t.name, op, limit, context.DeadlineExceeded)
		t.judge(op, err)
		if t.events.Failed != nil {
			t.events.Failed(FailEvent{t.name, op, k, err, time.Since(start)})
		}
		late <- err
	})
	go func() {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		h, err := f(work)
		if timer.Stop() {
			t.judge(op, err)
		} else if op == "put" {
			t.stuck.Add(-1)
		}
		if settled.CompareAndSwap(false, true) {
			done <- outcome{h, err}
		} else if h != nil {
			h.Release()
		}
	}()
	var err error
	select {
	case o := <-done:
		return o.h, o.err
	case err = <-late:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if settled.CompareAndSwap(false, true) {
		return nil, err
	}
	o := <-done // it came at the last moment
	return o.h, o.err
}

// judge puts the tier out of use when an operation failed, and back into use for writes when one succeeded.
func (t *tier) judge(op string, err error) {
	damaged := (*CorruptError)(nil)
	switch {
	case err == nil || errors.Is(err, ErrNotFound):
		if op == "put" && t.writes.down.CompareAndSwap(true, false) {
			t.report(StateEvent{Tier: t.name, Op: op, Up: true})
		}
	case errors.As(err, &damaged):
		t.corrupt.Add(1)
	case t.stop.Err() != nil:
	case op == "put":
		t.failures.Add(1)
		t.writes.failed()
		if t.writes.down.CompareAndSwap(false, true) {
			t.report(StateEvent{Tier: t.name, Op: op, Err: err})
		}
	default:
		t.failures.Add(1)
		if t.reads.down.CompareAndSwap(false, true) {
			t.report(StateEvent{Tier: t.name, Op: "get", Err: err})
			go t.probe()
		}
	}
}

func (t *tier) report(e StateEvent) {
	if t.events.State != nil {
		t.events.State(e)
	}
}

// probe asks a tier that is out of use for a KV that nobody has until it answers in time.
func (t *tier) probe() {
	tick := time.NewTicker(t.config.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.stop.Done():
			return
		case <-tick.C:
		}
		if t.alive() {
			t.reads.down.Store(false)
			t.report(StateEvent{Tier: t.name, Op: "get", Up: true})
			return
		}
	}
}

func (t *tier) alive() bool {
	ctx, limit := t.stop, t.config.Timeout
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	start := time.Now()
	h, err := t.config.Store.Get(ctx, Key{})
	if err == nil {
		h.Release()
	}
	return (err == nil || errors.Is(err, ErrNotFound)) && (limit == 0 || time.Since(start) <= limit)
}

// drain does the queued writes until ctx ends, and returns how many were not done.
func (t *tier) drain(ctx context.Context) int {
	t.queue.close()
	err := t.queue.flush(ctx)
	t.end()
	if err == nil {
		return 0
	}
	return t.queue.drop()
}

// lost counts and reports a write that was given up.
func (t *tier) lost(k Key, err error) {
	t.dropped.Add(1)
	if t.events.Failed != nil {
		t.events.Failed(FailEvent{Tier: t.name, Op: "put", Key: k, Err: err})
	}
}

func (t *tier) metrics() Metrics {
	m := t.config.Store.Metrics()
	m.Skipped += t.skipped.Load()
	m.Dropped += t.dropped.Load()
	m.Queued, m.QueuedBytes = t.queue.size()
	m.Down = m.Down || t.reads.down.Load() || t.writes.down.Load()
	return m
}
