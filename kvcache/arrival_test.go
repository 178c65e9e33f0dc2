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

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

var streamShape = kvcache.Shape{Layers: 5, KVHeads: 1, HeadDim: 16}

// streaming is a lower tier that streams, with one KV.
type streaming struct {
	lower
	*kvtest.Streaming
	key kvcache.Key
	kv  *kvcache.KV
}

func newStreaming(t *testing.T) streaming {
	l := newLower("remote")
	s := streaming{l, kvtest.NewStreaming(l), kvcache.Key{9}, kvtest.NewKV(streamShape, tierTokens, 9)}
	require.NoError(t, l.Store.Put(t.Context(), s.key, s.kv))
	return s
}

// layer returns the bytes of one layer.
func layer(kv *kvcache.KV, l int) []byte {
	n := len(kv.Data()) / kv.Shape().Layers
	return kv.Data()[l*n : (l+1)*n]
}

// at makes f happen to one layer.
func at(n int, f func(context.Context) error) kvtest.LayerFault {
	return func(ctx context.Context, _ kvcache.Key, layer int) error {
		if layer == n {
			return f(ctx)
		}
		return nil
	}
}

// idle requires that nothing is held any more, anywhere.
func (s streaming) idle(t *testing.T, tiered *kvcache.Tiered) {
	t.Helper()
	synctest.Wait()
	m := tiered.Metrics()
	require.Zero(t, m.Handles)
	require.Zero(t, m.Flights)
	kvtest.CheckMetrics(t, m)
	require.NoError(t, tiered.Close())
	synctest.Wait()
	require.Zero(t, s.Streams())
	require.Zero(t, s.medium.Lent())
}

// Layers can be used one by one as they come; the flight is complete with the last, for all who wait for it, and in the tiers above.
func TestArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, disk := newStreaming(t), newLower("disk")
		s.InjectLayers(func(ctx context.Context, _ kvcache.Key, _ int) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: disk}, {Store: s.Streaming, Timeout: time.Second}}})
		start := time.Now()
		_, f, _ := tiered.Claim(s.key)
		a, err := tiered.FetchLayers(t.Context(), f, kvcache.Estimate{})
		require.NoError(t, err)
		require.Equal(t, s.kv.Info(), a.KV().Info())
		for l := range streamShape.Layers {
			require.NoError(t, a.KV().Wait(t.Context(), l))
			require.Equal(t, time.Duration(l+1)*10*time.Millisecond, time.Since(start))
			require.Equal(t, layer(s.kv, l), layer(a.KV(), l))
			if l == 0 {
				h, other, owner := tiered.Claim(s.key)
				require.Nil(t, h)
				require.False(t, owner, "it is not in memory before it is whole")
				go func() {
					h, err := other.Wait(context.Background())
					if err == nil {
						h.Release()
					}
					if err != nil || time.Since(start) != 50*time.Millisecond {
						t.Errorf("waited %v: %v", time.Since(start), err)
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				require.ErrorIs(t, a.KV().Wait(ctx, 4), context.DeadlineExceeded)
				require.ErrorIs(t, a.Wait(ctx), context.DeadlineExceeded)
				cancel()
			}
		}
		require.NoError(t, a.Wait(t.Context()))
		a.Release()
		a.Release()
		h, err := tiered.Get(t.Context(), s.key)
		require.NoError(t, err)
		kvtest.CheckSame(t, h.KV(), s.kv)
		require.NoError(t, h.KV().Wait(t.Context(), 4))
		h.Release()
		require.NoError(t, tiered.Flush(t.Context()))
		h, err = disk.Get(t.Context(), s.key)
		require.NoError(t, err)
		kvtest.CheckSame(t, h.KV(), s.kv)
		h.Release()
		require.EqualValues(t, 2, tiered.Metrics().Hits, "the arrival, and the Get")
		s.idle(t, tiered)
	})
}

