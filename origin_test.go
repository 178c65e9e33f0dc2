// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrigins(t *testing.T) {
	dir := t.TempDir()
	segments := []Segment{{ID: "a", Tokens: []int32{1, 2}}, {ID: "b", Tokens: []int32{3, 4, 5}}, {ID: "twin", Tokens: []int32{1, 2}}}
	r := &Request{Strategy: Block, Segments: segments, Query: Tokens(9), MaxTokens: 1}
	origins := func(e *Engine) map[string]Origin {
		got := map[string]Origin{}
		tokens := 0
		result, err := e.Generate(t.Context(), compile(t, e, r), OnPrepared(func(nodes []NodeOrigin) {
			for _, n := range nodes {
				got[n.ID] = n.Origin
				tokens += n.Tokens
			}
		}))
		require.NoError(t, err)
		require.Equal(t, result.Usage.PromptTokens, tokens)
		return got
	}
	e := tinyEngine(t, WithDisk(dir, 0))
	require.Equal(t, map[string]Origin{"kv0.a": Encoded, "kv0.b": Encoded, "kv0.twin": Cached, "query": Encoded}, origins(e))
	require.Equal(t, map[string]Origin{"kv0.a": Cached, "kv0.b": Cached, "kv0.twin": Cached, "query": Encoded}, origins(e))
	require.NoError(t, e.Flush(t.Context()))
	fresh := tinyEngine(t, WithDisk(dir, 0))
	require.Equal(t, map[string]Origin{"kv0.a": Fetched, "kv0.b": Fetched, "kv0.twin": Cached, "query": Encoded}, origins(fresh))
}
