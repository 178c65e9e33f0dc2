// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

var tierShape = kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 16}

const tierTokens = 16 // 4 KiB a KV

func tierKey(n int) kvcache.Key { return kvcache.Key{1, byte(n), byte(n >> 8)} }

func tierKV(n int) *kvcache.KV { return kvtest.NewKV(tierShape, tierTokens, uint64(n)) }

func requireKV(t *testing.T, h *kvcache.Handle, n int) {
	t.Helper()
	kvtest.CheckKV(t, h.KV(), tierShape, tierTokens, uint64(n))
}

// lower is a lower tier of a test.
type lower struct {
	*kvtest.Faulty
	medium *kvtest.Medium
}

func newLower(name string) lower {
	m := kvtest.NewMedium(name)
	return lower{kvtest.NewFaulty(m.Open()), m}
}

// seed puts a KV where the tier will find it.
func (l lower) seed(t *testing.T, n int) {
	t.Helper()
	require.NoError(t, l.Store.Put(t.Context(), tierKey(n), tierKV(n)))
}

// has reports whether the tier has a KV.
func (l lower) has(t *testing.T, n int) bool {
	t.Helper()
	h, err := l.Store.Get(t.Context(), tierKey(n))
	if err != nil {
		require.ErrorIs(t, err, kvcache.ErrNotFound)
		return false
	}
	requireKV(t, h, n)
	h.Release()
	return true
}

// events records what a store reports.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) listener() kvcache.EventListener {
	return kvcache.EventListener{
		Failed: func(f kvcache.FailEvent) { e.add(fmt.Sprintf("%s %s failed", f.Tier, f.Op)) },
		State: func(s kvcache.StateEvent) {
			e.add(fmt.Sprintf("%s %s %s", s.Tier, s.Op, map[bool]string{true: "up", false: "down"}[s.Up]))
		},
	}
}

func (e *events) add(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// pass lets time pass in a bubble of synctest, and all that was due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fetch claims a key that is not in memory and fetches it; it returns how long that took, and whether it was there.
func fetch(t *testing.T, s *kvcache.Tiered, n int, instead kvcache.Estimate) (time.Duration, bool) {
	t.Helper()
	_, f, owner := s.Claim(tierKey(n))
	require.True(t, owner, "KV %d is in memory, or in flight", n)
	start := time.Now()
	h, err := s.Fetch(t.Context(), f, instead)
	took := time.Since(start)
	if err != nil {
		require.ErrorIs(t, err, kvcache.ErrNotFound)
		f.Fail(nil)
		return took, false
	}
	requireKV(t, h, n)
	h.Release()
	return took, true
}

// A hit of the lowest tier is adopted by memory as it is, and written to the tier between.
func TestTieredPromotes(t *testing.T) {
	disk, remote := newLower("disk"), newLower("remote")
	remote.seed(t, 1)
	remote.seed(t, 2)
	s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: disk}, {Store: remote}}})
	_, ok := fetch(t, s, 1, kvcache.Estimate{})
	require.True(t, ok)
	h, err := s.Get(t.Context(), tierKey(2))
	require.NoError(t, err)
	require.NoError(t, s.Flush(t.Context()))
	require.True(t, disk.has(t, 1) && disk.has(t, 2))
	require.EqualValues(t, 0, remote.Puts(), "it has them")
	require.EqualValues(t, 2*h.KV().Bytes(), remote.medium.Lent(), "memory has the remote store's copies")

	gets := remote.Gets() + disk.Gets()
	again, err := s.Get(t.Context(), tierKey(2))
	require.NoError(t, err)
	require.Same(t, unsafe.SliceData(h.KV().Data()), unsafe.SliceData(again.KV().Data()))
	require.Equal(t, gets, remote.Gets()+disk.Gets(), "a hit in memory asks nobody")
	require.NoError(t, s.Delete(t.Context(), tierKey(2)))
	requireKV(t, h, 2)
	h.Release()
	again.Release()
	require.EqualValues(t, tierKV(1).Bytes(), remote.medium.Lent())
	require.False(t, disk.has(t, 2) || remote.has(t, 2))

	m := s.Metrics()
	require.Equal(t, [3]uint64{3, 0, 0}, [3]uint64{m.Hits, m.Misses, m.Puts})
	require.Equal(t, []string{"memory", "disk", "remote"}, []string{m.Tiers[0].Tier, m.Tiers[1].Tier, m.Tiers[2].Tier})
	require.NoError(t, s.Close())
	require.Zero(t, remote.medium.Lent())
}

