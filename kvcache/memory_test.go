// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// block is a KV whose cost is exactly units × EntryOverhead.
func block(units int) *KV {
	return NewKV(Shape{Layers: 1, KVHeads: 1, HeadDim: EntryOverhead / 128}, 16*(units-1))
}

// hold puts kv and holds it, whether it is kept or not.
func hold(m *Memory, k Key, kv *KV) *Handle {
	e, err := m.put(k, kv, nil, 1)
	if err != nil {
		panic(err)
	}
	return newHandle(m, e, kv)
}

// metrics returns those of m but for the bytes that went in and out.
func metrics(m *Memory) Metrics {
	s := m.Metrics()
	s.ReadBytes, s.WriteBytes = 0, 0
	return s
}

func cachedKeys(m *Memory) (keys string) {
	for _, k := range "abcdefgh" {
		if m.entries[Key{byte(k)}] != nil {
			keys += string(k)
		}
	}
	return keys
}

func TestEviction(t *testing.T) {
	key := func(c byte) Key { return Key{c} }
	m := NewMemory(4 * EntryOverhead)
	handles := make(map[byte]*Handle)
	steps := []struct {
		do   string
		want string
	}{
		{"put a1", "a"}, {"put b1", "ab"}, {"put c1", "abc"}, {"put d1", "abcd"},
		{"rel a", "abcd"}, {"rel b", "abcd"}, {"rel c", "abcd"}, {"rel d", "abcd"},
		{"put e1", "bcde"}, // all were used once, a least recently
		{"rel e", "bcde"},
		{"get b", "bcde"}, {"rel b", "bcde"}, // a use makes it worth more
		{"put f1", "bdef"}, // so c goes
		{"get d", "bdef"},
		{"put g1", "bdfg"}, // d is held: e goes, though d is older
		{"put h3", "gh"},   // b idle goes first, then of d, f, g (all held) f and d: f is worth least, g was used after d
		{"put a4", "a"},    // everything else is held and goes
		{"put b5", "a"},    // larger than the budget: not kept, and nothing else suffers
		{"put a5", ""},     // replaces a with what cannot be kept
		{"put c4", "c"}, {"rel c", "c"}, {"put d1", "d"},
	}
	for i, s := range steps {
		c := s.do[4]
		switch s.do[:3] {
		case "put":
			handles[c] = hold(m, key(c), block(int(s.do[5]-'0')))
		case "get":
			h, err := m.Get(t.Context(), key(c))
			require.NoError(t, err, "%d: %s", i, s.do)
			handles[c] = h
		case "rel":
			handles[c].Release()
		}
		require.Equal(t, s.want, cachedKeys(m), "%d: %s", i, s.do)
	}
}

func TestAccounting(t *testing.T) {
	m := NewMemory(10 * EntryOverhead)
	a := hold(m, Key{1}, block(4))
	b := hold(m, Key{2}, block(6)) // exactly full
	require.Equal(t, Metrics{Tier: "memory", Puts: 2, Budget: 5120, Entries: 2, Bytes: 5120, PinnedEntries: 2, PinnedBytes: 5120, Handles: 2}, metrics(m))
	c := hold(m, Key{3}, block(1))
	require.Equal(t, Metrics{Tier: "memory", Puts: 3, Evictions: 1, Budget: 5120, Entries: 2, Bytes: 7 * 512, PinnedEntries: 3, PinnedBytes: 11 * 512,
		OrphanedEntries: 1, OrphanedBytes: 4 * 512, Handles: 3}, metrics(m))
	a.Release()
	b.Release()
	c.Release()
	require.Equal(t, Metrics{Tier: "memory", Puts: 3, Evictions: 1, Budget: 5120, Entries: 2, Bytes: 7 * 512}, metrics(m))

	m = NewMemory(10*EntryOverhead - 1) // one byte short
	hold(m, Key{1}, block(4)).Release()
	hold(m, Key{2}, block(6)).Release()
	require.Equal(t, Metrics{Tier: "memory", Puts: 2, Evictions: 1, Budget: 5119, Entries: 1, Bytes: 6 * 512}, metrics(m))
	hold(m, Key{3}, block(10)).Release()
	require.Equal(t, Metrics{Tier: "memory", Puts: 3, Evictions: 1, Rejected: 1, Budget: 5119, Entries: 1, Bytes: 6 * 512}, metrics(m))
}

// What took long to encode for its size stays; what is evicted is reported.
func TestEvictionWeighsCost(t *testing.T) {
	m := NewMemory(3 * EntryOverhead)
	var evicted []EvictEvent
	m.events.Evicted = func(e EvictEvent) {
		m.Metrics() // the store is not locked
		evicted = append(evicted, e)
	}
	for i, cost := range []float64{1, 8, 1, 1} {
		kv := block(1)
		kv.SetInfo(Info{Cost: cost})
		require.NoError(t, m.Put(t.Context(), Key{byte(i)}, kv))
	}
	large := block(2)
	large.SetInfo(Info{Cost: 2})
	require.NoError(t, m.Put(t.Context(), Key{9}, large))
	require.Equal(t, []EvictEvent{{"memory", Key{0}, EntryOverhead}, {"memory", Key{2}, EntryOverhead}, {"memory", Key{3}, EntryOverhead}}, evicted)
}

// The accounted bytes are within 1 % of what the heap grows by.
func TestAccountingIsResidentMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	m := NewMemory(1 << 30)
	resident := func() int64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	s := Shape{Layers: 4, KVHeads: 3, HeadDim: 64}
	before := resident()
	for i := range 400 {
		require.NoError(t, m.Put(t.Context(), Key{byte(i), byte(i >> 8)}, NewKV(s, 20+i%30)))
	}
	require.InEpsilon(t, resident()-before, m.Metrics().Bytes, 0.01)
	before = resident()
	for i := range 100000 {
		require.NoError(t, m.Put(t.Context(), Key{1, 2, 3, 4, byte(i), byte(i >> 8), byte(i >> 16)}, NewKV(s, 0)))
	}
	require.Less(t, resident()-before, int64(100000*EntryOverhead))
	runtime.KeepAlive(m)
}

