// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

func TestLifetimes(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	const ttl, timeout = time.Hour, time.Minute
	s := open(t, server.URL(), Options{TTL: ttl, Timeout: timeout, Prefix: "test:"})
	k := kvcache.Key{1}
	node := s.node(k)
	first, second := randomKV(2, 70, 1), randomKV(3, 1, 2)

	// Everything expires, chunks after their header.
	lives := func(want map[string][2]time.Duration) {
		t.Helper()
		all := names(t, c)
		n := 0
		for _, name := range all {
			left := c.PTTL(t.Context(), name).Val()
			for prefix, between := range want {
				if strings.HasPrefix(name, prefix) && (name == node) == (prefix == node) {
					require.True(t, between[0] <= left && left <= between[1], "%s lives %v more, not %v", name, left, between)
					n++
				}
			}
		}
		require.Len(t, all, n)
	}
	header := [2]time.Duration{ttl - 10*time.Second, ttl}
	chunk := [2]time.Duration{ttl + timeout - 10*time.Second, ttl + timeout}
	require.NoError(t, s.Put(t.Context(), k, first))
	require.Len(t, names(t, c), 1+2*2)
	require.True(t, strings.HasPrefix(node, "test:1:{01000000"))
	lives(map[string][2]time.Duration{node: header, node + ":": chunk})

	// A reader of the first, who has just read its header, still finds its chunks after it was replaced.
	h, err := decode(k, []byte(c.Get(t.Context(), node).Val()))
	require.NoError(t, err)
	reader, err := s.start(t.Context(), k)
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), k, second))
	for l := range 2 {
		require.NoError(t, reader.Wait(t.Context(), l))
	}
	kvtest.CheckSame(t, reader.KV(), first)
	old := h.name(node, 0)[:len(node)+8]
	for _, name := range h.names(node) {
		left := c.PTTL(t.Context(), name).Val()
		require.True(t, 0 < left && left <= timeout, "%s lives %v more", name, left)
	}
	require.NoError(t, c.Unlink(t.Context(), h.names(node)...).Err())
	same(t, s, k, second)
	lives(map[string][2]time.Duration{node: header, node + ":": chunk})
	require.NotContains(t, strings.Join(names(t, c), " "), old)

	// A hit leaves a fresh node alone and renews one of which half has gone by.
	require.NoError(t, c.PExpire(t.Context(), node, ttl/2+time.Minute).Err())
	same(t, s, k, second)
	time.Sleep(20 * time.Millisecond)
	require.Less(t, c.PTTL(t.Context(), node).Val(), ttl/2+time.Minute+1)
	require.NoError(t, c.PExpire(t.Context(), node, ttl/3).Err())
	for _, name := range names(t, c) {
		require.NoError(t, c.PExpire(t.Context(), name, ttl/3).Err())
	}
	same(t, s, k, second)
	require.Eventually(t, func() bool { return c.PTTL(t.Context(), node).Val() > ttl/2 }, 5*time.Second, time.Millisecond)
	lives(map[string][2]time.Duration{node: header, node + ":": chunk})

	// Nothing is left of what is deleted.
	require.NoError(t, s.Delete(t.Context(), k))
	require.Empty(t, names(t, c))
	missing(t, s, k)
	m := s.Metrics()
	require.Equal(t, []uint64{4, 1, 2, 1, 1, 0}, []uint64{m.Hits, m.Misses, m.Puts, m.Replaced, m.Deletes, m.Failures})
}

func TestExpiry(t *testing.T) {
	t.Parallel() // mostly waits
	server := redistest.Start(t)
	s := open(t, server.URL(), Options{TTL: time.Second, Timeout: 300 * time.Millisecond})
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, randomKV(1, 1, 1)))
	require.Eventually(t, func() bool { return len(names(t, server.Client())) == 0 }, 5*time.Second, 20*time.Millisecond)
	missing(t, s, kvcache.Key{1})
}

func TestTooLarge(t *testing.T) {
	server := redistest.Start(t)
	k := kvcache.Key{1}
	small, large := randomKV(1, 1, 1), randomKV(1, 2, 2)
	s := open(t, server.URL(), Options{MaxKVBytes: small.Bytes()})
	require.NoError(t, s.Put(t.Context(), k, large))
	missing(t, s, k)
	require.NoError(t, s.Put(t.Context(), k, small))
	same(t, s, k, small)
	require.NoError(t, s.Put(t.Context(), k, large))
	same(t, s, k, small)

	// Another process may have stored a larger one.
	require.NoError(t, open(t, server.URL(), Options{}).Put(t.Context(), k, large))
	missing(t, s, k)
	m := s.Metrics()
	require.Equal(t, []uint64{2, 2, 3, 2}, []uint64{m.Hits, m.Misses, m.Puts, m.Rejected})
	same(t, open(t, server.URL(), Options{}), k, large)
}

func TestNew(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	s, err := New(c, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Probe(t.Context()))
	kv := randomKV(30, 10, 1)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	same(t, s, kvcache.Key{1}, kv)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Probe(t.Context()), kvcache.ErrClosed)
	require.NoError(t, c.Ping(t.Context()).Err(), "the client is the caller's")
	require.Panics(t, func() { s.Put(t.Context(), kvcache.Key{1}, nil) })
}

func TestTLS(t *testing.T) {
	server := redistest.StartTLS(t)
	_, err := Open(t.Context(), server.URL(), Options{})
	require.ErrorContains(t, err, "certificate", "a certificate that nobody trusts")
	kv := randomKV(3, 70, 1)
	for _, s := range []*Store{open(t, server.URL(), Options{TLS: server.TLS}), open(t, server.URL()+"?skip_verify=true", Options{})} {
		require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
		same(t, s, kvcache.Key{1}, kv)
	}
}
