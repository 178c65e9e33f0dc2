// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// RunStore is the conformance suite of [kvcache.Store]. open makes an empty store with
// room for 256 MiB and cleans up after itself with tb.Cleanup, where Close may be
// called once more. The suite expects a store with room to remember what was put.
func RunStore(t *testing.T, open func(tb testing.TB) kvcache.Store) {
	for _, c := range []struct {
		name string
		test func(storeSuite)
	}{
		{"Empty", storeSuite.testEmpty},
		{"Forms", storeSuite.testForms},
		{"Keys", storeSuite.testKeys},
		{"Replace", storeSuite.testReplace},
		{"Delete", storeSuite.testDelete},
		{"Handles", storeSuite.testHandles},
		{"Large", storeSuite.testLarge},
		{"Cancelled", storeSuite.testCancelled},
		{"Metrics", storeSuite.testMetrics},
		{"Closed", storeSuite.testClosed},
		{"Concurrent", storeSuite.testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { checkGauges(t, s.Metrics()) })
			c.test(storeSuite{t, s})
		})
	}
}

// RunDurable tests that what is put is there after Close. Each call of prepare makes a
// place for a store (a folder, a server) and returns a function that opens a store over
// it, with room for 64 MiB.
func RunDurable(t *testing.T, prepare func(tb testing.TB) (open func() kvcache.Store)) {
	open := prepare(t)
	for range 3 { // opening what a store that put nothing has left is no different
		s := storeSuite{t, open()}
		for seed := range uint64(20) {
			if h, err := s.Get(t.Context(), keyOf(seed)); err == nil {
				t.Errorf("KV %d was there before it was put", seed)
				h.Release()
			}
		}
		s.close()
	}
	s := storeSuite{t, open()}
	for seed := range uint64(20) {
		s.put(keyOf(seed), form(seed))
	}
	s.delete(keyOf(7))
	s.close()
	for range 2 {
		s := storeSuite{t, open()}
		for seed := range uint64(20) {
			if seed == 7 {
				s.missing(keyOf(seed))
				continue
			}
			s.get(keyOf(seed), form(seed)).Release()
		}
		if m := s.metrics(); m.Hits != 19 || m.Misses != 1 || m.Puts != 0 {
			t.Errorf("opened again, 19 hits, 1 miss and no puts: %+v", m)
		}
		s.close()
	}
}

// storeSuite is one test at work on a store.
type storeSuite struct {
	*testing.T
	kvcache.Store
}

// metrics returns those of the store when it has nothing left to write.
func (s storeSuite) metrics() kvcache.Metrics {
	s.Helper()
	return settled(s, s.Store)
}

func (s storeSuite) put(k kvcache.Key, kv *kvcache.KV) {
	s.Helper()
	if err := s.Put(s.Context(), k, kv); err != nil {
		s.Fatalf("Put: %v", err)
	}
}

// get gets what must be want.
func (s storeSuite) get(k kvcache.Key, want *kvcache.KV) *kvcache.Handle {
	s.Helper()
	h, err := s.Get(s.Context(), k)
	if err != nil {
		s.Fatalf("Get: %v", err)
	}
	CheckSame(s, h.KV(), want)
	s.has(k, true)
	return h
}

func (s storeSuite) has(k kvcache.Key, want bool) {
	s.Helper()
	if has, err := s.Has(s.Context(), k); has != want || err != nil {
		s.Errorf("Has: %v, %v, want %v", has, err, want)
	}
}

func (s storeSuite) missing(k kvcache.Key) {
	s.Helper()
	h, err := s.Get(s.Context(), k)
	if h != nil || !errors.Is(err, kvcache.ErrNotFound) {
		s.Fatalf("Get of a KV that is not there: %v, %v", h, err)
	}
	s.has(k, false)
}

func (s storeSuite) delete(k kvcache.Key) {
	s.Helper()
	if err := s.Delete(s.Context(), k); err != nil {
		s.Fatalf("Delete: %v", err)
	}
}

func (s storeSuite) close() {
	s.Helper()
	if err := s.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
}

