// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// randomKV returns a KV of layers × 16 KiB × blocks, filled with bytes that seed determines.
func randomKV(layers, blocks int, seed byte) *kvcache.KV {
	kv := kvcache.NewKV(kvcache.Shape{Layers: layers, KVHeads: 2, HeadDim: 64}, 16*blocks)
	rand.NewChaCha8([32]byte{seed}).Read(kv.Data())
	kv.SetInfo(kvcache.Info{Model: [32]byte{1, seed}, Scope: [32]byte{2, seed}, Cost: float64(seed) / 64})
	return kv
}

func open(tb testing.TB, url string, o Options) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), url, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { s.Close() })
	return s
}

// same fails tb unless s has want under k, to the last bit.
func same(tb testing.TB, s *Store, k kvcache.Key, want *kvcache.KV) {
	tb.Helper()
	h, err := s.Get(tb.Context(), k)
	require.NoError(tb, err)
	defer h.Release()
	kvtest.CheckSame(tb, h.KV(), want)
}

func missing(tb testing.TB, s *Store, k kvcache.Key) {
	tb.Helper()
	_, err := s.Get(tb.Context(), k)
	require.ErrorIs(tb, err, kvcache.ErrNotFound)
}

// names returns the names of all values of a server, in no order.
func names(tb testing.TB, c *goredis.Client) []string {
	tb.Helper()
	got, err := c.Keys(tb.Context(), "*").Result()
	require.NoError(tb, err)
	return got
}

// everything is as many bytes as a proxy will ever see.
const everything = math.MaxInt

// proxy stands between a client and a server and lets only so many bytes of answers through.
type proxy struct {
	addr string

	mu   sync.Mutex
	more *sync.Cond
	left int // bytes
	shut bool
}

func newProxy(tb testing.TB, server string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	p := &proxy{addr: l.Addr().String(), left: everything}
	p.more = sync.NewCond(&p.mu)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	tb.Cleanup(func() {
		l.Close()
		cancel()
		p.mu.Lock()
		p.shut = true
		p.mu.Unlock()
		p.more.Broadcast()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := new(net.Dialer).DialContext(ctx, "tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { client.Close(); upstream.Close() })
			wg.Go(func() { io.Copy(upstream, client); upstream.Close() })
			wg.Go(func() { p.pump(client, upstream); client.Close(); stop() })
		}
	})
	return p
}

func (p *proxy) pump(client, server net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := server.Read(b)
		for at := 0; at < n; {
			pass := p.take(n - at)
			if pass == 0 {
				return
			}
			if _, err := client.Write(b[at : at+pass]); err != nil {
				return
			}
			at += pass
		}
		if err != nil {
			return
		}
	}
}

// take waits until bytes may pass and returns how many of n; 0 after the test.
func (p *proxy) take(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.left == 0 && !p.shut {
		p.more.Wait()
	}
	n = min(n, p.left)
	p.left -= n
	return n
}

// let says how many bytes of answers may pass from now on.
func (p *proxy) let(bytes int) {
	p.mu.Lock()
	p.left = bytes
	p.mu.Unlock()
	p.more.Broadcast()
}

// within fails the test if f takes longer than limit.
func within(tb testing.TB, limit time.Duration, f func()) {
	tb.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > limit {
		tb.Errorf("took %v, may take %v", took, limit)
	}
}

// events collects what a listener hears.
type events struct {
	mu      sync.Mutex
	corrupt []kvcache.CorruptEvent
	failed  []kvcache.FailEvent
}

func (e *events) listener() kvcache.EventListener {
	return kvcache.EventListener{
		Corrupt: func(c kvcache.CorruptEvent) { e.mu.Lock(); defer e.mu.Unlock(); e.corrupt = append(e.corrupt, c) },
		Failed:  func(f kvcache.FailEvent) { e.mu.Lock(); defer e.mu.Unlock(); e.failed = append(e.failed, f) },
	}
}
