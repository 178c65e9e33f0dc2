// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// Layers can be read while later ones have not been sent.
func TestStream(t *testing.T) {
	server := redistest.Start(t)
	p := newProxy(t, server.Addr)
	s := open(t, "redis://"+p.addr, Options{ReadTimeout: 10 * time.Second})
	kv := randomKV(8, 64, 1) // eight layers of a MiB, in batches of two
	k := kvcache.Key{1}
	require.NoError(t, s.Put(t.Context(), k, kv))

	p.let(5<<20 + 512<<10)
	st, err := s.start(t.Context(), k)
	require.NoError(t, err)
	require.Equal(t, kv.Info(), st.KV().Info())
	size := len(kv.Data()) / 8
	// Whichever way the two exchanges under way share what passes, one batch is whole, and none after the second pair has begun.
	require.Eventually(t, func() bool { st.mu.Lock(); defer st.mu.Unlock(); return st.left < 8 }, 5*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, st.Wait(ctx, 7), context.DeadlineExceeded)
	require.NoError(t, st.Err())
	require.Zero(t, s.Metrics().Hits)
	st.mu.Lock()
	ready := slices.Clone(st.ready)
	st.mu.Unlock()
	for l := range 8 {
		if ready[l] {
			require.NoError(t, st.Wait(t.Context(), l))
			require.True(t, bytes.Equal(kv.Data()[l*size:(l+1)*size], st.KV().Data()[l*size:(l+1)*size]))
		}
	}

	p.let(everything)
	for l := range 8 {
		require.NoError(t, st.Wait(t.Context(), l))
	}
	kvtest.CheckSame(t, st.KV(), kv)
	require.EqualValues(t, 1, s.Metrics().Hits)
	st.Close() // does nothing
	require.NoError(t, st.Wait(t.Context(), 7))
	require.NoError(t, st.Err())
}

// Whoever closes a stream, or gives up on it, hears so at once; the store goes on.
func TestStreamGivenUp(t *testing.T) {
	server := redistest.Start(t)
	kv := randomKV(8, 64, 1)
	k := kvcache.Key{1}
	for name, giveUp := range map[string]func(*Store){
		"close": func(s *Store) {
			st, err := s.start(t.Context(), k)
			require.NoError(t, err)
			time.AfterFunc(20*time.Millisecond, st.Close)
			require.ErrorIs(t, st.Wait(t.Context(), 7), context.Canceled)
			require.ErrorIs(t, st.Err(), context.Canceled)
		},
		"cancel": func(s *Store) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err := s.Get(ctx, k)
			require.ErrorIs(t, err, context.Canceled)
		},
		"deadline": func(s *Store) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := s.Get(ctx, k)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, server.Addr)
			s := open(t, "redis://"+p.addr, Options{ReadTimeout: time.Second})
			require.NoError(t, s.Put(t.Context(), k, kv))
			p.let(1 << 20)
			within(t, 500*time.Millisecond, func() { giveUp(s) })
			p.let(everything)
			same(t, s, k, kv)
			require.NoError(t, s.Close())
			m := s.Metrics()
			require.Equal(t, []uint64{1, 0, 0}, []uint64{m.Hits, m.Misses, m.Failures}, "that a caller gives up is no failure")
		})
	}
}

// A layer that turns out to be damaged is not handed out; those before it were right.
func TestStreamOfDamaged(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), Options{})
	kv := randomKV(8, 128, 1) // a layer is a batch
	k := kvcache.Key{1}
	require.NoError(t, s.Put(t.Context(), k, kv))
	c := server.Client()
	h, err := decode(k, []byte(c.Get(t.Context(), s.node(k)).Val()))
	require.NoError(t, err)
	require.NoError(t, c.SetRange(t.Context(), h.name(s.node(k), 12), 1000, "damage").Err())
	st, err := s.start(t.Context(), k)
	require.NoError(t, err)
	size := len(kv.Data()) / 8
	var corrupt *kvcache.CorruptError
	require.ErrorAs(t, st.Wait(t.Context(), 6), &corrupt)
	lost := 0
	for l := range 6 {
		if err := st.Wait(t.Context(), l); err != nil { // it was under way
			require.ErrorIs(t, err, st.Err())
			lost++
			continue
		}
		require.True(t, bytes.Equal(kv.Data()[l*size:(l+1)*size], st.KV().Data()[l*size:(l+1)*size]))
	}
	require.LessOrEqual(t, lost, 1, "two exchanges are under way at a time")
	require.Contains(t, corrupt.Reason, "layer 6")
	require.ErrorIs(t, st.Wait(t.Context(), 6), st.Err())
	require.Empty(t, names(t, c))
	missing(t, s, k)
}
