// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/posenc"
)

// What is counted: origins once, then of every repair the tokens that it encodes.
func TestRepairsAreCounted(t *testing.T) {
	e := tinyEngine(t)
	r := tenPassages(rand.New(rand.NewPCG(61, 1)))
	r.Strategy, r.Prefix = CacheBlend, Tokens(1, 2, 3)
	all, some := 0, 0
	for _, s := range r.Segments {
		all += len(s.Tokens)
		some += int(math.Ceil(DefaultRepairFraction * float64(len(s.Tokens))))
	}
	p := compile(t, e, r)
	require.Equal(t, 3+all+some+6, p.Cost().Tokens)
	u := logits(t, e, p).Usage
	require.Equal(t, Usage{PromptTokens: 3 + 2*all + 6, EncodedTokens: 3 + all + some + 6, CachedTokens: all - some}, u)
	require.EqualValues(t, u.EncodedTokens, e.Stats().Tokens)

	// In another order only repairs are encoded, all but that of the first if it is the same.
	slices.Reverse(r.Segments)
	u = logits(t, e, compile(t, e, r)).Usage
	require.Equal(t, some+6, u.EncodedTokens)
}

// Where repairs are in a lower tier their origins are not asked for; where they are not, origins are fetched.
func TestOriginsAreFetchedIfNeeded(t *testing.T) {
	fresh := tinyEngine(t, WithCacheBytes(0))
	r := tenPassages(rand.New(rand.NewPCG(62, 1)))
	r.Strategy, r.Prefix = CacheBlend, Tokens(1, 2, 3)
	p := compile(t, fresh, r)
	want := logits(t, fresh, p).Logits
	segments := 0
	for _, s := range r.Segments {
		segments += len(s.Tokens)
	}
	block := *r
	block.Strategy = Block
	for _, c := range []struct {
		name             string
		has              *Request
		fetched, encoded int
	}{
		{"repairs", r, 3 + segments, 6},
		{"origins", &block, 3 + segments, p.Cost().Tokens - 3 - segments},
	} {
		for _, layered := range []bool{false, true} {
			m := kvtest.NewMedium("remote")
			filler := openTiny(t, WithTier(kvcache.Tier{Store: m.Open()}))
			_, err := filler.Prepare(t.Context(), compile(t, filler, c.has))
			require.NoError(t, err)
			require.NoError(t, filler.Close())
			remote := newRemote(m)
			option := remote.whole(0)
			if layered {
				option = remote.layered(0)
			}
			e := openPatient(t, option)
			got := logits(t, e, p)
			require.Equal(t, want, got.Logits, c.name)
			require.Equal(t, c.fetched, got.Usage.FetchedTokens, c.name)
			require.Equal(t, c.encoded, got.Usage.EncodedTokens, c.name)
			requireIdle(t, e)
			require.NoError(t, e.Close())
		}
	}
}

// Requests for repairs of the same segments at once, in one engine and in another that shares its folder: everybody has the
// answer of a fresh engine, and an engine encodes nothing twice.
func TestRepairsAtOnce(t *testing.T) {
	fresh := tinyEngine(t, WithCacheBytes(0))
	r := tenPassages(rand.New(rand.NewPCG(63, 1)))
	var requests []*Request
	for i := range 6 {
		q := *r
		q.Strategy = []Strategy{CacheBlend, EPIC, Block}[i%3]
		q.Repair = RepairParams{Fraction: new(0.4), First: new(3)}
		q.Segments = slices.Concat(r.Segments[i/3:], r.Segments[:i/3])
		requests = append(requests, &q)
	}
	want := make([][]float32, len(requests))
	for i, q := range requests {
		want[i] = logits(t, fresh, compile(t, fresh, q)).Logits
	}
	for range 5 {
		dir := t.TempDir()
		var wg sync.WaitGroup
		for range 2 {
			e := openTiny(t, WithDisk(dir, 0), WithBatchTokens(40))
			defer func() { require.NoError(t, e.Close()) }()
			for range 2 {
				for i, q := range requests {
					wg.Go(func() {
						p, err := e.Compile(q)
						assert.NoError(t, err)
						got, err := e.Generate(t.Context(), p, WithLogits())
						if assert.NoError(t, err) {
							assert.Equal(t, want[i], got.Logits)
						}
					})
				}
			}
			defer requireIdle(t, e)
		}
		wg.Wait()
	}
}

// A request comes to own a repair that another has given up, and finds the origin, which it had no need of until then, in the
// hands of a third.
func TestOriginInOtherHands(t *testing.T) {
	e := tinyEngine(t)
	r := tenPassages(rand.New(rand.NewPCG(65, 1)))
	r.Strategy, r.Prefix, r.Segments = CacheBlend, Tokens(1, 2, 3), r.Segments[:2]
	p := compile(t, e, r)
	want := logits(t, tinyEngine(t, WithCacheBytes(0)), p).Logits

	first, err := e.begin(p)
	require.NoError(t, err)
	second, err := e.begin(p)
	require.NoError(t, err)
	defer second.release()
	first.release()
	third, err := e.keyed(p)
	require.NoError(t, err)
	third.claimAll(func(i int) bool { return p.ids[i] == "kv0.s1" })
	defer third.release()

	a := second.answer()
	done := make(chan error)
	go func() { done <- a.prefill(t.Context()) }()
	require.Eventually(t, func() bool { return e.Stats().Cache.Waits == 4 }, 5*time.Second, time.Millisecond, "for the prefix, two repairs and the origin")
	require.Empty(t, done)
	require.NoError(t, third.encode(t.Context(), nil))
	require.NoError(t, <-done)
	require.Equal(t, want, a.logits)
}

// Many repairs of origins that another request encodes are taken on, and waited for, in linear time.
func TestManyOriginsInOtherHands(t *testing.T) {
	const n = 50_000
	b := posenc.NewLayoutBuilder()
	p := &Plan{maxTokens: NoTokens}
	add := func(node posenc.Node, ids ...int32) {
		node.Len = len(ids)
		_, err := b.Add(node)
		require.NoError(t, err)
		p.ids, p.tokens = append(p.ids, fmt.Sprint("n", len(p.ids))), append(p.tokens, ids)
	}
	for i := range n {
		ids := []int32{int32(i % tinyVocab), int32(i / tinyVocab)}
		add(posenc.Node{Segment: i}, ids...)
		add(posenc.Node{Segment: i, Base: 5, Repair: posenc.Repair{Of: 2 * i, First: 1}}, ids...)
	}
	add(posenc.Node{Kind: posenc.QueryNode, Segment: -1}, 1)
	var err error
	p.layout, err = b.Layout()
	require.NoError(t, err)
	e := tinyEngine(t)
	first, err := e.keyed(p)
	require.NoError(t, err)
	first.claimAll(func(i int) bool { return i%2 == 0 })
	defer first.release()
	start := time.Now()
	second, err := e.begin(p)
	require.NoError(t, err)
	defer second.release()
	require.Len(t, second.foreign, n)
	require.Less(t, time.Since(start), 2*time.Second)
}