// TestDroppedKVIsFreed: the store must not keep the numbers of a dropped entry
// alive, not even through a flight or a handle that somebody forgot to drop.
func TestDroppedKVIsFreed(t *testing.T) {
	m := NewMemory(1 << 20)
	_, f, _ := m.Claim(Key{1})
	h := f.Complete(block(3))
	e := h.e
	m.Delete(t.Context(), Key{1})
	require.NotNil(t, e.kv)
	h.Release()
	require.Nil(t, e.kv)
	require.Nil(t, h.kv.Load())
	_, err := f.Wait(context.Background())
	require.ErrorIs(t, err, ErrRetry)
}

// TestWaitersSurvivePressure: a waiter that has not woken up yet owns its
// reference already, so the next Put cannot take the KV away from it.
func TestWaitersSurvivePressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(2 * EntryOverhead)
		_, f, owner := m.Claim(Key{1})
		require.True(t, owner)
		const waiters = 5
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() {
				_, w, _ := m.Claim(Key{1})
				h, err := w.Wait(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if h.KV().Tokens() != 16 {
					t.Errorf("%d tokens", h.KV().Tokens())
				}
				h.Release()
			})
		}
		synctest.Wait()
		kv := block(2)
		f.Complete(kv).Release()
		hold(m, Key{2}, block(2)).Release()
		m.Delete(t.Context(), Key{2})
		wg.Wait()
		require.Equal(t, Metrics{Tier: "memory", Misses: 1, Waits: waiters, Puts: 2, Evictions: 1, Deletes: 1, Budget: 2 * EntryOverhead}, metrics(m))
	})
}

// TestOwnershipMoves: each owner fails in turn; the waiters take over one after the other,
// each waits exactly as long as it has to, and encode never runs twice at once.
func TestOwnershipMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1 << 20)
		const callers = 6
		running, failed := 0, 0
		start := time.Now()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				h, _, err := m.GetOrEncode(t.Context(), Key{1}, func(context.Context) (*KV, error) {
					running++ // unguarded on purpose: single-flight orders these
					if running != 1 {
						t.Errorf("%d encoders at once", running)
					}
					time.Sleep(time.Second)
					running--
					if failed < 3 {
						failed++
						return nil, fmt.Errorf("failure %d", failed)
					}
					return block(2), nil
				})
				if (h == nil) == (err == nil) {
					t.Errorf("handle %v, error %v", h, err)
				}
				if h != nil {
					h.Release()
				}
			})
		}
		wg.Wait()
		require.Equal(t, 4*time.Second, time.Since(start))
		st := m.Metrics()
		require.EqualValues(t, 3, st.Failures)
		require.EqualValues(t, 4, st.Misses)
		require.EqualValues(t, 1, st.Puts)
		require.Zero(t, st.Handles)
	})
}

func TestWaitDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1 << 20)
		_, f, _ := m.Claim(Key{1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, _, err := m.GetOrEncode(ctx, Key{1}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
		f.Fail(errors.New("over"))
		require.Zero(t, m.Metrics().Flights)
	})
}

// TestNestedEncode: encode asks for the sources of its node, for all nodes of a
// DAG at once and from many goroutines; chains of waits always end.
func TestNestedEncode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes = 30
		m := NewMemory(1 << 20)
		encoded := make([]int, nodes)
		var get func(n int) (*Handle, error)
		get = func(n int) (*Handle, error) {
			h, _, err := m.GetOrEncode(t.Context(), Key{byte(n)}, func(context.Context) (*KV, error) {
				encoded[n]++
				time.Sleep(time.Millisecond)
				for d := 1; d <= 3 && d <= n; d++ {
					src, err := get(n - d)
					if err != nil {
						return nil, err
					}
					defer src.Release()
				}
				return block(2), nil
			})
			return h, err
		}
		var wg sync.WaitGroup
		for n := range 2 * nodes {
			wg.Go(func() {
				h, err := get((n * 7) % nodes)
				if err != nil {
					t.Error(err)
					return
				}
				h.Release()
			})
		}
		wg.Wait()
		for n, count := range encoded {
			require.Equal(t, 1, count, "node %d", n)
		}
		require.Zero(t, m.Metrics().Handles)
	})
}

func TestGetAllocations(t *testing.T) {
	m := NewMemory(1 << 20)
	hold(m, Key{1}, block(1)).Release()
	require.LessOrEqual(t, testing.AllocsPerRun(500, func() {
		h, _ := m.Get(t.Context(), Key{1})
		h.Release()
	}), 1.0) // the handle
	require.Zero(t, testing.AllocsPerRun(500, func() { m.Get(t.Context(), Key{2}) }))
}

// BenchmarkGetContended: all processors look up and release different keys. The
// time per operation is what the one mutex costs each of them.
func BenchmarkGetContended(b *testing.B) {
	const keys = 1024
	m := NewMemory(keys * EntryOverhead)
	s := NewScope(ScopeConfig{})
	all := make([]Key, keys)
	for i := range all {
		all[i] = s.Key([]int32{int32(i)}, nil)
		hold(m, all[i], block(1)).Release()
	}
	for _, goroutines := range []int{1, 4, 64} { // per processor
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(goroutines)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					h, err := m.Get(b.Context(), all[(i*7)%keys])
					if err != nil {
						b.Error(err)
						return
					}
					h.Release()
				}
			})
		})
	}
}
