// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbinet/npyio"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
)

const tiny = "../../model/testdata/tiny/tiny-F32.gguf"

const tinyRequest = `{"strategy": "ego", "center": "c", "prefix": {"tokens": [5, 6]},
 "segments": [{"id": "a", "tokens": [10, 11, 12]}, {"id": "b", "tokens": [20, 21]}, {"id": "c", "tokens": [30, 31, 32, 33]}],
 "edges": [["a", "c"], ["b", "c"]], "query": {"tokens": [40, 41]}, "max_tokens": 5}`

// run executes the command line and returns what it writes.
func run(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	t.Setenv(folderVariable, t.TempDir()) // never the user's; runs that are to share one name it
	cmd := newRoot()
	var out, log bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), log.String(), err
}

func mustRun(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, log, err := run(t, stdin, args...)
	require.NoError(t, err, log)
	return out
}

func readLogits(t testing.TB, path string) []float32 {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var x []float32
	require.NoError(t, npyio.Read(f, &x))
	return x
}

func TestAskByRequestAndByPlan(t *testing.T) {
	dir := t.TempDir()
	byRequest, byPlan := filepath.Join(dir, "request.npy"), filepath.Join(dir, "plan.npy")
	out := mustRun(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--json", "--logits", byRequest)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	keys := make([]string, 0, len(got))
	for k := range got {
		keys = append(keys, k)
	}
	require.ElementsMatch(t, []string{"text", "tokens", "finish_reason", "usage", "timings_ms"}, keys)
	require.Equal(t, map[string]any{"prompt_tokens": 13.0, "encoded_tokens": 13.0, "cached_tokens": 0.0, "fetched_tokens": 0.0, "completion_tokens": float64(len(got["tokens"].([]any)))}, got["usage"])

	// Tokens need no model: nothing is fetched from this empty cache.
	t.Setenv("GRAPHKV_CACHE", filepath.Join(dir, "empty"))
	plan := mustRun(t, tinyRequest, "plan", "--request", "-", "--json")
	require.NoDirExists(t, filepath.Join(dir, "empty"))
	again := mustRun(t, plan, "ask", "--model", tiny, "--plan", "-", "--json", "--max-tokens", "5", "--logits", byPlan)
	var repeat map[string]any
	require.NoError(t, json.Unmarshal([]byte(again), &repeat))
	require.Equal(t, got["tokens"], repeat["tokens"])
	require.Equal(t, readLogits(t, byRequest), readLogits(t, byPlan))
	require.Len(t, readLogits(t, byPlan), 320)

	e, err := graphkv.Open(tiny)
	require.NoError(t, err)
	defer e.Close()
	p, err := graphkv.ParsePlan([]byte(plan))
	require.NoError(t, err)
	want, err := e.Generate(t.Context(), p.WithMaxTokens(graphkv.NoTokens), graphkv.WithLogits())
	require.NoError(t, err)
	require.Equal(t, want.Logits, readLogits(t, byPlan))
}

func TestAskStreamsThenPrintsTimings(t *testing.T) {
	out, log, err := run(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--max-tokens", "0")
	require.NoError(t, err)
	require.Equal(t, "\n", out)
	require.Contains(t, log, "tokens encoded")
	out, log, err = run(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--compare", "all")
	require.NoError(t, err)
	for _, s := range graphkv.Strategies() {
		require.Contains(t, out, string(s)+": ")
		require.Contains(t, log, string(s))
	}
}

func TestCompareLeavesOutWhatCannotBe(t *testing.T) {
	request := `{"segments": [{"id": "a", "tokens": [7, 8]}], "query": {"tokens": [1, 2, 3]}, "max_tokens": 2}`
	out := mustRun(t, request, "ask", "--model", tiny, "--request", "-", "--compare", "all", "--json")
	var got struct {
		Results []struct {
			Strategy, Error string
			Usage           *graphkv.Usage
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Len(t, got.Results, len(graphkv.Strategies()))
	for _, r := range got.Results {
		if r.Strategy == string(graphkv.Ego) {
			require.Contains(t, r.Error, "needs a center")
			require.Nil(t, r.Usage)
			continue
		}
		require.Zero(t, r.Usage.CachedTokens, "%s finds what another preset has left", r.Strategy)
	}
	require.Contains(t, mustRun(t, request, "ask", "--model", tiny, "--request", "-", "--compare", "all"), "ego: left out: ")
}

// Files of the same name in different folders are different passages.
func TestFilesOfOneName(t *testing.T) {
	if _, err := hub.Locate(t.Context(), defaultModel, hub.Options{}); err != nil && os.Getenv("GRAPHKV_REQUIRE_MODEL") == "" {
		t.Skipf("the real model is missing (graphkv pull %s): %v", defaultModel, err)
	}
	dir := t.TempDir()
	args := []string{"plan", "--json", "Which", "one?"}
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(dir, name, "note.txt")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("Note "+name), 0o600))
		args = append(args, "-f", path)
	}
	require.Equal(t, 2, strings.Count(mustRun(t, "", args...), `"kv0.`+dir+`/`)/3) // two nodes, each seen twice
}

func TestPlanOfTextNeedsNoChatTemplate(t *testing.T) {
	out := mustRun(t, `{"query": "hello", "strategy": "block"}`, "plan", "--model", tiny, "--request", "-")
	require.Contains(t, out, "query")
}

// An interrupted command does not wait for more input.
func TestInterruptedWhileReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := newRoot()
	in, _ := io.Pipe() // never written, never closed
	cmd.SetIn(in)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"tokenize", "--model", tiny})
	cancel()
	require.ErrorIs(t, cmd.ExecuteContext(ctx), context.Canceled)
}

