// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// A server that takes connections and says nothing, and one that does not even do that, cost one time-out, whatever is asked.
func TestDeadServers(t *testing.T) {
	t.Parallel() // mostly waits
	silent := newProxy(t, redistest.Start(t).Addr)
	silent.let(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	const timeout = 200 * time.Millisecond
	for name, url := range map[string]string{
		"silent":          "redis://" + silent.addr,
		"refused":         "redis://" + l.Addr().String(),
		"silent cluster":  "redis://" + silent.addr + "?cluster=true",
		"refused cluster": "redis://" + l.Addr().String() + "?cluster=true",
	} {
		t.Run(name, func(t *testing.T) {
			var heard events
			o := Options{DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, Timeout: time.Minute, Events: heard.listener()}
			var s *Store
			// Dialling includes a first exchange; a Cluster is asked for its slots before.
			const once = 3*timeout + 400*time.Millisecond
			within(t, once, func() { s = open(t, url, o) }) // an outage is no error
			within(t, once, func() { require.ErrorContains(t, s.Probe(t.Context()), s.where) })
			within(t, once, func() {
				_, err := s.Get(t.Context(), kvcache.Key{1})
				require.Error(t, err)
				require.NotErrorIs(t, err, kvcache.ErrNotFound)
			})
			within(t, once, func() { require.Error(t, s.Put(t.Context(), kvcache.Key{1}, randomKV(8, 64, 1))) })
			within(t, once, func() { require.Error(t, s.Delete(t.Context(), kvcache.Key{1})) })
			ended, end := context.WithCancel(t.Context())
			end()
			_, err := Open(ended, url, o)
			require.ErrorIs(t, err, context.Canceled)
			// A caller in a hurry waits no longer than it wants to.
			ctx, cancel := context.WithTimeout(t.Context(), timeout/4)
			defer cancel()
			within(t, timeout/4+100*time.Millisecond, func() {
				_, err := s.Get(ctx, kvcache.Key{1})
				require.Error(t, err)
			})
			require.GreaterOrEqual(t, s.Metrics().Failures, uint64(3))
			require.Len(t, heard.failed, int(s.Metrics().Failures))
			require.Equal(t, []string{"get", "put", "delete"}, []string{heard.failed[0].Op, heard.failed[1].Op, heard.failed[2].Op})
			within(t, once, func() { require.NoError(t, s.Close()) })
		})
	}
}

// A server that trickles costs no more than Options.Timeout.
func TestSlowServer(t *testing.T) {
	p := newProxy(t, redistest.Start(t).Addr)
	s := open(t, "redis://"+p.addr, Options{ReadTimeout: 10 * time.Second, Timeout: 300 * time.Millisecond})
	kv := randomKV(8, 64, 1)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	p.let(3 << 20)
	within(t, 600*time.Millisecond, func() {
		_, err := s.Get(t.Context(), kvcache.Key{1})
		require.Error(t, err)
	})
	require.EqualValues(t, 1, s.Metrics().Failures)
	p.let(everything)
	same(t, s, kvcache.Key{1}, kv)
}

// A server is killed and started again while it is read and written.
func TestKilled(t *testing.T) {
	t.Parallel() // mostly waits
	server := redistest.Start(t)
	const timeout, keys = 500 * time.Millisecond, 6
	s := open(t, server.URL()+"?pool_size=16", Options{DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout})
	kvs := make([]*kvcache.KV, keys)
	for i := range kvs {
		kvs[i] = randomKV(4, 30+10*i, byte(i))
	}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	var ops, hits, failures atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := g; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % keys
				began := time.Now()
				var err error
				if n/keys%3 == 0 {
					err = s.Put(t.Context(), kvcache.Key{byte(i)}, kvs[i])
				} else {
					var h *kvcache.Handle
					if h, err = s.Get(t.Context(), kvcache.Key{byte(i)}); err == nil {
						kvtest.CheckSame(t, h.KV(), kvs[i])
						h.Release()
						hits.Add(1)
					}
				}
				ops.Add(1)
				var corrupt *kvcache.CorruptError
				if errors.As(err, &corrupt) {
					t.Error(err)
				}
				if err != nil && !errors.Is(err, kvcache.ErrNotFound) {
					failures.Add(1)
					time.Sleep(5 * time.Millisecond)
				}
				if took := time.Since(began); took > 3*timeout {
					t.Errorf("an operation took %v: %v", took, err)
				}
			}
		})
	}
	for range rounds {
		before := hits.Load()
		require.Eventually(t, func() bool { return hits.Load() > before+20 }, 20*time.Second, time.Millisecond, "no hits")
		failed := failures.Load()
		server.Kill()
		require.Eventually(t, func() bool { return failures.Load() > failed+4 }, 20*time.Second, time.Millisecond, "no failures")
		server.Restart()
	}
	before := hits.Load()
	require.Eventually(t, func() bool { return hits.Load() > before+20 }, 20*time.Second, time.Millisecond, "no hits after the last start")
	close(stop)
	wg.Wait()
	require.NoError(t, s.Probe(t.Context()))
	m := s.Metrics()
	require.Zero(t, m.Corrupt)
	require.EqualValues(t, failures.Load(), m.Failures)
	require.EqualValues(t, ops.Load(), m.Hits+m.Misses+m.Puts+m.Failures)
	require.Zero(t, m.Handles)
}