// What a flight completes is in all tiers once it is flushed, or closed.
func TestTieredWritesBehind(t *testing.T) {
	disk, remote := newLower("disk"), newLower("remote")
	o := kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: disk}, {Store: remote, Timeout: time.Minute}}}
	s := kvcache.NewTiered(o)
	for n := range 20 {
		_, f, _ := s.Claim(tierKey(n))
		f.Complete(tierKV(n)).Release()
	}
	require.NoError(t, s.Close())
	o.Tiers = []kvcache.Tier{{Store: disk.medium.Open()}}
	s = kvcache.NewTiered(o)
	for n := range 20 {
		_, ok := fetch(t, s, n, kvcache.Estimate{})
		require.True(t, ok)
	}
	require.NoError(t, s.Close())
	disk.Faulty, remote.Faulty = kvtest.NewFaulty(disk.medium.Open()), kvtest.NewFaulty(remote.medium.Open())
	for n := range 20 {
		require.True(t, disk.has(t, n) && remote.has(t, n))
	}
}

// A tier that hangs, whatever its context says, costs one time-out; then nothing, until a probe finds it alive.
func TestTieredHang(t *testing.T) {
	for _, callers := range []int{1, 20} {
		synctest.Test(t, func(t *testing.T) {
			var e events
			remote := newLower("remote")
			remote.seed(t, 1)
			s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Events: e.listener(), Tiers: []kvcache.Tier{
				{Store: remote, Timeout: 100 * time.Millisecond, ProbeEvery: time.Second},
			}})
			until := make(chan struct{})
			remote.Inject(kvtest.Hang(until))
			var wg sync.WaitGroup
			for n := range callers {
				wg.Go(func() {
					took, ok := fetch(t, s, n, kvcache.Estimate{})
					if ok || took != 125*time.Millisecond {
						t.Errorf("a hanging tier costs %v", took)
					}
				})
			}
			wg.Wait()
			for n := range 1000 {
				took, ok := fetch(t, s, n, kvcache.Estimate{})
				require.False(t, ok)
				require.Zero(t, took)
			}
			require.NoError(t, s.Put(t.Context(), tierKey(2000), tierKV(2000)))
			require.EqualError(t, s.Delete(t.Context(), tierKey(2000)), "kvcache: delete from remote: it is out of use")
			m := s.Metrics()
			require.EqualValues(t, 1002, m.Skipped)
			require.EqualValues(t, callers, m.Failures)
			require.True(t, m.Down && m.Tiers[1].Down)
			require.EqualValues(t, callers, remote.Gets(), "nobody asked again")
			all := e.take()
			require.Len(t, all, callers+1)
			require.Contains(t, all, "remote get down")
			require.Contains(t, all, "remote get failed")

			pass(10 * time.Second)
			require.EqualValues(t, callers+1, remote.Gets(), "one probe, which hangs as well")
			close(until)
			remote.Inject(nil)
			pass(time.Second)
			require.Equal(t, []string{"remote get up"}, e.take())
			require.Zero(t, remote.medium.Lent(), "what came too late is released")
			took, ok := fetch(t, s, 1, kvcache.Estimate{})
			require.True(t, ok)
			require.Zero(t, took)
			require.False(t, s.Metrics().Down)
			require.NoError(t, s.Close())
		})
	}
}

