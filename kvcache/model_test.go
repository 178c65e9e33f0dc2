// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The model: a store written for being obvious. Recency is a clock value, the
// gauges are counted from scratch, nothing is linked.

type modelEntry struct {
	kv     *KV
	stamp  float32 // written into the KV; nobody may change it
	refs   int
	cached bool
	used   int // clock of the last acquire, or of the last release of all
}

func (e *modelEntry) cost() int64 { return e.kv.Bytes() + EntryOverhead }

type modelHandle struct {
	h *Handle
	e *modelEntry
}

type modelWait struct {
	cancel context.CancelFunc
	result chan waitResult
}

type waitResult struct {
	h   *Handle
	err error
}

type modelFlight struct {
	key    Key
	owner  *Flight
	joined []*Flight    // claimed, not waited for
	inside []*modelWait // blocked in Wait
}

type lateFlight struct {
	f *Flight
	e *modelEntry // nil: failed
}

type machine struct {
	m       *Memory
	clock   int
	stamp   float32
	cached  map[Key]*modelEntry
	all     []*modelEntry // every entry that is cached or held
	flights map[Key]*modelFlight
	late    []lateFlight
	handles []modelHandle
	closed  []*Handle
	stats   Stats // counters and budget only
}

func (s *machine) key(t *rapid.T) Key { return Key{byte(rapid.IntRange(0, 5).Draw(t, "key"))} }

func (s *machine) kv(t *rapid.T) *modelEntry {
	kv := NewKV(Shape{Layers: 1, KVHeads: 1, HeadDim: 1}, rapid.SampledFrom([]int{0, 1, 8, 16, 40, 100, 200}).Draw(t, "tokens"))
	s.stamp++
	for i := range kv.Tokens() {
		kv.Layer(0).Store(i, []float32{s.stamp}, []float32{-s.stamp})
	}
	return &modelEntry{kv: kv, stamp: s.stamp}
}

// stamped reports whether the first and the last token hold the stamp.
func stamped(kv *KV, stamp float32) bool {
	for i := 0; i < kv.Tokens(); i += max(1, kv.Tokens()-1) {
		var k, v [1]float32
		if kv.Layer(0).Load(i, k[:], v[:]); k[0] != stamp || v[0] != -stamp {
			return false
		}
	}
	return true
}

func (s *machine) acquire(e *modelEntry, h *Handle) {
	s.clock++
	e.used = s.clock
	e.refs++
	s.handles = append(s.handles, modelHandle{h, e})
}

// insert is what Put and Complete do before anybody gets a handle.
func (s *machine) insert(k Key, e *modelEntry) {
	s.stats.Puts++
	s.all = append(s.all, e)
	if old := s.cached[k]; old != nil {
		old.cached = false
		delete(s.cached, k)
		s.stats.Replaced++
	}
	if e.cost() > s.stats.Budget {
		s.stats.Rejected++
		return
	}
	for s.bytes()+e.cost() > s.stats.Budget {
		var victim Key
		for k, c := range s.cached {
			v := s.cached[victim]
			if v == nil || (c.refs == 0) && (v.refs > 0) || (c.refs == 0) == (v.refs == 0) && c.used < v.used {
				victim = k
			}
		}
		s.cached[victim].cached = false
		delete(s.cached, victim)
		s.stats.Evictions++
	}
	e.cached = true
	s.cached[k] = e
}

func (s *machine) bytes() (n int64) {
	for _, e := range s.cached {
		n += e.cost()
	}
	return n
}

func (s *machine) hit(t *rapid.T, k Key, h *Handle) {
	s.stats.Hits++
	e := s.cached[k]
	if e == nil {
		t.Fatalf("hit of %v, which the model does not have", k)
	}
	s.acquire(e, h)
}

func (s *machine) get(t *rapid.T) {
	k := s.key(t)
	h, ok := s.m.Get(k)
	if ok {
		s.hit(t, k, h)
		return
	}
	s.stats.Misses++
	if s.cached[k] != nil {
		t.Fatalf("entry %v is lost", k)
	}
}

func (s *machine) put(t *rapid.T) {
	k, e := s.key(t), s.kv(t)
	s.insert(k, e)
	s.acquire(e, s.m.Put(k, e.kv))
}

func (s *machine) evict(t *rapid.T) {
	k := s.key(t)
	e := s.cached[k]
	if s.m.Evict(k) != (e != nil) {
		t.Fatalf("Evict of %v disagrees with the model", k)
	}
	if e != nil {
		e.cached = false
		delete(s.cached, k)
		s.stats.Evictions++
	}
}

func (s *machine) claim(t *rapid.T) {
	k := s.key(t)
	h, f, owner := s.m.Claim(k)
	if h != nil {
		if f != nil || owner {
			t.Fatal("Claim returned a handle and a flight")
		}
		s.hit(t, k, h)
		return
	}
	if s.cached[k] != nil {
		t.Fatalf("entry %v is lost", k)
	}
	fl := s.flights[k]
	if owner != (fl == nil) {
		t.Fatalf("owner is %v, flight in the model: %v", owner, fl != nil)
	}
	if owner {
		s.stats.Misses++
		s.flights[k] = &modelFlight{key: k, owner: f}
		return
	}
	s.stats.Waits++
	fl.joined = append(fl.joined, f)
}