// A full server refuses what is new, keeps nothing of it, and serves what it has.
func TestFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "6mb", "--maxmemory-policy", "noeviction")
	var heard events
	s := open(t, server.URL(), Options{Events: heard.listener()})
	kv := randomKV(1, 60, 1) // 0.9 MiB
	stored := 0
	var full error
	for full == nil {
		full = s.Put(t.Context(), kvcache.Key{byte(stored)}, kv)
		if full == nil {
			stored++
		}
	}
	require.ErrorIs(t, full, ErrFull)
	require.ErrorContains(t, full, "put at "+server.Addr+": the server is full: OOM")
	require.Greater(t, stored, 2)
	large := randomKV(8, 60, 2) // of which the first exchange may fit
	require.ErrorIs(t, s.Put(t.Context(), kvcache.Key{100}, large), ErrFull)
	// What does not fit in the place of something leaves that as it was.
	require.ErrorIs(t, s.Put(t.Context(), kvcache.Key{0}, large), ErrFull)
	require.Len(t, names(t, server.Client()), 2*stored, "chunks without a header are left")
	for i := range stored {
		same(t, s, kvcache.Key{byte(i)}, kv)
	}
	missing(t, s, kvcache.Key{100})
	require.NoError(t, s.Probe(t.Context()), "it can still be read")
	for i := range 2 { // connections have a share of the memory, too
		require.NoError(t, s.Delete(t.Context(), kvcache.Key{byte(i)}))
	}
	require.Eventually(t, func() bool { return s.Put(t.Context(), kvcache.Key{0}, kv) == nil }, 5*time.Second, 10*time.Millisecond, "a server frees lazily")
	require.EqualValues(t, len(heard.failed), s.Metrics().Failures)
	require.ErrorIs(t, heard.failed[1].Err, ErrFull)
	require.Equal(t, kvcache.Key{100}, heard.failed[1].Key)
}

// A server that evicts takes chunks without asking; what is left is either whole or a miss.
func TestEvictingServer(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "12mb", "--maxmemory-policy", "allkeys-random")
	s := open(t, server.URL(), Options{})
	kvs := make([]*kvcache.KV, 30)
	hits := 0
	for i := range kvs {
		kvs[i] = randomKV(4, 8, byte(i)) // half a MiB in four chunks
		require.NoError(t, s.Put(t.Context(), kvcache.Key{byte(i)}, kvs[i]))
	}
	for i, kv := range kvs {
		h, err := s.Get(t.Context(), kvcache.Key{byte(i)})
		if err == nil {
			kvtest.CheckSame(t, h.KV(), kv)
			h.Release()
			hits++
			continue
		}
		require.ErrorIs(t, err, kvcache.ErrNotFound)
	}
	m := s.Metrics()
	require.Equal(t, []uint64{uint64(hits), uint64(len(kvs) - hits), 0, 0}, []uint64{m.Hits, m.Misses, m.Failures, m.Corrupt})
	require.Less(t, hits, len(kvs), "the server was to evict")
}

// A wrong password is an error at once, and no password is ever told.
func TestPassword(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "hunter2")
	for url, want := range map[string]string{
		"redis://:hunter3@%s":                "WRONGPASS",
		"redis://somebody:hunter3@%s":        "WRONGPASS",
		"redis://%s":                         "NOAUTH",
		"redis://:hunter3@%s?cluster=true":   "WRONGPASS",
		"redis://:hunter3@%s?client_name=me": "WRONGPASS",
	} {
		_, err := Open(t.Context(), fmt.Sprintf(url, server.Addr), Options{})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hunter", url)
		require.ErrorContains(t, err, server.Addr, url)
	}
	s := open(t, "redis://:hunter2@"+server.Addr, Options{})
	kv := randomKV(2, 2, 1)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	same(t, s, kvcache.Key{1}, kv)
	server.Kill()
	_, err := s.Get(t.Context(), kvcache.Key{1})
	require.ErrorContains(t, err, server.Addr)
	require.NotContains(t, err.Error(), "hunter")
}

// A client that may do little more than what the store needs.
func TestLeastRights(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	require.NoError(t, c.Do(t.Context(), "acl", "setuser", "kv", "on", ">pw", "resetkeys", "~graphkv:*", "-@all",
		"+get", "+set", "+getdel", "+pttl", "+pexpire", "+unlink", "+exists", "+hello").Err())
	s := open(t, "redis://kv:pw@"+server.Addr, Options{})
	kv := randomKV(2, 2, 1)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	same(t, s, kvcache.Key{1}, kv)
	require.NoError(t, s.Put(t.Context(), kvcache.Key{1}, kv))
	require.NoError(t, s.Delete(t.Context(), kvcache.Key{1}))
	require.NoError(t, s.Probe(t.Context()))
	require.Zero(t, s.Metrics().Failures)
}