// A tier that fails at once costs nothing at all, and one that is slow but heeds its context the time-out; a probe that is slow too does not bring it back.
func TestTieredFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e events
		refused := errors.New("connection refused")
		remote := newLower("remote")
		remote.seed(t, 1)
		s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Events: e.listener(), Tiers: []kvcache.Tier{
			{Store: remote, Timeout: 100 * time.Millisecond, ProbeEvery: time.Second},
		}})
		remote.Inject(kvtest.Fail(refused))
		took, ok := fetch(t, s, 1, kvcache.Estimate{})
		require.False(t, ok)
		require.Zero(t, took)
		require.Equal(t, []string{"remote get down"}, e.take())
		pass(10500 * time.Millisecond)
		require.EqualValues(t, 1+10, remote.Gets(), "one probe a second")
		remote.Inject(kvtest.Delay(99 * time.Millisecond))
		pass(time.Second)
		require.Equal(t, []string{"remote get up"}, e.take())
		took, ok = fetch(t, s, 1, kvcache.Estimate{})
		require.True(t, ok)
		require.Equal(t, 99*time.Millisecond, took)
		require.NoError(t, s.Delete(t.Context(), tierKey(1)))
		remote.seed(t, 1)

		remote.Inject(kvtest.Delay(101 * time.Millisecond))
		took, ok = fetch(t, s, 1, kvcache.Estimate{})
		require.False(t, ok)
		require.Equal(t, 100*time.Millisecond, took)
		pass(5 * time.Second)
		require.Equal(t, []string{"remote get down"}, e.take())

		// A damaged KV or a caller who leaves says nothing about the tier.
		remote.Inject(kvtest.Fail(&kvcache.CorruptError{Where: "remote"}))
		pass(5 * time.Second)
		require.Empty(t, e.take(), "a probe must be answered well")
		remote.Inject(nil)
		pass(time.Second)
		require.Equal(t, []string{"remote get up"}, e.take())
		remote.Inject(kvtest.Fail(&kvcache.CorruptError{Where: "remote"}))
		_, ok = fetch(t, s, 1, kvcache.Estimate{})
		require.False(t, ok)
		require.EqualValues(t, 1, s.Metrics().Corrupt)
		remote.Inject(kvtest.Delay(50 * time.Millisecond))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := s.Get(ctx, tierKey(1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		pass(time.Second)
		require.Empty(t, e.take())
		// But a tier that does not come back in time is found out even if nobody is left who waits.
		remote.Inject(kvtest.Delay(time.Hour))
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = s.Get(ctx, tierKey(1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		pass(200 * time.Millisecond)
		require.Equal(t, []string{"remote get down"}, e.take())
		require.NoError(t, s.Close())
	})
}

// A tier that cannot write (a full disk) is still read. Writes are tried again now and then.
func TestTieredFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e events
		disk := newLower("disk")
		disk.seed(t, 1)
		s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Events: e.listener(), Tiers: []kvcache.Tier{{Store: disk, ProbeEvery: time.Second}}})
		put := func(n int) {
			require.NoError(t, s.Put(t.Context(), tierKey(n), tierKV(n)))
			require.NoError(t, s.Flush(t.Context()))
		}
		disk.Inject(kvtest.Fail(errors.New("no space left on device"), "put"))
		for n := range 100 {
			put(100 + n)
		}
		require.Equal(t, []string{"disk put down"}, e.take())
		require.EqualValues(t, 1, disk.Puts())
		_, ok := fetch(t, s, 1, kvcache.Estimate{})
		require.True(t, ok)
		require.NoError(t, s.Delete(t.Context(), tierKey(100)), "deleting makes room")
		m := s.Metrics()
		require.EqualValues(t, 99, m.Skipped)
		require.EqualValues(t, 1, m.Failures)
		require.True(t, m.Down)
		for range 100 {
			pass(50 * time.Millisecond)
			put(300)
		}
		require.EqualValues(t, 1+5, disk.Puts(), "one try a second")
		disk.Inject(nil)
		pass(time.Second)
		put(301)
		put(302)
		require.Equal(t, []string{"disk put up"}, e.take())
		require.True(t, disk.has(t, 301) && disk.has(t, 302))
		require.NoError(t, s.Close())
	})
}

