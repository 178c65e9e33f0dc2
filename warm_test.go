// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// What Warm stores is what requests ask for. Done again it reads nothing.
func TestWarm(t *testing.T) {
	medium := kvtest.NewMedium("remote")
	open := func() (*Engine, remote) {
		r := newRemote(medium)
		return openPatient(t, r.whole(0)), r
	}
	warm := func(e *Engine) (total Usage) {
		t.Helper()
		for _, q := range sharedRequests() {
			u, err := e.Warm(t.Context(), compile(t, e, q))
			require.NoError(t, err)
			total.PromptTokens += u.PromptTokens
			total.EncodedTokens += u.EncodedTokens
			total.CachedTokens += u.CachedTokens
			total.FetchedTokens += u.FetchedTokens
		}
		require.NoError(t, e.Flush(t.Context()))
		requireIdle(t, e)
		return total
	}
	e, _ := open()
	first := warm(e)
	require.Positive(t, first.EncodedTokens)
	require.Zero(t, first.FetchedTokens)
	require.Zero(t, warm(e).EncodedTokens, "memory has it")

	e, r := open()
	again := warm(e)
	require.Equal(t, Usage{PromptTokens: first.PromptTokens, CachedTokens: first.PromptTokens}, again)
	require.Zero(t, r.Gets()+r.Puts())
	require.Zero(t, e.Stats().Cache.Tiers[0].Entries)
	require.Equal(t, queryTokens, ask(t, e, answers(t)).EncodedTokens)
}

// Of a chain, what is missing is encoded, over what is there.
func TestWarmTheRest(t *testing.T) {
	medium := kvtest.NewMedium("remote")
	chain := sharedRequests()[1]
	e := openPatient(t, newRemote(medium).whole(0))
	p := compile(t, e, chain)
	_, err := e.Warm(t.Context(), p)
	require.NoError(t, err)
	require.NoError(t, e.Flush(t.Context()))
	s, err := e.keyed(p)
	require.NoError(t, err)
	node := func(id string) int {
		for i := range s.nodes {
			if p.ID(i) == id {
				return i
			}
		}
		t.Fatal(id)
		return 0
	}
	length := func(id string) int { return len(p.Tokens(node(id))) }
	forget := func(id string) {
		require.NoError(t, medium.Open().Delete(t.Context(), s.nodes[node(id)].key))
	}
	again := func() Usage {
		e := openPatient(t, newRemote(medium).whole(0))
		u, err := e.Warm(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, e.Flush(t.Context()))
		requireIdle(t, e)
		return u
	}
	forget("kv0.s2")
	u := again()
	require.Equal(t, []int{length("kv0.s2"), length("kv0.s0") + length("kv0.s1")}, []int{u.EncodedTokens, u.FetchedTokens})
	require.Zero(t, again().EncodedTokens)

	// What a source needs is at hand if it turns out to be damaged.
	forget("kv0.s3")
	for range 40 { // of 6 entries, every one
		medium.Corrupt(rand.New(rand.NewPCG(rand.Uint64(), 1)))
	}
	again()
	has, err := medium.Open().Has(t.Context(), s.nodes[node("kv0.s3")].key)
	require.NoError(t, err)
	require.True(t, has)
}

func TestWarmFails(t *testing.T) {
	e := openTiny(t, newRemote(kvtest.NewMedium("remote")).whole(0))
	p := compile(t, e, sharedRequests()[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Warm(ctx, p)
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Warm(t.Context(), nil)
	require.ErrorIs(t, err, errNoPlan)
	requireIdle(t, e)
	require.NoError(t, e.Close())
	_, err = e.Warm(t.Context(), p)
	require.ErrorIs(t, err, ErrClosed)
}
