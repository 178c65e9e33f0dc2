// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The settings of a request, strictly.
func TestRepairRequests(t *testing.T) {
	r, err := ParseRequest([]byte(`{"query": {"tokens": [1]}, "strategy": "cacheblend", "repair": {"fraction": 0, "first": 3}}`))
	require.NoError(t, err)
	require.Equal(t, RepairParams{Fraction: new(0.0), First: new(3)}, r.Repair)
	require.JSONEq(t, `{"query": {"tokens": [1]}, "strategy": "cacheblend", "repair": {"fraction": 0, "first": 3}}`, jsonOf(r))
	require.Equal(t, DefaultRepairFraction, RepairParams{}.fraction())
	require.Equal(t, DefaultRepairFirst, RepairParams{}.first())
	for _, c := range []struct{ in, want string }{
		{`{"fraction": -0.1}`, "repair of a fraction of -0.1, want 0 to 1"},
		{`{"fraction": 1.5}`, "repair of a fraction of 1.5"},
		{`{"first": -1}`, "repair of the first -1 tokens"},
		{`{"first": 1.5}`, "number 1.5"},
		{`{"last": 1}`, `unknown field "last"`},
	} {
		_, err := ParseRequest([]byte(`{"query": "x", "repair": ` + c.in + `}`))
		require.ErrorContains(t, err, c.want)
	}
	_, err = Compile(&Request{Query: Tokens(1), Repair: RepairParams{Fraction: new(math.NaN())}}, CompileOptions{})
	require.ErrorContains(t, err, "fraction of NaN")

	// The limit is that of the tokens there will be.
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, CacheBlend, EPIC)
		p, err := Compile(r, CompileOptions{})
		require.NoError(t, err)
		tokens := p.layout.Tokens()
		_, err = Compile(r, CompileOptions{PromptTokens: tokens})
		require.NoError(t, err)
		if tokens > 1 {
			_, err = Compile(r, CompileOptions{PromptTokens: tokens - 1})
			var prompt *PromptError
			require.ErrorAs(t, err, &prompt)
			require.Equal(t, PromptError{Tokens: tokens, Limit: tokens - 1}, *prompt)
		}
	})
}

func TestRepairPlansRefused(t *testing.T) {
	const a = `{"id": "a", "base": 0, "tokens": [1, 2, 3], "sees": []}`
	repair := func(tokens, how string) string {
		return `{"nodes": [` + a + `, {"id": "b", "base": 0, "tokens": ` + tokens + `, "sees": [], "repair": ` + how + `},
			{"id": "q", "base": 0, "tokens": [1], "sees": []}]}`
	}
	for _, c := range []struct{ tokens, how, want string }{
		{`[1, 2, 3]`, `{"of": "z", "first": 1}`, `node "b" repairs "z", which is not a node before it`},
		{`[1, 2, 3]`, `{"of": "q", "first": 1}`, `"q", which is not a node before it`},
		{`[1, 2, 4]`, `{"of": "a", "first": 1}`, `node "b" repairs "a", which has other tokens`},
		{`[1, 2]`, `{"of": "a", "first": 1}`, `which has other tokens`},
		{`[1, 2, 3]`, `{"of": "a"}`, `node "b" repairs "a", but nothing of it`},
		{`[1, 2, 3]`, `{"of": "a", "first": 4}`, `the first 4 tokens of 3`},
		{`[1, 2, 3]`, `{"of": "a", "first": 1, "fraction": 0.5}`, `either the first tokens or a fraction`},
		{`[1, 2, 3]`, `{"of": "a", "fraction": 1.5}`, `fraction 1.5`},
		{`[1, 2, 3]`, `{"of": "a", "part": 1}`, `unknown field "part"`},
	} {
		_, err := ParsePlan([]byte(repair(c.tokens, c.how)))
		require.ErrorContains(t, err, c.want)
	}
	p, err := ParsePlan([]byte(repair(`[1, 2, 3]`, `{"of": "a", "fraction": 0.5}`)))
	require.NoError(t, err)
	_, err = p.Mask(1)
	require.ErrorIs(t, err, ErrRepairUnknown)
	require.EqualError(t, err, `graphkv: node "b" repairs "a": which tokens it encodes again is known when it is encoded`)
	_, err = p.Lower([][]int{nil, {0}, nil})
	require.ErrorContains(t, err, "which 2 tokens it repairs must be said")
	low, err := p.Lower([][]int{nil, {0, 2}, nil})
	require.NoError(t, err)
	require.Equal(t, []string{"a[0:1]", "a[1:2]", "a[2:3]", "b[0:1]", "b[2:3]", "q"}, low.ids)
	_, err = low.Mask(1)
	require.NoError(t, err)
	p.ids[2] = "b[0:1]"
	low, err = p.Lower([][]int{nil, {0, 2}, nil})
	require.NoError(t, err)
	require.Equal(t, []string{"a[0:1]", "a[1:2]", "a[2:3]", "b[0:1]#2", "b[2:3]", "b[0:1]"}, low.ids)

	p, err = ParsePlan([]byte(repair(`[1, 2, 3]`, `{"of": "a", "first": 2}`)))
	require.NoError(t, err)
	m, err := p.Mask(1)
	require.NoError(t, err)
	require.Equal(t, 6, m.Tokens())
}
