// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

var shape = kvcache.Shape{Layers: 2, KVHeads: 2, HeadDim: 4}

// Each test KV has its own length, so that a mix-up shows in the shape as well.
func tokensOf(seed uint64) int { return 1 + int(seed%7) }

func makeKV(seed uint64) *kvcache.KV { return NewKV(shape, tokensOf(seed), seed) }

func keyOf(seed uint64) kvcache.Key {
	return kvcache.NewScope(kvcache.ScopeConfig{Namespace: "kvtest"}).Key([]int32{int32(seed)}, nil)
}

func cost(seed uint64) int64 { return makeKV(seed).Bytes() + kvcache.EntryOverhead }

type suite struct {
	*testing.T
	FlightStore
}

func (s suite) check(h *kvcache.Handle, seed uint64) {
	s.Helper()
	CheckKV(s.T, h.KV(), shape, tokensOf(seed), seed)
}

// metrics returns those of the store when it has nothing left to write.
func (s suite) metrics() kvcache.Metrics {
	s.Helper()
	return settled(s.T, s.FlightStore)
}

// put stores a KV whose key must be free and holds it, whether it is kept or not.
func (s suite) put(seed uint64) *kvcache.Handle {
	s.Helper()
	h := s.own(seed).Complete(makeKV(seed))
	s.check(h, seed)
	return h
}

func (s suite) get(seed uint64) *kvcache.Handle {
	s.Helper()
	h, err := s.Get(s.Context(), keyOf(seed))
	if err != nil {
		s.Fatalf("KV %d is not cached: %v", seed, err)
	}
	s.check(h, seed)
	return h
}

func (s suite) delete(seed uint64) {
	s.Helper()
	if err := s.Delete(s.Context(), keyOf(seed)); err != nil {
		s.Fatalf("Delete: %v", err)
	}
}

// own claims a key that must be free.
func (s suite) own(seed uint64) *kvcache.Flight {
	s.Helper()
	h, f, owner := s.Claim(keyOf(seed))
	if h != nil || f == nil || !owner {
		s.Fatalf("Claim of a free key: handle %v, flight %v, owner %v", h, f, owner)
	}
	return f
}

// join claims a key that must be in flight.
func (s suite) join(seed uint64) *kvcache.Flight {
	s.Helper()
	h, f, owner := s.Claim(keyOf(seed))
	if h != nil || f == nil || owner {
		s.Fatalf("Claim of a key in flight: handle %v, flight %v, owner %v", h, f, owner)
	}
	return f
}

func (s suite) panics(want error, f func()) {
	s.Helper()
	defer func() {
		s.Helper()
		if got, _ := recover().(error); !errors.Is(got, want) {
			s.Errorf("panic with %v, want %v", got, want)
		}
	}()
	f()
}

// Run tests the stores that open makes. budget is the byte budget of the
// memory tier. open cleans up after itself with tb.Cleanup.
func Run(t *testing.T, open func(tb testing.TB, budget int64) FlightStore) {
	const plenty = 1 << 20
	for _, c := range []struct {
		name   string
		budget int64
		test   func(suite)
	}{
		{"GetPut", plenty, testGetPut},
		{"HandleOutlivesDelete", plenty, testDelete},
		{"HandleOutlivesReplace", plenty, testReplace},
		{"HandleOutlivesPressure", 2 * cost(6), testPressure},
		{"LargerThanBudget", cost(6) - 1, testTooLarge},
		{"NoBudget", 0, testTooLarge},
		{"Release", plenty, testRelease},
		{"Misuse", plenty, testMisuse},
		{"Adopt", plenty, testAdopt},
		{"AdoptNoBudget", 0, testAdopt},
		{"AdoptPressure", 2 * cost(6), testAdoptPressure},
		{"Close", plenty, testClose},
		{"SingleFlight", plenty, testSingleFlight},
		{"SingleFlightNoBudget", 0, testSingleFlight},
		{"OwnerFails", plenty, testOwnerFails},
		{"OwnerCancelled", plenty, testOwnerCancelled},
		{"EncodePanics", plenty, testEncodePanics},
		{"WaiterCancelled", plenty, testWaiterCancelled},
		{"TwoRequests", plenty, testTwoRequests},
		{"Requests", plenty, func(s suite) { testRequests(s, true) }},
		{"RequestsTightBudget", 3 * cost(6), func(s suite) { testRequests(s, false) }},
		{"Concurrent", 8 * cost(6), testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, c.budget)
			CheckLeaks(t, store)
			c.test(suite{t, store})
		})
	}
}

