// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// TieredOptions say what a [Tiered] store is made of.
type TieredOptions struct {
	Memory int64  // byte budget of the memory tier; see [NewMemory]
	Tiers  []Tier // below it, the nearest first; the Tiered store closes them
	// Events are those of the memory tier, and what Tiered finds out about the others: that one does not answer in time or that a write to it
	// was dropped (Failed), that it goes out of use or comes back (State). What happens inside a lower store is that store's to report.
	Events EventListener
	// CloseTimeout bounds how long Close waits for queued writes; 10 s if it is 0.
	CloseTimeout time.Duration
}

// Tier is a store below memory and how it is treated.
type Tier struct {
	Store Store
	// Timeout bounds an operation: its context ends then, and if the store does not heed that, it is given up a quarter later. A put, and a fetch
	// with an [Estimate], get on top twice the time that their bytes should take at the measured rate, a fetch no more than encoding would
	// take. A store that streams (see [Tiered.FetchLayers]) is given up when it sends no layer for that long. With 0 nothing is bounded, which is
	// for a disk: the operation then runs in the goroutine that asks for it.
	Timeout time.Duration
	// ProbeEvery is how often a tier that went out of use is tried in the background, and how often one that has become too slow to be worth
	// it is given another chance; 1 s if it is 0.
	ProbeEvery time.Duration
	// Writes that wait for the tier are at most QueueLen (1024 if it is 0) of together at most QueueBytes (256 MiB if it is 0); a single one
	// may be larger.
	QueueLen   int
	QueueBytes int64
}

// Estimate is what is known about a KV before it is there: how large it would be and how long it would take to encode. A zero is unknown.
type Estimate struct {
	Bytes   int64
	Seconds float64
	// Shape and Tokens are what the KV must be of, if Shape is not zero. What a tier has under the key that is not so is damaged.
	Shape  Shape
	Tokens int
}

// fits reports whether kv may be what is asked for.
func (e Estimate) fits(kv *KV) bool {
	return e.Shape == Shape{} || kv.Shape() == e.Shape && kv.Tokens() == e.Tokens
}

// Tiered keeps KVs in memory, and below it in any number of stores that are larger, slower and outlive the process. The package comment says how.
// It is safe for concurrent use.
type Tiered struct {
	memory       *Memory
	tiers        []*tier
	closeTimeout time.Duration
	fetched      atomic.Uint64 // KVs that came from a lower tier
	fetchedBytes atomic.Uint64 // theirs

	close    sync.Once
	closeErr error
}

// NewTiered returns a store over o.Tiers, which it takes over.
func NewTiered(o TieredOptions) *Tiered {
	t := &Tiered{memory: NewMemory(o.Memory), closeTimeout: o.CloseTimeout}
	if t.closeTimeout == 0 {
		t.closeTimeout = 10 * time.Second
	}
	t.memory.events = o.Events
	for _, c := range o.Tiers {
		t.tiers = append(t.tiers, newTier(c, o.Events))
	}
	t.memory.below = t.tiers
	return t
}

// Get looks k up in memory and then in the lower tiers, nearest first. What a lower tier has moves up: into memory without a copy, into the tiers
// between by a queued write. A tier that is out of use, fails or has a damaged KV is as good as one without it, so the error is [ErrNotFound],
// ctx's or [ErrClosed].
func (t *Tiered) Get(ctx context.Context, k Key) (*Handle, error) {
	h, err := t.memory.Get(ctx, k)
	if !errors.Is(err, ErrNotFound) {
		return h, err
	}
	level, lower, err := t.look(ctx, func(tier *tier) *Handle { return tier.get(ctx, k, Estimate{}) })
	if err != nil {
		return nil, err
	}
	kv := lower.KV()
	e, err := t.memory.put(k, kv, lower, 1+level)
	if err != nil {
		lower.Release()
		return nil, err
	}
	return t.promoted(e, kv, level), nil
}

// Fetch is for the owner of a flight, before it encodes: it asks the lower tiers as Get does. On success the flight has ended and Fetch returns the
// owner's handle. After an error the flight is still to be ended; the error is [ErrNotFound] or ctx's.
//
// instead is what encoding would take. A tier whose measured rate says that fetching takes longer is skipped, but for a trial now and then.
//
// Fetch panics with [ErrNotOwner] or [ErrFinished] where [Flight.Complete] does.
func (t *Tiered) Fetch(ctx context.Context, f *Flight, instead Estimate) (*Handle, error) {
	if !f.owner {
		panic(ErrNotOwner)
	}
	level, lower, err := t.look(ctx, func(tier *tier) *Handle { return tier.get(ctx, f.c.key, instead) })
	if err != nil {
		return nil, err
	}
	kv := lower.KV()
	return t.promoted(f.complete(kv, lower, 1+level), kv, level), nil
}

// look asks the lower tiers, the nearest first, until one has what is looked for.
func (t *Tiered) look(ctx context.Context, ask func(*tier) *Handle) (level int, h *Handle, err error) {
	for level, tier := range t.tiers {
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		if h := ask(tier); h != nil {
			return level, h, nil
		}
	}
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	return 0, nil, ErrNotFound
}

