// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
)

// tenPassages is a question over ten passages, under a preset that lays them out
// one after the other.
func tenPassages(r *rand.Rand) *Request {
	q := &Request{Strategy: Block, Query: Tokens(randomTokens(r, 6)...), MaxTokens: NoTokens}
	for i := range 10 {
		q.Segments = append(q.Segments, Segment{ID: fmt.Sprint("s", i), Tokens: randomTokens(r, 20+i)})
	}
	return q
}

// 64 queries at work over the same passages read one copy of their KV. What each
// adds is the KV of its own query.
func TestQueriesShareOneCopy(t *testing.T) {
	e := tinyEngine(t)
	r := rand.New(rand.NewPCG(21, 22))
	q := tenPassages(r)
	_, err := e.Prepare(t.Context(), compile(t, e, q))
	require.NoError(t, err)
	before := e.Stats()

	var shared []*kvcache.KV
	for i := range 64 {
		q.Query = Tokens(randomTokens(r, 3+i%5)...)
		// Every request in an order, and so at positions, of its own.
		r.Shuffle(len(q.Segments), func(i, j int) { q.Segments[i], q.Segments[j] = q.Segments[j], q.Segments[i] })
		s, err := e.begin(compile(t, e, q))
		require.NoError(t, err)
		defer s.release() // all at work at once
		a := s.answer()
		require.NoError(t, a.prefill(t.Context()))
		own := 0
		for _, src := range a.run.Sources {
			if !slices.Contains(shared, src.KV) {
				if i == 0 && len(shared) < 10 {
					shared = append(shared, src.KV)
					continue
				}
				own++
				require.Equal(t, len(q.Query.Tokens), src.KV.Tokens())
			}
		}
		require.Equal(t, 1, own)
	}
	after := e.Stats()
	require.Equal(t, before.Cache.Bytes, after.Cache.Bytes)
	require.Equal(t, before.Cache.Entries, after.Cache.Entries)
	require.Equal(t, after.Cache.Bytes, after.Cache.PinnedBytes, "64 requests pin each passage once")
	require.Zero(t, after.Cache.OrphanedBytes)
}

// Moving cached passages to other positions encodes the query and nothing else, and
// leaves every key as it is.
func TestMovingCostsNothing(t *testing.T) {
	e := tinyEngine(t)
	r := rand.New(rand.NewPCG(23, 24))
	q := tenPassages(r)
	p := compile(t, e, q)
	_, err := e.Prepare(t.Context(), p)
	require.NoError(t, err)
	keys := nodeKV(t, e, p)
	for range 5 {
		r.Shuffle(len(q.Segments), func(i, j int) { q.Segments[i], q.Segments[j] = q.Segments[j], q.Segments[i] })
		before := e.Stats().Tokens
		logits(t, e, compile(t, e, q))
		require.EqualValues(t, len(q.Query.Tokens), e.Stats().Tokens-before)
	}
	require.Equal(t, keys, nodeKV(t, e, p))
}