func testGetPut(s suite) {
	if _, err := s.Get(s.Context(), keyOf(1)); !errors.Is(err, kvcache.ErrNotFound) {
		s.Fatalf("an empty store has a KV, or: %v", err)
	}
	for seed := range uint64(20) {
		if err := s.Put(s.Context(), keyOf(seed), makeKV(seed)); err != nil {
			s.Fatal(err)
		}
	}
	for seed := range uint64(20) {
		a, b := s.get(seed), s.get(seed)
		a.Release()
		s.check(b, seed)
		b.Release()
	}
	if m := s.metrics(); m.Hits != 40 || m.Misses != 1 || m.Puts != 20 {
		s.Errorf("want 40 hits, 1 miss, 20 puts: %+v", m)
	}
}

func testDelete(s suite) {
	h := s.put(1)
	s.delete(1)
	s.delete(1)
	if _, err := s.Get(s.Context(), keyOf(1)); !errors.Is(err, kvcache.ErrNotFound) {
		s.Errorf("deleted and still there, or: %v", err)
	}
	if m := s.metrics(); m.OrphanedEntries != 1 || m.OrphanedBytes == 0 {
		s.Errorf("the held KV is not counted as orphaned: %+v", m)
	}
	s.check(h, 1)
	h.Release()
	if m := s.metrics(); m.OrphanedEntries != 0 || m.OrphanedBytes != 0 {
		s.Errorf("orphans after the last release: %+v", m)
	}
}

func testReplace(s suite) {
	old := s.put(1)
	if err := s.Put(s.Context(), keyOf(1), makeKV(2)); err != nil {
		s.Fatal(err)
	}
	s.check(old, 1)
	h, err := s.Get(s.Context(), keyOf(1))
	if err != nil {
		s.Fatalf("replaced and lost: %v", err)
	}
	s.check(h, 2)
	old.Release()
	s.check(h, 2)
	h.Release()
}

func testPressure(s suite) {
	var held []*kvcache.Handle
	for seed := range uint64(30) {
		held = append(held, s.put(seed))
		CheckMetrics(s.T, s.Metrics())
	}
	for seed, h := range held {
		s.check(h, uint64(seed))
		h.Release()
		CheckMetrics(s.T, s.Metrics())
	}
}

func testTooLarge(s suite) {
	const seed = 6 // the longest
	h := s.put(seed)
	f := s.own(seed + 7)
	g := f.Complete(makeKV(seed + 7))
	s.check(g, seed+7)
	s.check(h, seed)
	if m := s.metrics(); m.Rejected != 2 || m.Entries != 0 {
		s.Errorf("want 2 rejected, none kept: %+v", m)
	}
	// One who waits gets it although it is not kept.
	f = s.own(20)
	waiter := s.join(20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h, err := waiter.Wait(context.Background())
		if err != nil {
			s.Errorf("Wait: %v", err)
			return
		}
		s.check(h, 20)
		h.Release()
	}()
	s.waiting(1)
	f.Complete(makeKV(20)).Release()
	<-done
	g.Release()
	h.Release()
}

// waiting lets goroutines run until there have been n waits and some time for
// them to get from Claim into Wait. Tests do not depend on that time for their
// verdict, except where they say so.
func (s suite) waiting(n uint64) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Metrics().Waits < n; {
		if time.Now().After(deadline) {
			s.Fatalf("%d waits, want %d", s.Metrics().Waits, n)
		}
		runtime.Gosched()
	}
	time.Sleep(20 * time.Millisecond)
}

func testRelease(s suite) {
	a, b := s.put(1), s.get(1)
	a.Release()
	a.Release() // must not take b's reference
	if m := s.metrics(); m.Handles != 1 || m.PinnedEntries != 1 {
		s.Errorf("want one handle: %+v", m)
	}
	s.check(b, 1)
	s.panics(kvcache.ErrReleased, func() { a.KV() })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(b.Release)
	}
	wg.Wait()
	if m := s.metrics(); m.Handles != 0 || m.PinnedBytes != 0 {
		s.Errorf("want no handle: %+v", m)
	}
}

