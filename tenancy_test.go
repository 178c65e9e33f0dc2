// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
)

// A request names text, tokens, edges and positions, but never a key: keys are computed, with the engine's namespace in them, so a client cannot ask for
// what another has stored, nor guess.
func TestRequestsNameNoKeys(t *testing.T) {
	key := reflect.TypeFor[kvcache.Key]()
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(x reflect.Type) {
		if seen[x] {
			return
		}
		seen[x] = true
		require.NotEqual(t, key, x)
		switch x.Kind() {
		case reflect.Struct:
			for i := range x.NumField() {
				walk(x.Field(i).Type)
			}
		case reflect.Map:
			walk(x.Key())
			walk(x.Elem())
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(x.Elem())
		}
	}
	for _, entry := range []any{(*Engine).Compile, (*Engine).Prepare, (*Engine).Generate} {
		f := reflect.TypeOf(entry)
		for i := 1; i < f.NumIn(); i++ { // after the engine itself
			walk(f.In(i))
		}
	}
	require.True(t, seen[reflect.TypeFor[Request]()] && seen[reflect.TypeFor[Segment]()] && seen[reflect.TypeFor[Plan]()])
}

// Two tenants with the same text share nothing, though they share the store.
func TestNamespacesAreApart(t *testing.T) {
	a, b := tinyEngine(t, WithNamespace("a")), tinyEngine(t, WithNamespace("b"))
	b.store = a.store
	r := tenPassages(rand.New(rand.NewPCG(31, 32)))
	usage := func(e *Engine) Usage {
		u, err := e.Prepare(t.Context(), compile(t, e, r))
		require.NoError(t, err)
		return u
	}
	require.Zero(t, usage(a).CachedTokens)
	require.Zero(t, usage(b).CachedTokens, "what a has encoded is no hit for b")
	require.Zero(t, usage(a).EncodedTokens)
	require.Zero(t, usage(b).EncodedTokens)
	m := a.store.Metrics()
	require.EqualValues(t, 2*10, m.Entries)
	in := func(e *Engine, namespace string) Usage {
		u, err := e.Prepare(t.Context(), compile(t, e, r), InNamespace(namespace))
		require.NoError(t, err)
		return u
	}
	require.Zero(t, in(a, "b").EncodedTokens, "a run in a namespace is as one of an engine of it")
	require.Zero(t, in(b, "a").EncodedTokens)
	require.Zero(t, in(a, "c").CachedTokens)
	result, err := b.Generate(t.Context(), compile(t, b, r), InNamespace("c"))
	require.NoError(t, err)
	require.Equal(t, 6, result.Usage.EncodedTokens, "the query alone")
}