func TestPlanPicture(t *testing.T) {
	out := mustRun(t, tinyRequest, "plan", "--request", "-", "--block", "2")
	require.Contains(t, out, "query   2       9…10       prefix (0), kv0.a (2), kv0.b (2), kv")
	require.Contains(t, out, "6 edges")
}

// A mask is drawn of what is known before the plan is run.
func TestPlanOfRepairs(t *testing.T) {
	epic := mustRun(t, tinyRequest, "plan", "--request", "-", "--strategy", "epic", "--repair-first", "1", "--block", "1")
	require.Contains(t, epic, "repairs the first 1 of kv0.a")
	require.Contains(t, epic, "kv1.a[0:1]")
	require.NotContains(t, epic, "no mask")
	blend := mustRun(t, tinyRequest, "plan", "--request", "-", "--strategy", "cacheblend", "--repair-fraction", "0.5")
	require.Contains(t, blend, "repairs the most deviating 2 of kv0.a")
	require.Contains(t, blend, `no mask: node "kv1.a" repairs "kv0.a": which tokens it encodes again is known when it is encoded`)
	require.Contains(t, blend, "at most 84 attention pairs")
	require.NotContains(t, mustRun(t, tinyRequest, "plan", "--request", "-", "--strategy", "cacheblend", "--repair-fraction", "0"), "repairs")

	plan := mustRun(t, tinyRequest, "plan", "--request", "-", "--strategy", "cacheblend", "--repair-fraction", "0.5", "--json")
	var byRequest, byPlan graphkv.Result
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--strategy", "cacheblend",
		"--repair-fraction", "0.5", "--max-tokens", "5", "--json", "--no-disk")), &byRequest))
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, plan, "ask", "--model", tiny, "--plan", "-", "--max-tokens", "5", "--json", "--no-disk")), &byPlan))
	require.Equal(t, byRequest.Tokens, byPlan.Tokens)
	require.NotEmpty(t, byPlan.Tokens)
	require.Equal(t, byRequest.Usage, byPlan.Usage)
}

func TestTokenize(t *testing.T) {
	ids := mustRun(t, "", "tokenize", "--model", tiny, "--special", "<|im_start|>user\nhi<|im_end|>\n")
	require.JSONEq(t, "[1, 87, 85, 267, 201, 74, 75, 2, 201]", ids)
	require.Equal(t, "<|im_start|>user\nhi<|im_end|>\n", mustRun(t, ids, "tokenize", "--model", tiny, "--decode"))
	plain := mustRun(t, "<|im_end|>", "tokenize", "--model", tiny)
	require.NotContains(t, plain, "[2]")
	require.JSONEq(t, "[]", mustRun(t, "", "tokenize", "--model", tiny))
}

func TestInspect(t *testing.T) {
	out := mustRun(t, "", "inspect", "--tensors", tiny)
	require.Contains(t, out, "tiny-random-llama")
	require.Contains(t, out, "blk.2.ffn_down.weight")
	require.Contains(t, out, "3 layers, 4 query and 2 KV heads of 16")
}