// Has reports whether any tier has k, or a write to one is queued. A tier that is out of use or fails is as good as one without it, so the error is
// ctx's or [ErrClosed].
func (t *Tiered) Has(ctx context.Context, k Key) (bool, error) {
	has, err := t.memory.Has(ctx, k)
	if has || err != nil {
		return has, err
	}
	for _, tier := range t.tiers {
		if tier.has(ctx, k) {
			return true, nil
		}
	}
	return false, ctx.Err()
}

// promoted writes e, which came from a level and has a reference for every tier above it and one for the caller, to these tiers.
func (t *Tiered) promoted(e *entry, kv *KV, level int) *Handle {
	t.fetched.Add(1)
	t.fetchedBytes.Add(uint64(kv.Bytes()))
	t.memory.write(t.tiers[:level], e, kv)
	return newHandle(t.memory, e, kv)
}

// Claim is [Memory.Claim]: it looks into memory alone, and at what others are fetching or encoding. The owner of the flight may Fetch.
func (t *Tiered) Claim(k Key) (h *Handle, f *Flight, owner bool) { return t.memory.Claim(k) }

// GetOrEncode is [Memory.GetOrEncode], and asks the lower tiers before it calls encode.
func (t *Tiered) GetOrEncode(ctx context.Context, k Key, encode func(context.Context) (*KV, error)) (h *Handle, hit bool, err error) {
	return t.memory.getOrEncode(ctx, k, encode, func(f *Flight) *Handle {
		h, _ := t.Fetch(ctx, f, Estimate{})
		return h
	})
}

// Put keeps kv in memory and queues it for the lower tiers. What these had under k they may return until it is written, or if the write is dropped:
// a key stands for one KV. Put panics with [ErrNilKV] if kv is nil.
func (t *Tiered) Put(_ context.Context, k Key, kv *KV) error {
	e, err := t.memory.put(k, kv, nil, 1+len(t.tiers))
	if err != nil {
		return err
	}
	t.memory.write(t.tiers, e, kv)
	t.memory.release(e)
	return nil
}

// Delete forgets k in all tiers. The error says which of them may still have it.
func (t *Tiered) Delete(ctx context.Context, k Key) error {
	errs := []error{t.memory.Delete(ctx, k)}
	if errs[0] != nil {
		return errs[0]
	}
	for _, tier := range t.tiers {
		if err := tier.delete(ctx, k); err != nil {
			errs = append(errs, fmt.Errorf("kvcache: delete from %s: %w", tier.name, err))
		}
	}
	return errors.Join(errs...)
}

// Flush waits until nothing is queued for the lower tiers, or ctx ends.
func (t *Tiered) Flush(ctx context.Context) error {
	for _, tier := range t.tiers {
		if err := tier.queue.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Metrics returns the metrics of every tier in Tiers. The numbers of the whole are those of memory, except: a KV from a lower tier is a hit and
// not a put; ReadTime, Failures, Corrupt, Skipped, Dropped and the queue are what happened on the way to the lower tiers; Down says that one is
// out of use.
func (t *Tiered) Metrics() Metrics {
	fetched, bytes := t.fetched.Load(), t.fetchedBytes.Load() // before the misses and puts that they are a part of
	all := t.memory.Metrics()
	all.Tiers = []Metrics{all}
	all.Tier = "tiered"
	all.Hits += fetched
	all.Misses -= fetched
	all.Puts -= fetched
	all.Failures = 0 // memory's are flights
	all.ReadBytes += bytes
	all.WriteBytes -= bytes
	for _, tier := range t.tiers {
		m := tier.metrics()
		all.Tiers = append(all.Tiers, m)
		all.Skipped += tier.skipped.Load()
		all.Dropped += tier.dropped.Load()
		all.Failures += tier.failures.Load()
		all.Corrupt += tier.corrupt.Load()
		all.ReadTime += m.ReadTime
		all.Queued += m.Queued
		all.QueuedBytes += m.QueuedBytes
		all.Down = all.Down || m.Down
	}
	return all
}

// Close does the queued writes, for as long as [TieredOptions] allow, and closes all tiers. As with [Memory.Close], who is at work can finish.
func (t *Tiered) Close() error {
	t.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), t.closeTimeout)
		defer cancel()
		var errs []error
		for _, tier := range t.tiers {
			if n := tier.drain(ctx); n > 0 {
				errs = append(errs, fmt.Errorf("kvcache: %d writes to %s were not done within %v", n, tier.name, t.closeTimeout))
			}
		}
		errs = append(errs, t.memory.Close())
		for _, tier := range t.tiers {
			if err := tier.config.Store.Close(); err != nil {
				errs = append(errs, fmt.Errorf("kvcache: close %s: %w", tier.name, err))
			}
		}
		t.closeErr = errors.Join(errs...)
	})
	return t.closeErr
}