// Whatever happens at whichever layer: those before it can be used, the others never, the flight fails, and what the owner held stays until it lets go.
func TestArrivalFails(t *testing.T) {
	const timeout = 100 * time.Millisecond
	broken := errors.New("connection reset")
	damaged := &kvcache.CorruptError{Where: "remote"}
	var hang chan struct{}
	for _, c := range []struct {
		name   string
		fault  func(context.Context) error
		took   time.Duration
		events []string
		cause  error
	}{
		{"fails", func(context.Context) error { return broken }, 0, []string{"remote get down"}, broken},
		{"damaged", func(context.Context) error { return damaged }, 0, nil, damaged},
		{"gone", func(context.Context) error { return kvcache.ErrNotFound }, 0, nil, kvcache.ErrNotFound},
		{"stands still", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, timeout, []string{"remote get down"}, context.DeadlineExceeded},
		{"hangs", func(context.Context) error { <-hang; return nil }, timeout * 5 / 4, []string{"remote get failed", "remote get down"}, context.DeadlineExceeded},
	} {
		for n := range streamShape.Layers {
			t.Run(fmt.Sprint(c.name, " ", n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					hang = make(chan struct{})
					s := newStreaming(t)
					s.Heedless = c.name == "hangs"
					claimed := make(chan struct{}) // by another, before anything fails
					s.InjectLayers(at(n, func(ctx context.Context) error { <-claimed; return c.fault(ctx) }))
					var e events
					tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Events: e.listener(),
						Tiers: []kvcache.Tier{{Store: s.Streaming, Timeout: timeout, ProbeEvery: time.Hour}}})
					_, f, _ := tiered.Claim(s.key)
					a, err := tiered.FetchLayers(t.Context(), f, kvcache.Estimate{})
					require.NoError(t, err)
					_, other, _ := tiered.Claim(s.key)
					close(claimed)
					start := time.Now()
					for l := range n {
						require.NoError(t, a.KV().Wait(t.Context(), l))
					}
					for l := n; l < streamShape.Layers; l++ {
						err := a.KV().Wait(t.Context(), l)
						require.ErrorIs(t, err, kvcache.ErrIncomplete)
						require.ErrorIs(t, err, c.cause)
						require.ErrorContains(t, err, fmt.Sprintf("layer %d", n))
					}
					require.Equal(t, c.took, time.Since(start))
					require.ErrorIs(t, a.Wait(t.Context()), kvcache.ErrIncomplete)
					_, err = other.Wait(t.Context())
					require.ErrorIs(t, err, kvcache.ErrRetry)
					_, f, owner := tiered.Claim(s.key)
					require.True(t, owner, "the key is free")
					f.Fail(nil)
					for l := range n {
						require.Equal(t, layer(s.kv, l), layer(a.KV(), l), "a pass may still read it")
					}
					require.ElementsMatch(t, c.events, e.take())
					require.Equal(t, c.events != nil, tiered.Metrics().Down)
					a.Release()
					close(hang)
					s.idle(t, tiered)
				})
			})
		}
	}
}

// An owner who goes away does not take the arrival along: others wait for it. One that went away after a failure leaves nothing behind.
func TestArrivalOutlivesItsOwner(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStreaming(t)
			s.InjectLayers(at(3, func(context.Context) error {
				time.Sleep(20 * time.Millisecond)
				if fails {
					return errors.New("connection reset")
				}
				return nil
			}))
			tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: s.Streaming, Timeout: time.Second}}})
			ctx, cancel := context.WithCancel(t.Context())
			_, f, _ := tiered.Claim(s.key)
			a, err := tiered.FetchLayers(ctx, f, kvcache.Estimate{})
			require.NoError(t, err)
			_, other, _ := tiered.Claim(s.key)
			cancel()
			a.Release()
			h, err := other.Wait(t.Context())
			if fails {
				require.ErrorIs(t, err, kvcache.ErrRetry)
			} else {
				require.NoError(t, err)
				kvtest.CheckSame(t, h.KV(), s.kv)
				h.Release()
			}
			s.idle(t, tiered)
		})
	}
}

