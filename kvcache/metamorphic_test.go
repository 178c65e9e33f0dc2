// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

func TestTieredMetamorphic(t *testing.T) {
	disk, remote := kvtest.NewMedium("disk"), kvtest.NewMedium("remote")
	var stores [2]*kvtest.Faulty
	var hung []chan struct{}
	broken := errors.New("broken")
	revive := func() {
		for _, s := range stores {
			s.Inject(nil)
		}
		for _, c := range hung {
			close(c)
		}
		hung = nil
	}
	kvtest.RunMetamorphic(t, kvtest.Rig{
		Open: func(memory int64) *kvcache.Tiered {
			stores = [2]*kvtest.Faulty{kvtest.NewFaulty(disk.Open()), kvtest.NewFaulty(remote.Open())}
			return kvcache.NewTiered(kvcache.TieredOptions{Memory: memory, Tiers: []kvcache.Tier{
				{Store: stores[0], ProbeEvery: time.Millisecond, QueueLen: 8},
				{Store: stores[1], ProbeEvery: time.Millisecond, QueueBytes: 100 << 10, Timeout: 2 * time.Millisecond},
			}})
		},
		Crash: func() {
			for _, s := range stores {
				s.Store.Close()
			}
			revive() // in this process nothing may hang for ever
		},
		Corrupt: func(r *rand.Rand) {
			if m := [...]*kvtest.Medium{disk, remote}[r.IntN(2)]; r.IntN(3) > 0 {
				m.Corrupt(r)
			}
		},
		Kill: func(r *rand.Rand) {
			op := [...]string{"get", "put", "delete"}[r.IntN(3)]
			switch r.IntN(4) {
			case 0:
				stores[0].Inject(kvtest.Fail(broken, op))
			case 1:
				stores[1].Inject(kvtest.Fail(broken))
			case 2:
				c := make(chan struct{})
				hung = append(hung, c)
				stores[1].Inject(kvtest.Hang(c, op))
			case 3:
				stores[1].Inject(kvtest.Delay(time.Duration(r.IntN(3000))*time.Microsecond, op))
			}
		},
		Revive: revive,
	})
}