// CheckSame fails tb unless got is want to the last bit, with what is known about it, and
// its layers are where attention can read them.
func CheckSame(tb testing.TB, got, want *kvcache.KV) {
	tb.Helper()
	switch {
	case got.Shape() != want.Shape() || got.Tokens() != want.Tokens():
		tb.Errorf("KV is %+v × %d tokens, want %+v × %d", got.Shape(), got.Tokens(), want.Shape(), want.Tokens())
	case got.Info() != want.Info():
		tb.Errorf("KV's info is %+v, want %+v", got.Info(), want.Info())
	case !bytes.Equal(got.Data(), want.Data()):
		tb.Errorf("KV of %+v × %d tokens has other bits than were put", want.Shape(), want.Tokens())
	}
	if d := got.Data(); len(d) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(d)))%kvcache.Align != 0 {
		tb.Errorf("KV at %p, not at a multiple of %d", unsafe.SliceData(d), kvcache.Align)
	}
}

// form returns a KV of one of many shapes, formats and lengths, with random content and infos.
func form(seed uint64) *kvcache.KV {
	formats := attention.Formats()
	s := kvcache.Shape{
		Layers:  1 + int(seed%3),
		KVHeads: 1 + int(seed/2%3),
		HeadDim: []int{1, 5, 16, 33, 64}[seed%5],
		Format:  formats[seed%uint64(len(formats))],
	}
	return randomKV(s, []int{3, 0, 1, 15, 16, 17, 100}[seed%7], seed)
}

func randomKV(s kvcache.Shape, tokens int, seed uint64) *kvcache.KV {
	kv := kvcache.NewKV(s, tokens)
	content := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	content.Read(kv.Data())
	kv.SetInfo(kvcache.Info{Model: [32]byte{1, byte(seed)}, Scope: [32]byte{2, byte(seed)}, Cost: float64(seed) / 64})
	return kv
}

func (s storeSuite) testEmpty() {
	s.missing(keyOf(1))
	s.delete(keyOf(1))
	s.missing(keyOf(1))
	if m := s.metrics(); m.Misses != 2 || m.Hits != 0 || m.Puts != 0 || m.Deletes != 0 || m.Failures != 0 {
		s.Errorf("want 2 misses and nothing else: %+v", m)
	}
}

func (s storeSuite) testForms() {
	const n = 4 * 3 * 5 * 7 // every format with every length, and most other pairs
	for seed := range uint64(n) {
		s.put(keyOf(seed), form(seed))
	}
	for seed := range uint64(n) {
		a := s.get(keyOf(seed), form(seed))
		s.get(keyOf(seed), form(seed)).Release()
		CheckSame(s, a.KV(), form(seed))
		for l := range a.KV().Shape().Layers {
			if got := a.KV().Layer(l).Tokens(); got != a.KV().Tokens() {
				s.Errorf("layer %d has %d tokens of %d", l, got, a.KV().Tokens())
			}
		}
		a.Release()
		a.Release() // does nothing
	}
}

// Keys that differ in one bit, and those of zeros and ones, are keys like any other.
func (s storeSuite) testKeys() {
	keys := []kvcache.Key{{}, {}}
	for i := range keys[1] {
		keys[1][i] = 0xff
	}
	base := keyOf(1)
	for bit := 0; bit < 256; bit += 5 {
		k := base
		k[bit/8] ^= 1 << (bit % 8)
		keys = append(keys, k)
	}
	for i, k := range keys {
		s.missing(k)
		s.put(k, form(uint64(i)))
	}
	s.missing(base)
	for i, k := range keys {
		s.get(k, form(uint64(i))).Release()
	}
}

func (s storeSuite) testReplace() {
	s.put(keyOf(1), form(4))
	old := s.get(keyOf(1), form(4))
	s.put(keyOf(1), form(10))
	s.get(keyOf(1), form(10)).Release()
	CheckSame(s, old.KV(), form(4))
	old.Release()
	s.put(keyOf(1), form(10)) // with the same
	s.get(keyOf(1), form(10)).Release()
	if m := s.metrics(); m.Puts != 3 {
		s.Errorf("want 3 puts: %+v", m)
	}
}

