// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
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
		{"put e1", "bcde"}, // a is the least recently used
		{"rel e", "bcde"},
		{"get b", "bcde"}, {"rel b", "bcde"}, // a use makes it recent
		{"put f1", "bdef"}, // so c goes
		{"get d", "bdef"},
		{"put g1", "bdfg"}, // d is held: e goes, though d is older
		{"put h3", "gh"},   // b idle goes first, then of d, f, g (all held) d and f: the least recently taken
		{"put a4", "a"},    // everything else is held and goes
		{"put b5", "a"},    // larger than the budget: not kept, and nothing else suffers
		{"put a5", ""},     // replaces a with what cannot be kept
		{"put c4", "c"}, {"rel c", "c"}, {"put d1", "d"},
	}
	for i, s := range steps {
		c := s.do[4]
		switch s.do[:3] {
		case "put":
			handles[c] = m.Put(key(c), block(int(s.do[5]-'0')))
		case "get":
			h, ok := m.Get(key(c))
			require.True(t, ok, "%d: %s", i, s.do)
			handles[c] = h
		case "rel":
			handles[c].Release()
		}
		require.Equal(t, s.want, cachedKeys(m), "%d: %s", i, s.do)
	}
}

func TestAccounting(t *testing.T) {
	m := NewMemory(10 * EntryOverhead)
	a := m.Put(Key{1}, block(4))
	b := m.Put(Key{2}, block(6)) // exactly full
	require.Equal(t, Stats{Puts: 2, Budget: 2560, Entries: 2, Bytes: 2560, PinnedEntries: 2, PinnedBytes: 2560, Handles: 2}, m.Stats())
	c := m.Put(Key{3}, block(1))
	require.Equal(t, Stats{Puts: 3, Evictions: 1, Budget: 2560, Entries: 2, Bytes: 7 * 256, PinnedEntries: 3, PinnedBytes: 11 * 256,
		OrphanedEntries: 1, OrphanedBytes: 4 * 256, Handles: 3}, m.Stats())
	a.Release()
	b.Release()
	c.Release()
	require.Equal(t, Stats{Puts: 3, Evictions: 1, Budget: 2560, Entries: 2, Bytes: 7 * 256}, m.Stats())

	m = NewMemory(10*EntryOverhead - 1) // one byte short
	m.Put(Key{1}, block(4)).Release()
	m.Put(Key{2}, block(6)).Release()
	require.Equal(t, Stats{Puts: 2, Evictions: 1, Budget: 2559, Entries: 1, Bytes: 6 * 256}, m.Stats())
	m.Put(Key{3}, block(10)).Release()
	require.Equal(t, Stats{Puts: 3, Evictions: 1, Rejected: 1, Budget: 2559, Entries: 1, Bytes: 6 * 256}, m.Stats())
}

// TestDroppedKVIsFreed: the store must not keep the numbers of a dropped entry
// alive, not even through a flight or a handle that somebody forgot to drop.
func TestDroppedKVIsFreed(t *testing.T) {
	m := NewMemory(1 << 20)
	_, f, _ := m.Claim(Key{1})
	h := f.Complete(block(3))
	e := h.e
	m.Evict(Key{1})
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
		m.Put(Key{2}, block(2)).Release()
		m.Evict(Key{2})
		wg.Wait()
		require.Equal(t, Stats{Misses: 1, Waits: waiters, Puts: 2, Evictions: 2, Budget: 2 * EntryOverhead}, m.Stats())
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
		st := m.Stats()
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
		require.Zero(t, m.Stats().Flights)
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
		require.Zero(t, m.Stats().Handles)
	})
}

func TestGetAllocations(t *testing.T) {
	m := NewMemory(1 << 20)
	m.Put(Key{1}, block(1)).Release()
	require.LessOrEqual(t, testing.AllocsPerRun(500, func() {
		h, _ := m.Get(Key{1})
		h.Release()
	}), 1.0) // the handle
	require.Zero(t, testing.AllocsPerRun(500, func() { m.Get(Key{2}) }))
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
		m.Put(all[i], block(1)).Release()
	}
	for _, goroutines := range []int{1, 4, 64} { // per processor
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(goroutines)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					h, ok := m.Get(all[(i*7)%keys])
					if !ok {
						b.Error("miss")
						return
					}
					h.Release()
				}
			})
		})
	}
}