func testMisuse(s suite) {
	f := s.own(1)
	other := s.join(1)
	s.panics(kvcache.ErrNotOwner, func() { other.Complete(makeKV(1)) })
	s.panics(kvcache.ErrNotOwner, func() { other.Adopt(kvcache.NewHandle(makeKV(1), nil)) })
	s.panics(kvcache.ErrNotOwner, func() { other.Fail(nil) })
	s.panics(kvcache.ErrNilKV, func() { f.Complete(nil) })
	s.panics(kvcache.ErrNilKV, func() { s.Put(s.Context(), keyOf(1), nil) })
	if _, err := f.Wait(context.Background()); !errors.Is(err, kvcache.ErrOwner) {
		s.Errorf("the owner waits for itself: %v", err)
	}
	h := f.Complete(makeKV(1))
	s.panics(kvcache.ErrFinished, func() { f.Complete(makeKV(1)) })
	s.panics(kvcache.ErrFinished, func() { f.Adopt(kvcache.NewHandle(makeKV(1), nil)) })
	f.Fail(errors.New("too late")) // does nothing
	for _, late := range []*kvcache.Flight{f, other} {
		g, err := late.Wait(context.Background())
		if err != nil {
			s.Fatalf("Wait for a completed flight: %v", err)
		}
		s.check(g, 1)
		g.Release()
	}
	h.Release()
	s.get(1).Release()

	f = s.own(2)
	f.Fail(nil)
	s.panics(kvcache.ErrFinished, func() { f.Complete(makeKV(2)) })
	if h, hit, err := s.GetOrEncode(context.Background(), keyOf(2), func(context.Context) (*kvcache.KV, error) { return nil, nil }); h != nil || hit || !errors.Is(err, kvcache.ErrNilKV) {
		s.Errorf("encode returned nothing: %v, %v, %v", h, hit, err)
	}
}

func testConcurrent(s suite) {
	const keys = 24
	deadline := time.Now().Add(300 * time.Millisecond)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			var held []*kvcache.Handle
			var seeds []uint64
			keep := func(h *kvcache.Handle, seed uint64) {
				held, seeds = append(held, h), append(seeds, seed)
			}
			for time.Now().Before(deadline) {
				seed := rng.Uint64N(keys)
				switch rng.IntN(8) {
				case 0:
					if err := s.Put(s.Context(), keyOf(seed), makeKV(seed)); err != nil {
						s.Errorf("Put: %v", err)
					}
				case 1:
					if err := s.Delete(s.Context(), keyOf(seed)); err != nil {
						s.Errorf("Delete: %v", err)
					}
				case 2:
					if h, err := s.Get(s.Context(), keyOf(seed)); err == nil {
						keep(h, seed)
					} else if !errors.Is(err, kvcache.ErrNotFound) {
						s.Errorf("Get: %v", err)
					}
				case 3:
					h, f, owner := s.Claim(keyOf(seed))
					switch {
					case h != nil:
						keep(h, seed)
					case owner && rng.IntN(2) == 0:
						f.Fail(nil)
					case owner && rng.IntN(2) == 0:
						keep(f.Adopt(kvcache.NewHandle(makeKV(seed), nil)), seed)
					case owner:
						keep(f.Complete(makeKV(seed)), seed)
					default:
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(50))*time.Microsecond)
						if h, err := f.Wait(ctx); err == nil {
							keep(h, seed)
						} else if !errors.Is(err, kvcache.ErrRetry) && !errors.Is(err, context.DeadlineExceeded) {
							s.Errorf("Wait: %v", err)
						}
						cancel()
					}
				default:
					h, _, err := s.GetOrEncode(context.Background(), keyOf(seed), func(context.Context) (*kvcache.KV, error) {
						if rng.IntN(3) == 0 {
							runtime.Gosched()
						}
						return makeKV(seed), nil
					})
					if err != nil {
						s.Errorf("GetOrEncode: %v", err)
						return
					}
					keep(h, seed)
				}
				CheckMetrics(s.T, s.Metrics())
				for len(held) > 6 {
					i := rng.IntN(len(held))
					s.check(held[i], seeds[i])
					held[i].Release()
					last := len(held) - 1
					held[i], seeds[i] = held[last], seeds[last]
					held, seeds = held[:last], seeds[:last]
				}
			}
			for i, h := range held {
				s.check(h, seeds[i])
				h.Release()
			}
		})
	}
	wg.Wait()
}
