// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// Fault happens to an operation ("get", "put", "delete" or "has") of a [Faulty] store before it is done: if it returns an error, that is the outcome; it may
// also take its time.
type Fault func(ctx context.Context, op string, k kvcache.Key) error

// Fail is the fault that every operation of these kinds, or of all if none is named, ends with err.
func Fail(err error, ops ...string) Fault {
	return only(ops, func(context.Context) error { return err })
}

// Delay is the fault that an operation takes d longer, or until its context ends.
func Delay(d time.Duration, ops ...string) Fault {
	return only(ops, func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Hang is the fault that an operation does not end before until is closed, whatever its context says.
func Hang(until <-chan struct{}, ops ...string) Fault {
	return only(ops, func(context.Context) error {
		<-until
		return nil
	})
}

func only(ops []string, f func(context.Context) error) Fault {
	return func(ctx context.Context, op string, _ kvcache.Key) error {
		for _, o := range ops {
			if o == op {
				return f(ctx)
			}
		}
		if len(ops) == 0 {
			return f(ctx)
		}
		return nil
	}
}

// Faulty is a store that goes wrong as it is told. It is safe for concurrent use.
type Faulty struct {
	kvcache.Store
	fault atomic.Pointer[Fault]
	tried [4]atomic.Int64
}

// NewFaulty returns a store that does what s does until something is injected.
func NewFaulty(s kvcache.Store) *Faulty { return &Faulty{Store: s} }

// Inject makes f happen to every operation from now on; nil ends it.
func (s *Faulty) Inject(f Fault) {
	if f == nil {
		s.fault.Store(nil)
	} else {
		s.fault.Store(&f)
	}
}

// Gets, Puts and Deletes return how many of these were asked for.
func (s *Faulty) Gets() int64 { return s.tried[0].Load() }

// Puts is described with Gets.
func (s *Faulty) Puts() int64 { return s.tried[1].Load() }

// Deletes is described with Gets.
func (s *Faulty) Deletes() int64 { return s.tried[2].Load() }

func (s *Faulty) suffer(ctx context.Context, op int, k kvcache.Key) error {
	s.tried[op].Add(1)
	if f := s.fault.Load(); f != nil {
		return (*f)(ctx, [...]string{"get", "put", "delete", "has"}[op], k)
	}
	return nil
}

// Get is Store.Get.
func (s *Faulty) Get(ctx context.Context, k kvcache.Key) (*kvcache.Handle, error) {
	if err := s.suffer(ctx, 0, k); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, k)
}

// Put is Store.Put.
func (s *Faulty) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	if err := s.suffer(ctx, 1, k); err != nil {
		return err
	}
	return s.Store.Put(ctx, k, kv)
}

// Delete is Store.Delete.
func (s *Faulty) Delete(ctx context.Context, k kvcache.Key) error {
	if err := s.suffer(ctx, 2, k); err != nil {
		return err
	}
	return s.Store.Delete(ctx, k)
}

// Has is Store.Has.
func (s *Faulty) Has(ctx context.Context, k kvcache.Key) (bool, error) {
	if err := s.suffer(ctx, 3, k); err != nil {
		return false, err
	}
	return s.Store.Has(ctx, k)
}