func TestPullFromAHub(t *testing.T) {
	model, err := os.ReadFile(tiny)
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/owner/repo/resolve/main/tiny.gguf" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "tiny.gguf", time.Time{}, bytes.NewReader(model))
	}))
	defer server.Close()
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("GRAPHKV_CACHE", t.TempDir())
	path := strings.TrimSpace(mustRun(t, "", "pull", "hf:owner/repo/tiny.gguf"))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, model, got)
	server.Close()
	require.Equal(t, path, strings.TrimSpace(mustRun(t, "", "pull", "--verify", "hf:owner/repo/tiny.gguf")))
	require.NotEmpty(t, mustRun(t, tinyRequest, "ask", "--model", "hf:owner/repo/tiny.gguf", "--request", "-", "--json"))
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"unknown field", `{"query": "x", "segmets": []}`, []string{"plan", "--request", "-"}, `unknown field "segmets"`},
		{"unknown strategy", `{"query": {"tokens": [1]}, "strategy": "ring"}`, []string{"plan", "--request", "-"}, `unknown strategy "ring"`},
		{"cycle", `{"strategy": "dag", "query": {"tokens": [1]}, "segments": [{"id": "a", "tokens": [1]}, {"id": "b", "tokens": [2]}],
			"edges": [["a", "b"], ["b", "a"]]}`, []string{"plan", "--request", "-"}, `"a" → "b" → "a"`},
		{"unknown source", `{"query": {"tokens": [1]}, "segments": [{"id": "a", "tokens": [1]}], "edges": [["z", "a"]]}`, []string{"plan", "--request", "-"}, `"z"`},
		{"both", tinyRequest, []string{"ask", "--request", "-", "--plan", "-"}, "none of the others can be"},
		{"plan changed", `{"nodes": []}`, []string{"ask", "--model", tiny, "--plan", "-", "--strategy", "block"}, "--strategy cannot change a plan file"},
		{"no model", "", []string{"ask", "--model", "nowhere.gguf"}, "nowhere.gguf"},
		{"files without a question", "", []string{"ask", "--model", tiny, "--file", "main.go"}, "give a question"},
		{"no chat template", "", []string{"ask", "--model", tiny, "--file", "main.go", "Why?"}, "chat_template"},
		{"missing file", "", []string{"ask", "--model", "nowhere.gguf", "--file", "missing.txt", "Why?"}, "missing.txt"},
		{"plan with a question", `{"nodes": []}`, []string{"ask", "--model", tiny, "--plan", "-", "Why?"}, "the plan holds the question"},
		{"request with a question", tinyRequest, []string{"ask", "--model", tiny, "--request", "-", "Why?"}, "the request holds the question"},
		{"negative length", tinyRequest, []string{"ask", "--model", tiny, "--request", "-", "--max-tokens=-7"}, "--max-tokens is -7"},
		{"compare and strategy", tinyRequest, []string{"ask", "--request", "-", "--compare", "all", "--strategy", "pcw"}, "none of the others can be"},
		{"compare nothing", tinyRequest, []string{"ask", "--model", tiny, "--request", "-", "--compare", ","}, "empty name"},
		{"compare impossible", `{"query": {"tokens": [1]}}`, []string{"ask", "--model", tiny, "--request", "-", "--compare", "block,ego"}, "needs a center"},
		{"logits into nowhere", tinyRequest, []string{"ask", "--model", tiny, "--request", "-", "--logits", "no/such/folder/x.npy"}, "no/such/folder"},
		{"bad ids", "1 2 many", []string{"tokenize", "--model", tiny, "--decode"}, "token ids"},
		{"id too large", "320", []string{"tokenize", "--model", tiny, "--decode"}, "not in the vocabulary of 320"},
		{"top-p", tinyRequest, []string{"ask", "--model", tiny, "--request", "-", "--top-p", "2", "--temperature", "1"}, "TopP is 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := run(t, c.stdin, c.args...)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestDemo(t *testing.T) {
	d := demo()
	require.NotEmpty(t, d.Question)
	ids := map[string]bool{}
	for _, doc := range d.Documents {
		require.NotEmpty(t, doc.Text)
		ids[doc.ID] = true
	}
	require.True(t, ids[d.Center])
	for _, doc := range d.Documents {
		for _, l := range doc.Links {
			require.True(t, ids[l], l)
		}
	}
}

// The demo's answer is right, and a question cannot smuggle special tokens in.
func TestRealModel(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the real model; not under -short")
	}
	if _, err := hub.Locate(t.Context(), defaultModel, hub.Options{}); err != nil && os.Getenv("GRAPHKV_REQUIRE_MODEL") == "" {
		t.Skipf("the real model is missing (graphkv pull %s): %v", defaultModel, err)
	}
	out := mustRun(t, "", "ask")
	require.Contains(t, out, "Frank Gehry")
	require.Contains(t, out, "1997")

	file := filepath.Join(t.TempDir(), "note.txt")
	require.NoError(t, os.WriteFile(file, []byte("A note. <|im_end|>"), 0o600))
	var plan struct {
		Nodes []struct{ Tokens []int32 }
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, "", "plan", "--json", "-f", file, "-s", "block", "Is it <|im_end|>?")), &plan))
	const imEnd = 2
	require.Len(t, plan.Nodes, 3)
	require.NotContains(t, plan.Nodes[1].Tokens, int32(imEnd))
	require.Equal(t, 1, count(plan.Nodes[2].Tokens, imEnd), "the template's own")
}

func count(ids []int32, id int32) int {
	n := 0
	for _, x := range ids {
		if x == id {
			n++
		}
	}
	return n
}

// How long a test waits for what must come, and how often it looks.
const waitLong, waitShort = 20 * time.Second, 5 * time.Millisecond
