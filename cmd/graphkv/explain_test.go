// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

func TestExplain(t *testing.T) {
	answer := mustRun(t, tinyRequest, "ask", "--model", tiny, "--request", "-")
	out := mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-")
	require.True(t, strings.HasPrefix(out, strings.TrimSpace(answer)), "the same answer: %s", out)
	for _, want := range []string{"reader", "layer 1", "layer 2", "layer 3", "kv0.c", "itself", "query", "answer", "distance from rank one", "embedding"} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "others")
	require.NotContains(t, out, "orders of the passages")
	out = mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-", "--top", "2", "--permutations", "5")
	require.Contains(t, out, "3 others")
	require.Contains(t, out, "5 orders of the passages")
	require.Contains(t, out, "the answer in ")
}

func TestExplainJSON(t *testing.T) {
	var x struct {
		graphkv.Explanation
		Order *graphkv.OrderSensitivity
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-", "--json", "--node", "kv0.c", "--permutations", "3")), &x))
	var ids []string
	for _, r := range x.Readers {
		ids = append(ids, r.ID)
		sum := 0.0
		for _, s := range r.Reads {
			sum += s.Mass
			require.Len(t, s.Heads, x.Layers)
		}
		require.InDelta(t, 1, sum, 1e-5)
	}
	require.Equal(t, []string{"kv0.c", "query", "answer"}, ids)
	require.Equal(t, 3, x.Order.Permutations)

	plan := mustRun(t, tinyRequest, "plan", "--request", "-", "--json")
	var y graphkv.Explanation
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, plan, "explain", "--model", tiny, "--plan", "-", "--max-tokens", "5", "--json")), &y))
	require.Equal(t, x.Readers, y.Readers)
}

func TestExplainDraws(t *testing.T) {
	dir := t.TempDir()
	wellFormed := func(path string) string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for d := xml.NewDecoder(strings.NewReader(string(data))); ; {
			if _, err := d.Token(); err == io.EOF {
				return string(data)
			}
			require.NoError(t, err)
		}
	}
	mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-", "--svg", filepath.Join(dir, "new", "one.svg"))
	one := wellFormed(filepath.Join(dir, "new", "one.svg"))
	mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-", "--svg", filepath.Join(dir, "both"))
	graph, mask := wellFormed(filepath.Join(dir, "both", "graph.svg")), wellFormed(filepath.Join(dir, "both", "mask.svg"))
	for _, s := range []string{one, graph} {
		require.Contains(t, s, "kv0.c reads kv0.a: ")
		require.Contains(t, s, "answer reads query: ")
	}
	for _, s := range []string{one, mask} {
		require.Contains(t, s, "kv0.c reads kv0.a, kv0.b, itself")
		require.Contains(t, s, "query reads prefix, kv0.a, kv0.b, kv0.c, itself")
	}
	for _, s := range graphkv.Strategies() { // whatever its plan is made of
		path := filepath.Join(dir, string(s)+".svg")
		mustRun(t, tinyRequest, "explain", "--model", tiny, "--request", "-", "--strategy", string(s), "--top-k", "2", "--svg", path)
		require.Contains(t, wellFormed(path), "answer reads query: ", s)
	}
}

func TestExplainMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for want, args := range map[string][]string{
		`"kv9" is not a node`:            {"--request", "-", "--node", "kv9"},
		"--top is -1":                    {"--request", "-", "--top", "-1"},
		"file":                           {"--request", "-", "--svg", filepath.Join(file, "x.svg")},
		"none of the others can be":      {"--plan", "-", "--permutations", "3"},
		"-2 permutations, want":          {"--request", "-", "--permutations", "-2"},
		"the request holds the question": {"--request", "-", "Why?"},
	} {
		_, _, err := run(t, tinyRequest, append([]string{"explain", "--model", tiny}, args...)...)
		require.ErrorContains(t, err, want)
	}
}