// Writes that the queue has no room for are dropped, counted and reported; nobody waits. What is in it is found, even if memory has given it up.
func TestTieredQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := tierKV(0).Bytes()
		for _, bound := range []kvcache.Tier{{QueueLen: 5}, {QueueBytes: 5*size + 100}} {
			var e events
			disk := newLower("disk")
			bound.Store = disk
			s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 2 * (size + kvcache.EntryOverhead), Events: e.listener(), Tiers: []kvcache.Tier{bound}})
			until := make(chan struct{})
			disk.Inject(kvtest.Hang(until, "put"))
			for n := range 20 {
				_, f, owner := s.Claim(tierKey(n))
				require.True(t, owner)
				f.Complete(tierKV(n)).Release()
				synctest.Wait() // the first is being written
			}
			m := s.Metrics()
			require.EqualValues(t, 14, m.Dropped)
			require.Equal(t, 6, m.Queued)
			require.Equal(t, 5*size, m.QueuedBytes)
			require.Len(t, e.take(), 14)
			require.Equal(t, 2, m.Entries)
			require.Equal(t, 6, m.Handles)
			for n := range 6 { // memory has only two
				h, err := s.Get(t.Context(), tierKey(n))
				require.NoError(t, err)
				requireKV(t, h, n)
				h.Release()
			}
			require.LessOrEqual(t, s.Metrics().PinnedBytes, 6*(size+kvcache.EntryOverhead), "one copy of each")
			kvtest.CheckMetrics(t, s.Metrics())

			// A newer KV takes the place of an older one that waits; a deletion takes it out.
			require.NoError(t, s.Put(t.Context(), tierKey(3), tierKV(77)))
			require.Equal(t, 6, s.Metrics().Queued)
			require.NoError(t, s.Delete(t.Context(), tierKey(4)))
			require.Equal(t, 5, s.Metrics().Queued)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			require.ErrorIs(t, s.Delete(ctx, tierKey(0)), context.DeadlineExceeded, "it is being written")
			require.ErrorIs(t, s.Flush(ctx), context.DeadlineExceeded)
			cancel()
			close(until)
			require.NoError(t, s.Flush(t.Context()))
			require.False(t, disk.has(t, 4))
			h, err := disk.Get(t.Context(), tierKey(3))
			require.NoError(t, err)
			requireKV(t, h, 77)
			h.Release()
			for _, n := range []int{0, 1, 2, 5} {
				require.True(t, disk.has(t, n))
			}
			m = s.Metrics()
			require.Zero(t, m.Handles+m.Queued)
			require.Zero(t, m.QueuedBytes)
			require.NoError(t, s.Close())
		}
	})
}

// Close waits for writes no longer than it may, and says what was lost.
func TestTieredCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e events
		disk, remote := newLower("disk"), newLower("remote")
		s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, CloseTimeout: 3 * time.Second, Events: e.listener(),
			Tiers: []kvcache.Tier{{Store: disk}, {Store: remote, Timeout: time.Hour}}})
		until := make(chan struct{})
		remote.Inject(kvtest.Hang(until, "put"))
		for n := range 5 {
			require.NoError(t, s.Put(t.Context(), tierKey(n), tierKV(n)))
		}
		start := time.Now()
		require.EqualError(t, s.Close(), "kvcache: 5 writes to remote were not done within 3s")
		require.Equal(t, 3*time.Second, time.Since(start))
		require.EqualError(t, s.Close(), "kvcache: 5 writes to remote were not done within 3s")
		synctest.Wait()
		require.Len(t, e.take(), 5)
		require.EqualValues(t, 5, s.Metrics().Dropped)
		require.NoError(t, s.Flush(t.Context()))
		require.Equal(t, 1, s.Metrics().Handles, "the write that hangs still reads its KV")
		close(until)
		synctest.Wait()
		require.Zero(t, s.Metrics().Handles)
		disk.Faulty = kvtest.NewFaulty(disk.medium.Open())
		for n := range 5 {
			require.True(t, disk.has(t, n))
		}
	})
}