// flight draws an open flight.
func (s *machine) flight(t *rapid.T) *modelFlight {
	var keys []Key
	for k := range s.flights {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		t.Skip("no flight")
	}
	slices.SortFunc(keys, func(a, b Key) int { return int(a[0]) - int(b[0]) })
	return s.flights[rapid.SampledFrom(keys).Draw(t, "flight")]
}

func (s *machine) wait(t *rapid.T) {
	fl := s.flight(t)
	if len(fl.joined) == 0 {
		t.Skip("nobody joined")
	}
	f := fl.joined[0]
	fl.joined = fl.joined[1:]
	s.waitIn(fl, func(ctx context.Context) (*Handle, error) { return f.Wait(ctx) })
}

// waitIn runs f, which waits for fl, and returns when it is inside Wait.
func (s *machine) waitIn(fl *modelFlight, f func(context.Context) (*Handle, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &modelWait{cancel, make(chan waitResult, 1)}
	go func() {
		h, err := f(ctx)
		w.result <- waitResult{h, err}
	}()
	fl.inside = append(fl.inside, w)
	s.settle(fl)
}

func (s *machine) settle(fl *modelFlight) {
	for {
		s.m.mu.Lock()
		n := fl.owner.c.waiting
		s.m.mu.Unlock()
		if n == len(fl.inside) {
			return
		}
		runtime.Gosched()
	}
}

func (s *machine) cancelWait(t *rapid.T) {
	fl := s.flight(t)
	if len(fl.inside) == 0 {
		t.Skip("nobody waits")
	}
	w := fl.inside[0]
	fl.inside = fl.inside[1:]
	w.cancel()
	if r := <-w.result; r.h != nil || !errors.Is(r.err, context.Canceled) {
		t.Fatalf("cancelled Wait returned %v, %v", r.h, r.err)
	}
}

func (s *machine) complete(t *rapid.T) {
	fl, e := s.flight(t), s.kv(t)
	s.insert(fl.key, e)
	delete(s.flights, fl.key)
	s.acquire(e, fl.owner.Complete(e.kv))
	for _, w := range fl.inside {
		r := <-w.result
		w.cancel()
		if r.err != nil {
			t.Fatalf("waiter of a completed flight: %v", r.err)
		}
		s.acquire(e, r.h)
	}
	// The clock must not show the order in which waiters came back.
	s.clock++
	e.used = s.clock
	for _, f := range append(fl.joined, fl.owner) {
		s.late = append(s.late, lateFlight{f, e})
	}
}

func (s *machine) fail(t *rapid.T) {
	fl := s.flight(t)
	s.stats.Failures++
	delete(s.flights, fl.key)
	fl.owner.Fail(context.Canceled)
	for _, w := range fl.inside {
		r := <-w.result
		w.cancel()
		if r.h != nil || !errors.Is(r.err, ErrRetry) || errors.Is(r.err, context.Canceled) {
			t.Fatalf("waiter of a failed flight: %v, %v", r.h, r.err)
		}
	}
	for _, f := range append(fl.joined, fl.owner) {
		s.late = append(s.late, lateFlight{f: f})
	}
}

func (s *machine) waitLate(t *rapid.T) {
	if len(s.late) == 0 {
		t.Skip("no finished flight")
	}
	l := rapid.SampledFrom(s.late).Draw(t, "finished flight")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h, err := l.f.Wait(ctx)
	if l.e == nil || !l.e.cached && l.e.refs == 0 {
		if h != nil || !errors.Is(err, ErrRetry) {
			t.Fatalf("late Wait returned %v, %v", h, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("late Wait for a live KV: %v", err)
	}
	s.acquire(l.e, h)
}

func (s *machine) getOrEncode(t *rapid.T) {
	k := s.key(t)
	if s.cached[k] == nil && s.flights[k] != nil {
		t.Skip("would wait")
	}
	e := s.kv(t)
	outcome := rapid.SampledFrom([]string{"ok", "ok", "error", "panic", "nothing"}).Draw(t, "outcome")
	broken := errors.New("broken")
	var h *Handle
	var hit bool
	var err error
	func() {
		defer func() {
			if r := recover(); r != nil && r != "bug" {
				panic(r)
			}
		}()
		h, hit, err = s.m.GetOrEncode(context.Background(), k, func(context.Context) (*KV, error) {
			switch outcome {
			case "error":
				return e.kv, broken
			case "panic":
				panic("bug")
			case "nothing":
				return nil, nil
			}
			return e.kv, nil
		})
	}()
	switch {
	case hit:
		s.hit(t, k, h)
	case s.cached[k] != nil:
		t.Fatalf("entry %v is lost", k)
	default:
		s.stats.Misses++
		if outcome == "ok" {
			if err != nil {
				t.Fatal(err)
			}
			s.insert(k, e)
			s.acquire(e, h)
			return
		}
		s.stats.Failures++
		want := map[string]error{"error": broken, "nothing": ErrNilKV}[outcome]
		if h != nil || !errors.Is(err, want) {
			t.Fatalf("outcome %s: %v, %v", outcome, h, err)
		}
	}
}

func (s *machine) release(t *rapid.T) {
	if len(s.handles) == 0 {
		t.Skip("no handle")
	}
	i := rapid.IntRange(0, len(s.handles)-1).Draw(t, "handle")
	h := s.handles[i]
	s.handles = slices.Delete(s.handles, i, i+1)
	h.h.Release()
	s.closed = append(s.closed, h.h)
	if h.e.refs--; h.e.refs == 0 {
		s.clock++
		h.e.used = s.clock
	}
}

func (s *machine) releaseAgain(t *rapid.T) {
	if len(s.closed) == 0 {
		t.Skip("no released handle")
	}
	h := rapid.SampledFrom(s.closed).Draw(t, "released")
	h.Release()
	defer func() {
		if r := recover(); r != ErrReleased {
			t.Fatalf("use after release: %v", r)
		}
	}()
	h.KV()
}

// check compares everything that can be seen, and the index itself.
func (s *machine) check(t *rapid.T) {
	s.all = slices.DeleteFunc(s.all, func(e *modelEntry) bool { return !e.cached && e.refs == 0 })
	want := s.stats
	want.Entries, want.Bytes = len(s.cached), s.bytes()
	want.Flights = len(s.flights)
	want.Handles = len(s.handles)
	for _, e := range s.all {
		if e.refs > 0 {
			want.PinnedEntries++
			want.PinnedBytes += e.cost()
			if !e.cached {
				want.OrphanedEntries++
				want.OrphanedBytes += e.cost()
			}
		}
	}
	if got := s.m.Stats(); got != want {
		t.Fatalf("stats\n%+v, want\n%+v", got, want)
	}
	if want.Bytes > max(want.Budget, 0) {
		t.Fatalf("%d bytes cached with a budget of %d", want.Bytes, want.Budget)
	}
	for k, e := range s.cached {
		if got := s.m.entries[k]; got == nil || got.kv != e.kv || got.refs != e.refs {
			t.Fatalf("entry %v is not the model's", k)
		}
	}
	for _, h := range s.handles {
		if h.h.KV() != h.e.kv {
			t.Fatal("a handle shows another KV")
		}
		if !stamped(h.h.KV(), h.e.stamp) {
			t.Fatal("a held KV was written to")
		}
	}
	for _, l := range []*list{&s.m.idle, &s.m.held} {
		for e := l.root.next; e != &l.root; e = e.next {
			if !e.indexed || e.next.prev != e || (e.refs == 0) != (l == &s.m.idle) {
				t.Fatal("an entry is in the wrong list")
			}
		}
	}
}

// finish ends flights and releases handles; then only the cache may remain.
func (s *machine) finish(t *rapid.T) {
	for len(s.flights) > 0 {
		s.fail(t)
	}
	for len(s.handles) > 0 {
		s.release(t)
	}
	s.check(t)
	if st := s.m.Stats(); st.Handles+st.PinnedEntries+st.OrphanedEntries+st.Flights != 0 || st.PinnedBytes+st.OrphanedBytes != 0 {
		t.Fatalf("left over: %+v", st)
	}
	var order []Key // eviction order: least recently used first
	for e := s.m.idle.back(); e != nil && e != &s.m.idle.root; e = e.prev {
		order = append(order, e.key)
	}
	if len(order) != len(s.cached) || !slices.IsSortedFunc(order, func(a, b Key) int { return s.cached[a].used - s.cached[b].used }) {
		t.Fatalf("LRU order %v", order)
	}
}

func TestMemoryAgainstModel(t *testing.T) {
	for _, budget := range []int64{-1, 0, EntryOverhead, 900, 2000, 4000, 1 << 20} {
		t.Run(fmt.Sprint("budget=", budget), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := &machine{
					m:       NewMemory(budget),
					cached:  make(map[Key]*modelEntry),
					flights: make(map[Key]*modelFlight),
					stats:   Stats{Budget: max(budget, 0)},
				}
				t.Repeat(map[string]func(*rapid.T){
					"get": s.get, "put": s.put, "evict": s.evict, "claim": s.claim, "claim again": s.claim,
					"wait": s.wait, "cancel wait": s.cancelWait, "late wait": s.waitLate,
					"complete": s.complete, "fail": s.fail, "get or encode": s.getOrEncode,
					"release": s.release, "release more": s.release, "release again": s.releaseAgain,
					"": s.check,
				})
				s.finish(t)
			})
		})
	}
}
