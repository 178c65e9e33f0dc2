// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/graphkv/graphkv/kvcache"
)

func testSingleFlight(s suite) {
	const callers = 32
	var encoded, hits atomic.Int32
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			h, hit, err := s.GetOrEncode(context.Background(), keyOf(3), func(context.Context) (*kvcache.KV, error) {
				encoded.Add(1)
				<-release
				return makeKV(3), nil
			})
			if err != nil {
				s.Errorf("GetOrEncode: %v", err)
				return
			}
			if hit {
				hits.Add(1)
			}
			s.check(h, 3)
			<-release
			h.Release()
		})
	}
	s.waiting(callers - 1)
	if n := s.metrics().Flights; n != 1 {
		s.Errorf("%d flights, want 1", n)
	}
	close(release)
	wg.Wait()
	if s.metrics().Budget > 0 && (encoded.Load() != 1 || hits.Load() != callers-1) {
		s.Errorf("encoded %d times with %d hits, want 1 and %d", encoded.Load(), hits.Load(), callers-1)
	}
	if encoded.Load()+hits.Load() != callers {
		s.Errorf("%d encoded + %d hits, want %d", encoded.Load(), hits.Load(), callers)
	}
}

func testOwnerFails(s suite) {
	broken := errors.New("weights are gone")
	f := s.own(1)
	w := s.join(1)
	f.Fail(broken)
	_, err := w.Wait(context.Background())
	if !errors.Is(err, kvcache.ErrRetry) || errors.Is(err, broken) {
		s.Errorf("a waiter got %v, want ErrRetry and not the owner's own error", err)
	}
	s.own(1).Complete(makeKV(1)).Release()
	s.get(1).Release()

	// Every caller of GetOrEncode gets its own error, after its own attempt.
	var attempts atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		mine := fmt.Errorf("error of caller %d", i)
		wg.Go(func() {
			_, hit, err := s.GetOrEncode(context.Background(), keyOf(2), func(context.Context) (*kvcache.KV, error) {
				attempts.Add(1)
				return nil, mine
			})
			if err != mine || hit {
				s.Errorf("caller got %v, want %v", err, mine)
			}
		})
	}
	wg.Wait()
	if attempts.Load() != 10 {
		s.Errorf("%d attempts, want 10", attempts.Load())
	}
	if n := memoryTier(s.Metrics()).Failures; n != 11 {
		s.Errorf("%d failures counted, want 11", n)
	}
}

func testOwnerCancelled(s suite) {
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _, err := s.GetOrEncode(ctx, keyOf(1), func(ctx context.Context) (*kvcache.KV, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			s.Errorf("the cancelled owner got %v", err)
		}
	})
	<-started
	var encoded atomic.Int32
	for range 8 {
		wg.Go(func() {
			h, _, err := s.GetOrEncode(context.Background(), keyOf(1), func(context.Context) (*kvcache.KV, error) {
				encoded.Add(1)
				return makeKV(1), nil
			})
			if err != nil {
				s.Errorf("a waiter suffers from the owner's cancellation: %v", err)
				return
			}
			s.check(h, 1)
			h.Release()
		})
	}
	s.waiting(8)
	cancel()
	wg.Wait()
	if encoded.Load() != 1 {
		s.Errorf("encoded %d times after the owner was cancelled, want 1", encoded.Load())
	}

	// A context that has ended: encode does not start, a cached KV is returned.
	if _, _, err := s.GetOrEncode(ctx, keyOf(2), func(context.Context) (*kvcache.KV, error) {
		s.Error("encode started with a cancelled context")
		return makeKV(2), nil
	}); !errors.Is(err, context.Canceled) {
		s.Errorf("cancelled before encoding: %v", err)
	}
	h, hit, err := s.GetOrEncode(ctx, keyOf(1), nil)
	if err != nil || !hit {
		s.Fatalf("a cached KV needs no time, but: %v", err)
	}
	h.Release()
}

func testEncodePanics(s suite) {
	started, explode := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if r := recover(); r != "encoder bug" {
				s.Errorf("recovered %v, want the encoder's own panic", r)
			}
		}()
		s.GetOrEncode(context.Background(), keyOf(1), func(context.Context) (*kvcache.KV, error) {
			close(started)
			<-explode
			panic("encoder bug")
		})
	})
	<-started
	wg.Go(func() {
		h, hit, err := s.GetOrEncode(context.Background(), keyOf(1), func(context.Context) (*kvcache.KV, error) { return makeKV(1), nil })
		if err != nil || hit {
			s.Errorf("after the panic of another: hit %v, %v", hit, err)
			return
		}
		s.check(h, 1)
		h.Release()
	})
	s.waiting(1)
	close(explode)
	wg.Wait()

	// runtime.Goexit (a t.FailNow inside encode, say) must free the key as well.
	wg.Go(func() {
		s.GetOrEncode(context.Background(), keyOf(2), func(context.Context) (*kvcache.KV, error) {
			runtime.Goexit()
			return nil, nil
		})
	})
	wg.Wait()
	s.own(2).Fail(nil)
}

func testWaiterCancelled(s suite) {
	f := s.own(1)
	w := s.join(1)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error)
	go func() {
		_, err := w.Wait(ctx)
		errs <- err
	}()
	go func() {
		_, _, err := s.GetOrEncode(ctx, keyOf(1), nil)
		errs <- err
	}()
	s.waiting(2)
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			s.Errorf("the cancelled waiter got %v", err)
		}
	}
	h := f.Complete(makeKV(1)) // no reference may be left for the one who went
	if m := s.metrics(); m.Handles != 1 {
		s.Errorf("want the owner's handle alone: %+v", m)
	}
	h.Release()
	h, err := w.Wait(ctx) // finished: returned even with a cancelled context
	if err != nil {
		s.Fatal(err)
	}
	h.Release()

	// Cancellation and completion at once: either outcome, but no lost handle.
	for seed := uint64(100); seed < 200; seed++ {
		f, w := s.own(seed), s.join(seed)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if h, err := w.Wait(ctx); err == nil {
				s.check(h, seed)
				h.Release()
			} else if !errors.Is(err, context.Canceled) {
				s.Errorf("Wait: %v", err)
			}
		})
		wg.Go(cancel)
		wg.Go(func() { f.Complete(makeKV(seed)).Release() })
		wg.Wait()
	}
}