// A tier from which fetching takes longer than encoding is left alone, but for a trial now and then, and taken again when it is quick.
func TestTieredFetchOrRecompute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newLower("remote")
		for n := range 300 {
			remote.seed(t, n)
		}
		s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: remote, Timeout: 10 * time.Second, ProbeEvery: time.Second}}})
		encode := kvcache.Estimate{Bytes: tierKV(0).Bytes(), Seconds: 0.050}
		remote.Inject(kvtest.Delay(40*time.Millisecond, "get"))
		next := 0
		try := func(instead kvcache.Estimate) bool {
			next++
			_, ok := fetch(t, s, next, instead)
			return ok
		}
		for range 10 {
			require.True(t, try(encode), "40 ms against 50")
		}
		half := encode
		half.Bytes /= 2
		half.Seconds /= 2
		require.True(t, try(half), "20 ms against 25")
		half.Seconds /= 2
		require.False(t, try(half), "20 ms against 12.5")
		require.True(t, try(kvcache.Estimate{}), "nothing is known about encoding")
		require.EqualValues(t, 1, s.Metrics().Skipped)

		remote.Inject(kvtest.Delay(200*time.Millisecond, "get"))
		taken := 0
		for try(encode) {
			taken++
		}
		require.Less(t, taken, 4, "the rate follows")
		for range 40 { // twenty seconds
			pass(500 * time.Millisecond)
			if try(encode) {
				taken++
			}
		}
		require.InDelta(t, 20, taken, 8, "a trial a second, about")
		remote.Inject(nil)
		pass(time.Second)
		for range 20 {
			try(encode)
			pass(time.Second)
		}
		for range 3 {
			require.True(t, try(encode), "quick again")
		}
		require.NoError(t, s.Close())
	})
}

// Large KVs are given time in proportion, at the rate that was measured, but not more than encoding takes.
func TestTieredTimeoutGrowsWithBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newLower("remote")
		s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: remote, Timeout: 100 * time.Millisecond, ProbeEvery: time.Second}}})
		remote.Inject(kvtest.Delay(time.Hour, "get"))
		took, _ := fetch(t, s, 1, kvcache.Estimate{Bytes: 100e6, Seconds: 60})
		require.Equal(t, 2100*time.Millisecond, took, "nothing is measured: 100 MB/s are assumed")
		remote.Inject(nil)
		pass(2 * time.Second)
		remote.Inject(kvtest.Delay(time.Hour, "get"))
		took, _ = fetch(t, s, 2, kvcache.Estimate{Bytes: 100e6, Seconds: 2.5})
		require.Equal(t, 2600*time.Millisecond, took, "no more than encoding takes")
		require.NoError(t, s.Close())
	})
}

// A namespace is part of every key: what one tenant stored is, for another, a key that nobody ever stored, in every tier. No API of the library takes a key
// from a client (see TestRequestsNameNoKeys in the root package), so there is nothing to guess.
func TestNamespacesShareNothing(t *testing.T) {
	disk, remote := newLower("disk"), newLower("remote")
	s := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: disk}, {Store: remote}}})
	config := kvcache.ScopeConfig{Model: [32]byte{1}, Encoding: "f32", Namespace: "a"}
	mine := kvcache.NewScope(config)
	config.Namespace = "b"
	theirs := kvcache.NewScope(config)
	keys := func(scope *kvcache.Scope) (all []kvcache.Key) {
		for n := range int32(50) {
			k := scope.Key([]int32{n, n + 1}, nil)
			all = append(all, k, scope.Key([]int32{n}, []kvcache.Source{{Key: k, Base: -2}}))
		}
		return all
	}
	for _, k := range keys(mine) {
		require.NoError(t, s.Put(t.Context(), k, tierKV(1)))
	}
	require.NoError(t, s.Flush(t.Context()))
	before := s.Metrics()
	for _, k := range keys(theirs) {
		require.NotContains(t, keys(mine), k)
		_, err := s.Get(t.Context(), k)
		require.ErrorIs(t, err, kvcache.ErrNotFound)
		h, f, owner := s.Claim(k)
		require.Nil(t, h)
		require.True(t, owner)
		f.Fail(nil)
	}
	// Every tier did for these keys what it does for any that it does not have, down to the last read: nothing differs that time could tell.
	for i, after := range s.Metrics().Tiers {
		require.Equal(t, before.Tiers[i].Hits, after.Hits, after.Tier)
		require.Equal(t, before.Tiers[i].ReadBytes, after.ReadBytes, after.Tier)
		require.Equal(t, before.Tiers[i].Misses+uint64(len(keys(theirs)))*map[bool]uint64{true: 2, false: 1}[i == 0], after.Misses, after.Tier)
	}
	for _, k := range keys(mine) {
		h, err := s.Get(t.Context(), k)
		require.NoError(t, err)
		h.Release()
	}
	require.NoError(t, s.Close())
}
