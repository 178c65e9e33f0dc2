// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/internal/evict"
)

// The model: a store written for being obvious. The gauges are counted from scratch. In
// what order entries go is the business of package evict; the model has one of its own
// and tells it what the store should.

type modelEntry struct {
	kv     *KV
	stamp  float32 // written into the KV; nobody may change it
	refs   int
	cached bool
	lower  *int // how often the lower store's handle of an adopted KV was released
	item   evict.Item[Key]
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
	order   evict.Policy[Key]
	stamp   float32
	cached  map[Key]*modelEntry
	all     []*modelEntry // every entry that is cached or held
	flights map[Key]*modelFlight
	late    []lateFlight
	handles []modelHandle
	closed  []*Handle
	counts  Metrics // counters and budget only
}

func (s *machine) key(t *rapid.T) Key { return Key{byte(rapid.IntRange(0, 5).Draw(t, "key"))} }

func (s *machine) kv(t *rapid.T) *modelEntry {
	kv := NewKV(Shape{Layers: 1, KVHeads: 1, HeadDim: 1}, rapid.SampledFrom([]int{0, 1, 8, 16, 40, 100, 200}).Draw(t, "tokens"))
	kv.SetInfo(Info{Cost: rapid.SampledFrom([]float64{0, 0, 1, 20}).Draw(t, "cost")})
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
	if e.cached {
		s.order.Use(&e.item)
		s.order.Hold(&e.item)
	}
	s.taken(e, h)
}

// taken is a handle that came with the insertion.
func (s *machine) taken(e *modelEntry, h *Handle) {
	e.refs++
	s.handles = append(s.handles, modelHandle{h, e})
}

func (s *machine) dropped(e *modelEntry) {
	e.cached = false
	delete(s.cached, e.item.Value)
}

// insert is what Put and Complete do before anybody gets a handle.
func (s *machine) insert(k Key, e *modelEntry) {
	s.counts.Puts++
	s.counts.WriteBytes += uint64(e.kv.Bytes())
	s.all = append(s.all, e)
	e.item.Value = k
	if old := s.cached[k]; old != nil {
		s.order.Remove(&old.item)
		s.dropped(old)
		s.counts.Replaced++
	}
	if e.cost() > s.counts.Budget {
		s.counts.Rejected++
		return
	}
	for s.bytes()+e.cost() > s.counts.Budget {
		victim, _ := s.order.Evict()
		for k, c := range s.cached {
			if c.refs == 0 && s.cached[victim].refs > 0 {
				panic(fmt.Sprintf("%v goes, which is held, and %v is idle", victim, k))
			}
		}
		s.dropped(s.cached[victim])
		s.counts.Evictions++
	}
	e.cached = true
	s.cached[k] = e
	s.order.Add(&e.item, e.cost(), e.kv.Info().Cost, true)
}

func (s *machine) bytes() (n int64) {
	for _, e := range s.cached {
		n += e.cost()
	}
	return n
}

func (s *machine) hit(t *rapid.T, k Key, h *Handle) {
	s.counts.Hits++
	e := s.cached[k]
	if e == nil {
		t.Fatalf("hit of %v, which the model does not have", k)
	}
	s.counts.ReadBytes += uint64(e.kv.Bytes())
	s.acquire(e, h)
}

func (s *machine) get(t *rapid.T) {
	k := s.key(t)
	h, err := s.m.Get(context.Background(), k)
	if err == nil {
		s.hit(t, k, h)
		return
	}
	if h != nil || err != ErrNotFound {
		t.Fatalf("Get: %v, %v", h, err)
	}
	s.counts.Misses++
	if s.cached[k] != nil {
		t.Fatalf("entry %v is lost", k)
	}
}

func (s *machine) put(t *rapid.T) {
	k, e := s.key(t), s.kv(t)
	s.insert(k, e)
	if e.cached {
		s.order.Idle(&e.item)
	}
	if err := s.m.Put(context.Background(), k, e.kv); err != nil {
		t.Fatal(err)
	}
}

func (s *machine) delete(t *rapid.T) {
	k := s.key(t)
	if err := s.m.Delete(context.Background(), k); err != nil {
		t.Fatal(err)
	}
	if e := s.cached[k]; e != nil {
		s.order.Remove(&e.item)
		s.dropped(e)
		s.counts.Deletes++
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
		s.counts.Misses++
		s.flights[k] = &modelFlight{key: k, owner: f}
		return
	}
	s.counts.Waits++
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
	if rapid.Bool().Draw(t, "adopt") {
		e.lower = new(int)
		s.taken(e, fl.owner.Adopt(NewHandle(e.kv, func() { *e.lower++ })))
	} else {
		s.taken(e, fl.owner.Complete(e.kv))
	}
	for _, w := range fl.inside {
		r := <-w.result
		w.cancel()
		if r.err != nil {
			t.Fatalf("waiter of a completed flight: %v", r.err)
		}
		s.taken(e, r.h)
	}
	for _, f := range append(fl.joined, fl.owner) {
		s.late = append(s.late, lateFlight{f, e})
	}
}

func (s *machine) fail(t *rapid.T) {
	fl := s.flight(t)
	s.counts.Failures++
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
		s.counts.Misses++
		if outcome == "ok" {
			if err != nil {
				t.Fatal(err)
			}
			s.insert(k, e)
			s.taken(e, h)
			return
		}
		s.counts.Failures++
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
	if h.e.refs--; h.e.refs == 0 && h.e.cached {
		s.order.Idle(&h.e.item)
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
	s.all = slices.DeleteFunc(s.all, func(e *modelEntry) bool {
		gone := !e.cached && e.refs == 0
		if e.lower != nil && (gone && *e.lower != 1 || !gone && *e.lower != 0) {
			t.Fatalf("an adopted KV was released %d times, gone: %v", *e.lower, gone)
		}
		return gone
	})
	want := s.counts
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
	if got := s.m.Metrics(); !reflect.DeepEqual(got, want) {
		t.Fatalf("metrics\n%+v, want\n%+v", got, want)
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
	if s.m.order.Len() != len(s.cached) {
		t.Fatalf("%d entries in order, %d cached", s.m.order.Len(), len(s.cached))
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
	if st := s.m.Metrics(); st.Handles+st.PinnedEntries+st.OrphanedEntries+st.Flights != 0 || st.PinnedBytes+st.OrphanedBytes != 0 {
		t.Fatalf("left over: %+v", st)
	}
	for range s.cached { // what would go next, and so on
		want, _ := s.order.Evict()
		if got, ok := s.m.order.Evict(); !ok || got.key != want {
			t.Fatalf("%v goes before %v", got.key, want)
		}
	}
}

func TestMemoryAgainstModel(t *testing.T) {
	for _, budget := range []int64{-1, 0, EntryOverhead, 1500, 3000, 6000, 1 << 20} {
		t.Run(fmt.Sprint("budget=", budget), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := &machine{
					m:       NewMemory(budget),
					cached:  make(map[Key]*modelEntry),
					flights: make(map[Key]*modelFlight),
					counts:  Metrics{Tier: "memory", Budget: max(budget, 0)},
				}
				t.Repeat(map[string]func(*rapid.T){
					"get": s.get, "put": s.put, "delete": s.delete, "claim": s.claim, "claim again": s.claim,
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