// A tier that sends all the time, but more slowly than encoding, is given up for this KV and stays in use.
func TestArrivalTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreaming(t)
		s.InjectLayers(func(ctx context.Context, k kvcache.Key, _ int) error {
			return kvtest.Delay(95*time.Millisecond)(ctx, "get", k)
		})
		var e events
		tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Events: e.listener(),
			Tiers: []kvcache.Tier{{Store: s.Streaming, Timeout: 100 * time.Millisecond, ProbeEvery: time.Hour}}})
		instead := kvcache.Estimate{Bytes: s.kv.Bytes(), Seconds: 0.01}
		fetch := func() error {
			_, f, _ := tiered.Claim(s.key)
			defer f.Fail(nil)
			a, err := tiered.FetchLayers(t.Context(), f, instead)
			if err != nil {
				return err
			}
			defer a.Release()
			return a.Wait(t.Context())
		}
		err := fetch()
		require.ErrorIs(t, err, kvcache.ErrIncomplete)
		require.ErrorContains(t, err, "too slowly")
		require.Empty(t, e.take())
		require.False(t, tiered.Metrics().Down)
		require.ErrorIs(t, fetch(), kvcache.ErrNotFound, "the rate says that it is not worth it")
		require.EqualValues(t, 2, tiered.Metrics().Skipped)
		s.idle(t, tiered)
	})
}

// A tier that was too slow costs whoever tries it again no more than the time to encode on top of its time-outs.
func TestTrialIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreaming(t)
		const timeout, every, encode = 100 * time.Millisecond, time.Second, 50 * time.Millisecond
		s.InjectLayers(func(ctx context.Context, k kvcache.Key, _ int) error {
			return kvtest.Delay(95*time.Millisecond)(ctx, "get", k)
		})
		tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: s.Streaming, Timeout: timeout, ProbeEvery: every}}})
		fetch := func() error {
			_, f, _ := tiered.Claim(s.key)
			defer f.Fail(nil)
			a, err := tiered.FetchLayers(t.Context(), f, kvcache.Estimate{Bytes: s.kv.Bytes(), Seconds: encode.Seconds()})
			if err != nil {
				return err
			}
			defer a.Release()
			return a.Wait(t.Context())
		}
		require.ErrorContains(t, fetch(), "too slowly")
		for range 3 {
			require.ErrorIs(t, fetch(), kvcache.ErrNotFound, "the rate says that it is not worth it")
			time.Sleep(every)
			start := time.Now()
			require.ErrorContains(t, fetch(), "too slowly")
			require.LessOrEqual(t, time.Since(start), 2*timeout+encode)
		}
		s.InjectLayers(nil)
		time.Sleep(every)
		require.NoError(t, fetch(), "and finds out that it is quick again")
		s.idle(t, tiered)
	})
}

// Fetches that share a line cost together what they take together: what is weighed is not how long each of them takes.
func TestSharedLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newLower("remote")
		for n := range 30 {
			remote.seed(t, n)
		}
		tiered := kvcache.NewTiered(kvcache.TieredOptions{Memory: 1 << 20, Tiers: []kvcache.Tier{{Store: remote, Timeout: time.Minute, ProbeEvery: time.Hour}}})
		remote.Inject(kvtest.Delay(80*time.Millisecond, "get"))
		encode := kvcache.Estimate{Bytes: tierKV(0).Bytes(), Seconds: 0.020}
		var wg sync.WaitGroup
		for n := range 8 { // in 80 ms, for which encoding takes 160
			wg.Go(func() { fetch(t, tiered, n, encode) })
		}
		wg.Wait()
		_, ok := fetch(t, tiered, 10, encode)
		require.True(t, ok)
		for n := range 15 { // one by one they are not worth it
			_, ok = fetch(t, tiered, 11+n, encode)
		}
		require.False(t, ok)
		require.NoError(t, tiered.Close())
	})
}
