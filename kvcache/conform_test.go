// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

func TestMemoryConforms(t *testing.T) {
	kvtest.Run(t, func(_ testing.TB, budget int64) kvtest.FlightStore { return kvcache.NewMemory(budget) })
	kvtest.RunStore(t, func(testing.TB) kvcache.Store { return kvcache.NewMemory(256 << 20) })
}

// A stand-in must pass what the real stores do.
func TestFakeConforms(t *testing.T) {
	kvtest.RunStore(t, func(testing.TB) kvcache.Store { return kvtest.NewFaulty(kvtest.NewMedium("fake").Open()) })
	kvtest.RunDurable(t, func(testing.TB) func() kvcache.Store { return kvtest.NewMedium("fake").Open })
}

func TestTieredConforms(t *testing.T) {
	// The number of tiers below memory, and whether operations on them are bounded in time.
	for name, c := range map[string]struct {
		tiers   int
		timeout time.Duration
	}{"memory alone": {0, 0}, "one": {1, 0}, "two, bounded": {2, time.Minute}} {
		open := func(tb testing.TB, budget int64) *kvcache.Tiered {
			o := kvcache.TieredOptions{Memory: budget}
			for i := range c.tiers {
				o.Tiers = append(o.Tiers, kvcache.Tier{Store: kvtest.NewMedium(fmt.Sprint("tier", i)).Open(), Timeout: c.timeout})
			}
			s := kvcache.NewTiered(o)
			tb.Cleanup(func() { s.Close() })
			return s
		}
		t.Run(name, func(t *testing.T) {
			kvtest.Run(t, func(tb testing.TB, budget int64) kvtest.FlightStore { return open(tb, budget) })
			kvtest.RunStore(t, func(tb testing.TB) kvcache.Store { return open(tb, 256<<20) })
			if c.tiers > 0 {
				t.Run("NoMemory", func(t *testing.T) {
					kvtest.RunStore(t, func(tb testing.TB) kvcache.Store { return flushed{open(tb, 0)} })
				})
			}
		})
	}
}

// flushed is a tiered store that does its writes at once: without memory, what is put is found only then.
type flushed struct{ *kvcache.Tiered }

func (s flushed) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	if err := s.Tiered.Put(ctx, k, kv); err != nil {
		return err
	}
	return s.Flush(context.WithoutCancel(ctx))
}
