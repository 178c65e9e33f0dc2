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
	Store
}

func (s suite) check(h *kvcache.Handle, seed uint64) {
	s.Helper()
	CheckKV(s.T, h.KV(), shape, tokensOf(seed), seed)
}

func (s suite) put(seed uint64) *kvcache.Handle {
	s.Helper()
	h := s.Put(keyOf(seed), makeKV(seed))
	s.check(h, seed)
	return h
}

func (s suite) get(seed uint64) *kvcache.Handle {
	s.Helper()
	h, ok := s.Get(keyOf(seed))
	if !ok {
		s.Fatalf("KV %d is not cached", seed)
	}
	s.check(h, seed)
	return h
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
func Run(t *testing.T, open func(tb testing.TB, budget int64) Store) {
	const plenty = 1 << 20
	for _, c := range []struct {
		name   string
		budget int64
		test   func(suite)
	}{
		{"GetPut", plenty, testGetPut},
		{"HandleOutlivesEvict", plenty, testEvict},
		{"HandleOutlivesReplace", plenty, testReplace},
		{"HandleOutlivesPressure", 2 * cost(6), testPressure},
		{"LargerThanBudget", cost(6) - 1, testTooLarge},
		{"NoBudget", 0, testTooLarge},
		{"Release", plenty, testRelease},
		{"Misuse", plenty, testMisuse},
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
	if _, ok := s.Get(keyOf(1)); ok {
		s.Fatal("an empty store has a KV")
	}
	for seed := range uint64(20) {
		s.put(seed).Release()
	}
	for seed := range uint64(20) {
		a, b := s.get(seed), s.get(seed)
		a.Release()
		s.check(b, seed)
		b.Release()
	}
	st := s.Stats()
	if st.Hits != 40 || st.Misses != 1 || st.Puts != 20 {
		s.Errorf("want 40 hits, 1 miss, 20 puts: %+v", st)
	}
}

func testEvict(s suite) {
	h := s.put(1)
	if !s.Evict(keyOf(1)) {
		s.Error("Evict did not find the KV")
	}
	if s.Evict(keyOf(1)) {
		s.Error("Evict found the KV again")
	}
	if _, ok := s.Get(keyOf(1)); ok {
		s.Error("evicted and still there")
	}
	if st := s.Stats(); st.OrphanedEntries != 1 || st.OrphanedBytes == 0 {
		s.Errorf("the held KV is not counted as orphaned: %+v", st)
	}
	s.check(h, 1)
	h.Release()
	if st := s.Stats(); st.OrphanedEntries != 0 || st.OrphanedBytes != 0 {
		s.Errorf("orphans after the last release: %+v", st)
	}
}

func testReplace(s suite) {
	old := s.put(1)
	h := s.Put(keyOf(1), makeKV(2))
	s.check(old, 1)
	s.check(h, 2)
	got, ok := s.Get(keyOf(1))
	if !ok {
		s.Fatal("replaced and lost")
	}
	s.check(got, 2)
	old.Release()
	h.Release()
	s.check(got, 2)
	got.Release()
}

func testPressure(s suite) {
	var held []*kvcache.Handle
	for seed := range uint64(30) {
		held = append(held, s.put(seed))
		CheckStats(s.T, s.Stats())
	}
	for seed, h := range held {
		s.check(h, uint64(seed))
		h.Release()
		CheckStats(s.T, s.Stats())
	}
}

func testTooLarge(s suite) {
	const seed = 6 // the longest
	h := s.put(seed)
	f := s.own(seed + 7)
	g := f.Complete(makeKV(seed + 7))
	s.check(g, seed+7)
	s.check(h, seed)
	if st := s.Stats(); st.Rejected != 2 || st.Entries != 0 {
		s.Errorf("want 2 rejected, none kept: %+v", st)
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
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Waits < n; {
		if time.Now().After(deadline) {
			s.Fatalf("%d waits, want %d", s.Stats().Waits, n)
		}
		runtime.Gosched()
	}
	time.Sleep(20 * time.Millisecond)
}

func testRelease(s suite) {
	a, b := s.put(1), s.get(1)
	a.Release()
	a.Release() // must not take b's reference
	if st := s.Stats(); st.Handles != 1 || st.PinnedEntries != 1 {
		s.Errorf("want one handle: %+v", st)
	}
	s.check(b, 1)
	s.panics(kvcache.ErrReleased, func() { a.KV() })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(b.Release)
	}
	wg.Wait()
	if st := s.Stats(); st.Handles != 0 || st.PinnedBytes != 0 {
		s.Errorf("want no handle: %+v", st)
	}
}

func testMisuse(s suite) {
	f := s.own(1)
	other := s.join(1)
	s.panics(kvcache.ErrNotOwner, func() { other.Complete(makeKV(1)) })
	s.panics(kvcache.ErrNotOwner, func() { other.Fail(nil) })
	s.panics(kvcache.ErrNilKV, func() { f.Complete(nil) })
	s.panics(kvcache.ErrNilKV, func() { s.Put(keyOf(1), nil) })
	if _, err := f.Wait(context.Background()); !errors.Is(err, kvcache.ErrOwner) {
		s.Errorf("the owner waits for itself: %v", err)
	}
	h := f.Complete(makeKV(1))
	s.panics(kvcache.ErrFinished, func() { f.Complete(makeKV(1)) })
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
					keep(s.Put(keyOf(seed), makeKV(seed)), seed)
				case 1:
					s.Evict(keyOf(seed))
				case 2:
					if h, ok := s.Get(keyOf(seed)); ok {
						keep(h, seed)
					}
				case 3:
					h, f, owner := s.Claim(keyOf(seed))
					switch {
					case h != nil:
						keep(h, seed)
					case owner && rng.IntN(2) == 0:
						f.Fail(nil)
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
				CheckStats(s.T, s.Stats())
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
