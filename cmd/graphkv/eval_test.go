// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/eval"
)

// questions writes a data set of short items, of which the tiny model's context has room for all.
func questions(t testing.TB, n int) string {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		require.NoError(t, printJSON(&b, map[string]any{
			"question": "Who?", "answers": []string{"Bo"}, "candidates": []string{"Bo", "Cy"}, "hops": 1 + i%2,
			"documents": []map[string]any{{"title": "A", "text": strings.Repeat("a", i), "score": 2}, {"title": "B", "text": "see A", "score": 1}},
		}))
	}
	text := strings.ReplaceAll(b.String(), `"text":""`, `"text":"x"`)
	path := filepath.Join(t.TempDir(), "data.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// One command asks under every preset that the data can be put under, prints tables and
// leaves files. Repeated, it asks nothing again; with more strategies and orders, only those.
func TestEval(t *testing.T) {
	data, dir := questions(t, 4), filepath.Join(t.TempDir(), "out")
	args := []string{"eval", data, "--model", tiny, "--max-tokens", "3", "--orders", "1", "--timings", "1", "--out", dir}
	out := mustRun(t, "", append(args, "--strategy", "sequential,block")...)
	require.Contains(t, out, "data.jsonl, tiny-F32.gguf: 4 items of 4, in 2 orders")
	require.Contains(t, out, "1 hop (2)")
	results := func() []string {
		b, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(b, []byte("\n")))
		lines := strings.SplitAfter(string(b), "\n")
		return lines[:len(lines)-1]
	}
	first := results()
	require.Len(t, first, 1+4*2*2+2)
	require.Equal(t, out, mustRun(t, "", append(args, "--strategy", "sequential,block")...))
	require.Equal(t, first, results())
	for _, name := range []string{"summary.md", "accuracy.svg", "accuracy.png", "ttft.svg", "ttft.png"} {
		require.FileExists(t, filepath.Join(dir, name))
	}

	out = mustRun(t, "", append(args, "--concurrency", "3")...)
	var s eval.Summary
	b, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &s))
	require.GreaterOrEqual(t, len(s.Variants), 8)
	for _, v := range s.Variants {
		require.Contains(t, out, v.Label+" ")
		require.Zero(t, v.Failed)
		require.Len(t, v.ByOrder[eval.SubspanEM], 2)
	}
	require.Equal(t, first, results()[:len(first)])
	require.Len(t, results(), 1+len(s.Variants)*(4*2+1))

	_, _, err = run(t, "", append(args, "--seed", "7")...)
	require.ErrorContains(t, err, "with the seed 1, not 7")
}

// Under "all" presets that the data cannot be put under are said to be left out.
func TestEvalWithoutAFolder(t *testing.T) {
	out, log, err := run(t, "", "eval", questions(t, 1), "--model", tiny, "--max-tokens", "1", "--orders", "0", "--timings", "0")
	require.NoError(t, err)
	for _, s := range graphkv.Strategies() {
		if !strings.Contains(log, string(s)+": left out: ") {
			require.Contains(t, out, string(s)+" ")
		}
	}
	require.Contains(t, log, "no chat template")
}

// SIGINT ends a run with the status of an interrupted command; the answers that were there
// are kept, and the next run goes on from them.
func TestEvalIsInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt there")
	}
	data, dir := questions(t, 400), t.TempDir()
	args := []string{"eval", data, "--model", tiny, "--max-tokens", "2", "--timings", "0", "--out", dir, "--strategy", "block,pcw"}
	cmd := process(t, "", args...)
	require.NoError(t, cmd.Start())
	lines := func() int {
		b, _ := os.ReadFile(filepath.Join(dir, "results.jsonl")) // not there at first
		return bytes.Count(b, []byte("\n"))
	}
	require.Eventually(t, func() bool { return lines() > 20 }, waitLong, waitShort)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, interrupted, cmd.ProcessState.ExitCode())
	require.Contains(t, cmd.Stderr.(*bytes.Buffer).String(), "goes on from there")
	kept := lines()
	require.Less(t, kept, 400*4*2)
	require.Greater(t, kept, 20)
	out := output(t, process(t, "", append(args, "--limit", "2", "--orders", "1")...))
	require.Contains(t, out, "2 items of 2, in 2 orders")
	require.Equal(t, kept, lines(), "the first items were done")
}

func TestEvalMistakes(t *testing.T) {
	data := questions(t, 2)
	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	require.NoError(t, os.WriteFile(bad, []byte(`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}]}`+"\n{\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "accepts 1 arg"},
		{[]string{"missing.jsonl"}, "missing.jsonl"},
		{[]string{bad}, "bad.jsonl: line 2: "},
		{[]string{data, "--strategy", "ring"}, `strategy "ring"`},
		{[]string{data, "--strategy", "graphkv-topk:top_k=0"}, "needs top_k of at least 1"},
		{[]string{data, "--format", "csv"}, `format "csv"`},
		{[]string{data, "--orders", "-1"}, "--orders is -1"},
		{[]string{data, "--max-tokens", "0"}, "--max-tokens is 0"},
		{[]string{data, "--model", "nowhere.gguf"}, "nowhere.gguf"},
		{[]string{data, "--out", data}, "data.jsonl"},
	} {
		_, _, err := run(t, "", append([]string{"eval", "--model", tiny}, c.args...)...)
		require.ErrorContains(t, err, c.want, c.args)
	}
}