func (s storeSuite) testDelete() {
	s.put(keyOf(1), form(4))
	s.put(keyOf(2), form(5))
	h := s.get(keyOf(1), form(4))
	s.delete(keyOf(1))
	s.missing(keyOf(1))
	CheckSame(s, h.KV(), form(4))
	s.delete(keyOf(1))
	s.get(keyOf(2), form(5)).Release()
	s.put(keyOf(1), form(6))
	s.get(keyOf(1), form(6)).Release()
	CheckSame(s, h.KV(), form(4))
	h.Release()
	if m := s.metrics(); m.Deletes != 1 && len(m.Tiers) == 0 { // a tiered store cannot tell what was deleted
		s.Errorf("want 1 deletion of something: %+v", m)
	}
}

func (s storeSuite) testHandles() {
	s.put(keyOf(1), form(4))
	h := s.get(keyOf(1), form(4))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(h.Release)
	}
	wg.Wait()
	func() {
		defer func() {
			if r := recover(); r != kvcache.ErrReleased {
				s.Errorf("KV of a released handle: %v", r)
			}
		}()
		h.KV()
	}()
	if m := s.metrics(); m.PinnedBytes != 0 {
		s.Errorf("bytes pinned without a handle: %+v", m)
	}
	// A handle outlives the store.
	last := s.get(keyOf(1), form(4))
	s.close()
	CheckSame(s, last.KV(), form(4))
	last.Release()
}

func (s storeSuite) testLarge() {
	tokens := 4000 // 46 MiB
	if testing.Short() {
		tokens = 400
	}
	shape := kvcache.Shape{Layers: 12, KVHeads: 2, HeadDim: 64}
	s.put(keyOf(1), randomKV(shape, tokens, 1))
	h := s.get(keyOf(1), randomKV(shape, tokens, 1))
	h.Release()
}

