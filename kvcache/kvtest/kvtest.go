// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package kvtest tests stores of KVs. [RunStore] is the conformance suite that every
// store must pass, whatever it keeps the KVs in; [RunDurable] is for those that outlive
// their process, and [Run] for those that have flights as well. [CheckLeaks] finds
// handles and flights that a test forgot; [NewKV] and [CheckKV] make KVs whose content is
// known.
package kvtest

import (
	"context"
	"slices"
	"testing"

	"github.com/graphkv/graphkv/kvcache"
)

// FlightStore is what Run drives; [kvcache.Memory] describes the methods.
//
// A store may remember more than its memory budget (on a lower tier), so the suite never
// demands a miss, except after Delete. It may not remember wrongly. A store that writes
// behind its callers' backs has a Flush method, which the suite calls before it looks at
// gauges.
type FlightStore interface {
	kvcache.Store
	Claim(kvcache.Key) (h *kvcache.Handle, f *kvcache.Flight, owner bool)
	GetOrEncode(context.Context, kvcache.Key, func(context.Context) (*kvcache.KV, error)) (h *kvcache.Handle, hit bool, err error)
}

type flusher interface{ Flush(context.Context) error }

// settled returns the metrics of s when it has nothing left to write.
func settled(tb testing.TB, s interface{ Metrics() kvcache.Metrics }) kvcache.Metrics {
	tb.Helper()
	if f, ok := s.(flusher); ok {
		if err := f.Flush(context.Background()); err != nil {
			tb.Errorf("Flush: %v", err)
		}
	}
	return s.Metrics()
}

// CheckLeaks fails tb at its end if handles of s are not released or flights
// not ended by then. Call it right after making s.
func CheckLeaks(tb testing.TB, s interface{ Metrics() kvcache.Metrics }) {
	tb.Helper()
	tb.Cleanup(func() {
		m := settled(tb, s)
		if m.Handles != 0 {
			tb.Errorf("%d handles not released", m.Handles)
		}
		if m.Flights != 0 {
			tb.Errorf("%d flights neither completed nor failed", m.Flights)
		}
		CheckMetrics(tb, m)
	})
}

// memoryTier returns the metrics of the tier in memory.
func memoryTier(m kvcache.Metrics) kvcache.Metrics {
	if len(m.Tiers) > 0 {
		return m.Tiers[0]
	}
	return m
}

// CheckMetrics fails tb if m, of a store that has flights, contradicts itself.
func CheckMetrics(tb testing.TB, m kvcache.Metrics) {
	tb.Helper()
	checkGauges(tb, m)
	m = memoryTier(m)
	check := func(ok bool, what string) {
		tb.Helper()
		if !ok {
			tb.Errorf("metrics: not true that %s: %+v", what, m)
		}
	}
	check(m.Bytes <= m.Budget, "Bytes ≤ Budget")
	check(m.Puts == uint64(m.Entries)+m.Replaced+m.Deletes+m.Evictions+m.Rejected, "Puts = Entries + Replaced + Deletes + Evictions + Rejected")
	check(m.Bytes >= int64(m.Entries)*kvcache.EntryOverhead, "Bytes ≥ Entries × EntryOverhead")
	check(m.PinnedEntries <= m.Handles, "PinnedEntries ≤ Handles")
	check((m.PinnedEntries == 0) == (m.Handles == 0), "entries are pinned exactly when there are handles")
	check(m.PinnedBytes-m.OrphanedBytes <= m.Bytes, "Pinned − Orphaned ≤ Bytes")
}

// number is the i-th number of a KV with this seed: exact in 16 bits too, so that
// stores with a smaller encoding can be tested.
func number(seed uint64, layer, which, i int) float32 {
	x := seed*0x9e3779b97f4a7c15 + uint64(layer)*0xbf58476d1ce4e5b9 + uint64(which)*0x94d049bb133111eb + uint64(i)
	x ^= x >> 31
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return float32(int(x%255)-127) / 64
}

// NewKV returns a KV whose content follows from seed.
func NewKV(s kvcache.Shape, tokens int, seed uint64) *kvcache.KV {
	kv := kvcache.NewKV(s, tokens)
	k, v := make([]float32, s.KVHeads*s.HeadDim), make([]float32, s.KVHeads*s.HeadDim)
	for l := range s.Layers {
		x := kv.Layer(l)
		for i := range tokens {
			fill(k, v, seed, l, i)
			x.Store(i, k, v)
		}
	}
	return kv
}

// fill makes the key and the value of token i.
func fill(k, v []float32, seed uint64, layer, i int) {
	for e := range k {
		k[e], v[e] = number(seed, layer, 0, i*len(k)+e), number(seed, layer, 1, i*len(k)+e)
	}
}

// CheckKV fails tb if kv is not what NewKV(s, tokens, seed) returns.
func CheckKV(tb testing.TB, kv *kvcache.KV, s kvcache.Shape, tokens int, seed uint64) {
	tb.Helper()
	if kv.Shape() != s || kv.Tokens() != tokens {
		tb.Errorf("KV is %+v × %d tokens, want %+v × %d", kv.Shape(), kv.Tokens(), s, tokens)
		return
	}
	n := s.KVHeads * s.HeadDim
	k, v, wantK, wantV := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	for l := range s.Layers {
		x := kv.Layer(l)
		for i := range tokens {
			x.Load(i, k, v)
			fill(wantK, wantV, seed, l, i)
			if !slices.Equal(k, wantK) || !slices.Equal(v, wantV) {
				tb.Errorf("layer %d token %d: K %v V %v, want %v and %v", l, i, k, v, wantK, wantV)
				return
			}
		}
	}
}
