// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// What one process encodes, another one fetches. When the server dies, requests are delayed by one time-out and encode; when it is back, it is used again.
func TestTiered(t *testing.T) {
	t.Parallel() // mostly waits
	const timeout, keys = 300 * time.Millisecond, 20
	server := redistest.Start(t)
	var downs, ups atomic.Int64
	process := func() *kvcache.Tiered {
		s := open(t, server.URL(), Options{DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout})
		tiered := kvcache.NewTiered(kvcache.TieredOptions{
			Memory: 64 << 20,
			Tiers:  []kvcache.Tier{{Store: s, Timeout: timeout, ProbeEvery: 50 * time.Millisecond}},
			Events: kvcache.EventListener{State: func(e kvcache.StateEvent) {
				if e.Up {
					ups.Add(1)
				} else {
					downs.Add(1)
				}
			}},
		})
		t.Cleanup(func() { tiered.Close() })
		return tiered
	}
	// use gets the KVs with numbers from from on and returns how many had to be encoded.
	use := func(s *kvcache.Tiered, from int) (encoded int) {
		t.Helper()
		for i := from; i < from+keys; i++ {
			kv := randomKV(4, 20, byte(i))
			h, hit, err := s.GetOrEncode(t.Context(), kvcache.Key{1, byte(i)}, func(context.Context) (*kvcache.KV, error) { return kv, nil })
			require.NoError(t, err)
			kvtest.CheckSame(t, h.KV(), kv)
			h.Release()
			if !hit {
				encoded++
			}
		}
		return encoded
	}
	first, second := process(), process()
	require.Equal(t, keys, use(first, 0))
	require.NoError(t, first.Flush(t.Context()))
	require.Zero(t, use(second, 0))
	m := second.Metrics()
	require.Equal(t, []uint64{keys, 0}, []uint64{m.Tiers[1].Hits, m.Tiers[1].Puts})

	server.Kill()
	within(t, timeout+500*time.Millisecond, func() { require.Equal(t, keys, use(second, 100)) })
	require.True(t, second.Metrics().Down)
	require.Zero(t, use(second, 0), "memory has these")
	server.Restart()
	require.Eventually(t, func() bool { return !second.Metrics().Down && !first.Metrics().Down }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, keys, use(first, 150))
	require.NoError(t, first.Flush(t.Context()))
	require.Zero(t, use(second, 150))
	require.Positive(t, downs.Load())
	require.Positive(t, ups.Load())
	require.Zero(t, second.Metrics().Corrupt)
}