// An operation with a context that has ended does its work or says so, and harms nothing.
func (s storeSuite) testCancelled() {
	s.put(keyOf(1), form(4))
	ended, cancel := context.WithCancel(s.Context())
	cancel()
	late, cancelLate := context.WithDeadline(s.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for _, ctx := range []context.Context{ended, late} {
		told := func(op string, err error) {
			s.Helper()
			if err != nil && !errors.Is(err, ctx.Err()) {
				s.Errorf("%s with a context that has ended: %v", op, err)
			}
		}
		h, err := s.Get(ctx, keyOf(1))
		told("Get", err)
		if err == nil {
			CheckSame(s, h.KV(), form(4))
			h.Release()
		}
		err = s.Put(ctx, keyOf(2), form(5))
		told("Put", err)
		if h, err := s.Get(s.Context(), keyOf(2)); err == nil {
			CheckSame(s, h.KV(), form(5))
			h.Release()
		} else if !errors.Is(err, kvcache.ErrNotFound) {
			s.Errorf("Get after a cancelled Put: %v", err)
		}
		has, err := s.Has(ctx, keyOf(1))
		told("Has", err)
		if err == nil && !has {
			s.Error("Has does not find what is there")
		}
		told("Delete", s.Delete(ctx, keyOf(2)))
	}
	s.get(keyOf(1), form(4)).Release()
	s.put(keyOf(2), form(6))
	s.get(keyOf(2), form(6)).Release()
}

func (s storeSuite) testMetrics() {
	if m := s.metrics(); m.Tier == "" {
		s.Error("a store without a name")
	}
	var bytes uint64
	for seed := range uint64(10) {
		s.put(keyOf(seed), form(seed))
		s.get(keyOf(seed), form(seed)).Release()
		s.missing(keyOf(seed + 100))
		bytes += uint64(form(seed).Bytes())
	}
	m := s.metrics()
	if m.Hits != 10 || m.Misses != 10 || m.Puts != 10 || m.Corrupt+m.Failures+m.Skipped+m.Dropped+m.Evictions != 0 {
		s.Errorf("want 10 hits, 10 misses, 10 puts: %+v", m)
	}
	if m.ReadBytes < bytes || m.WriteBytes < bytes {
		s.Errorf("%d bytes written and read at least: %+v", bytes, m)
	}
	if m.Budget > 0 && (m.Bytes < int64(bytes) || m.Entries != 10) {
		s.Errorf("%d bytes in 10 entries at least: %+v", bytes, m)
	}
	held := []*kvcache.Handle{s.get(keyOf(1), form(1)), s.get(keyOf(1), form(1)), s.get(keyOf(2), form(2))}
	s.delete(keyOf(1))
	checkGauges(s, s.metrics())
	for _, h := range held {
		h.Release()
	}
	m = s.metrics()
	if m.PinnedBytes != 0 || m.PinnedEntries != 0 || m.OrphanedBytes != 0 || m.Handles != 0 {
		s.Errorf("all is released: %+v", m)
	}
	if m.Hits != 13 || m.Misses != 10 {
		s.Errorf("want 13 hits, 10 misses: %+v", m)
	}
}

// checkGauges fails tb if m contradicts itself in a way that no store may.
func checkGauges(tb testing.TB, m kvcache.Metrics) {
	tb.Helper()
	if m.Budget > 0 && m.Bytes > m.Budget {
		tb.Errorf("%d bytes with a budget of %d", m.Bytes, m.Budget)
	}
	if min(m.Bytes, m.Budget, m.PinnedBytes, m.OrphanedBytes, m.QueuedBytes) < 0 ||
		min(m.Entries, m.PinnedEntries, m.OrphanedEntries, m.Handles, m.Flights, m.Queued) < 0 {
		tb.Errorf("a gauge is negative: %+v", m)
	}
	if m.OrphanedEntries > m.PinnedEntries || m.OrphanedBytes > m.PinnedBytes {
		tb.Errorf("orphans are held, but: %+v", m)
	}
}

func (s storeSuite) testClosed() {
	s.put(keyOf(1), form(4))
	h := s.get(keyOf(1), form(4))
	s.close()
	if _, err := s.Get(s.Context(), keyOf(1)); !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Get after Close: %v", err)
	}
	if err := s.Put(s.Context(), keyOf(1), form(4)); !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Put after Close: %v", err)
	}
	if _, err := s.Has(s.Context(), keyOf(1)); !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Has after Close: %v", err)
	}
	if err := s.Delete(s.Context(), keyOf(1)); !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Delete after Close: %v", err)
	}
	if err := s.Close(); err != nil && !errors.Is(err, kvcache.ErrClosed) {
		s.Errorf("Close after Close: %v", err)
	}
	CheckSame(s, h.KV(), form(4))
	h.Release()
	s.Metrics()
}

// Many goroutines use few keys. What is put under a key is always the same, so every hit can be
// checked.
func (s storeSuite) testConcurrent() {
	const keys = 12
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(g, 9))
			for range rounds {
				n := r.Uint64N(keys)
				if err := s.step(r, n); err != nil {
					s.Errorf("KV %d: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for n := range uint64(keys) {
		s.put(keyOf(n), form(n))
		s.get(keyOf(n), form(n)).Release()
	}
	if m := s.metrics(); m.Failures != 0 || m.Corrupt != 0 || m.PinnedBytes != 0 {
		s.Errorf("no failure, nothing held: %+v", m)
	}
}

func (s storeSuite) step(r *rand.Rand, n uint64) error {
	ctx := s.Context()
	switch r.IntN(6) {
	case 0, 1:
		return s.Put(ctx, keyOf(n), form(n))
	case 2:
		return s.Delete(ctx, keyOf(n))
	case 3: // gives up at some moment
		short, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(200))*time.Microsecond)
		defer cancel()
		ctx = short
	}
	h, err := s.Get(ctx, keyOf(n))
	switch {
	case err == nil:
		defer h.Release()
		CheckSame(s, h.KV(), form(n))
		return nil
	case errors.Is(err, kvcache.ErrNotFound) || ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	}
	return err
}
