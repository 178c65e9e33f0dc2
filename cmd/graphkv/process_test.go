// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// commandVariable makes the test's program the command.
const commandVariable = "GRAPHKV_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		if runtime.GOOS != "windows" {
			go endWithTest()
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// endWithTest ends the process when the test's is gone, a panic or a time-out having left it no time to do so: its end of a pipe is closed then.
func endWithTest() {
	io.Copy(io.Discard, os.NewFile(3, "the test"))
	os.Exit(3)
}

// process returns the command, to be run as a process of its own.
func process(t testing.TB, stdin string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), commandVariable+"=1", folderVariable+"="+t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stderr = new(bytes.Buffer)
	if runtime.GOOS != "windows" {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		cmd.ExtraFiles = []*os.File{r}
	}
	return cmd
}

func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	require.NoError(t, err, "%s", cmd.Stderr)
	return string(out)
}

// askProcess asks the request in a process of its own.
func askProcess(t testing.TB, request string, args ...string) (text string, u graphkv.Usage) {
	t.Helper()
	var a struct {
		Text  string
		Usage graphkv.Usage
	}
	out := output(t, process(t, request, append([]string{"ask", "--model", tiny, "--request", "-", "--json"}, args...)...))
	require.NoError(t, json.Unmarshal([]byte(out), &a))
	return a.Text, a.Usage
}

// Two processes warm a corpus together in one folder. A third answers without encoding any of it.
func TestProcessesShareAFolder(t *testing.T) {
	c, dir := newTestCorpus(80, 21), t.TempDir()
	shareWarm(t, c, "--cache-dir", dir)
	text, want := askProcess(t, c.request(t), "--no-disk")
	got, u := askProcess(t, c.request(t), "--cache-dir", dir)
	require.Equal(t, text, got)
	require.Equal(t, []int{want.PromptTokens, 3, want.PromptTokens - 3, want.PromptTokens - 3},
		[]int{u.PromptTokens, u.EncodedTokens, u.CachedTokens, u.FetchedTokens})
}

// shareWarm has two processes at the same time warm a shard each.
func shareWarm(t testing.TB, c *testCorpus, args ...string) {
	t.Helper()
	path := c.file(t)
	var shards [2]*exec.Cmd
	for i := range shards {
		shards[i] = process(t, "", append([]string{"cache", "warm", path, "--model", tiny, "--shard", fmt.Sprintf("%d/2", i+1)}, args...)...)
		require.NoError(t, shards[i].Start())
	}
	for _, cmd := range shards {
		require.NoError(t, cmd.Wait(), "%s", cmd.Stderr)
	}
}

// request returns one over all segments.
func (c *testCorpus) request(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(graphkv.Request{Strategy: graphkv.PCW, Segments: c.segments, Query: graphkv.Tokens(40, 41, 42), MaxTokens: 5})
	require.NoError(t, err)
	return string(b)
}

// SIGINT ends a run with the status of an interrupted command, when what it has encoded is written and said.
func TestProcessIsInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt there")
	}
	c, dir := newTestCorpus(100, 24), t.TempDir()
	cmd := process(t, "", "cache", "warm", "-", "--model", tiny, "--cache-dir", dir)
	cmd.Stdin = nil
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	for range 4 {
		_, err = in.Write(c.jsonl(t))
		require.NoError(t, err)
	}
	// Batches are full when there is enough: 8192 tokens. The last waits for more.
	large := c.segments[0]
	large.Tokens = make([]int32, 2000)
	_, err = in.Write(bytes.Repeat((&testCorpus{[]graphkv.Segment{large}, [][]int{nil}}).jsonl(t), 5))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(entryFiles(t, dir)) > 50 }, waitLong, waitShort)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var status *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &status)
	require.Equal(t, interrupted, status.ExitCode())
	require.Contains(t, fmt.Sprint(cmd.Stderr), "graphkv: interrupted")
	require.Regexp(t, fmt.Sprintf(`^\d+ segments: .*; %d entries, `, len(entryFiles(t, dir))), out.String())
}

// Two processes share a Redis: what one has warmed, the other does not encode. The server's death costs no answer.
func TestProcessesShareARedis(t *testing.T) {
	server := redistest.Start(t)
	c := newTestCorpus(80, 22)
	shareWarm(t, c, "--redis", server.URL())
	want, _ := askProcess(t, c.request(t), "--no-disk")
	args := []string{"--no-disk", "--redis", server.URL()}
	got, u := askProcess(t, c.request(t), args...)
	require.Equal(t, want, got)
	require.Equal(t, []int{3, u.PromptTokens - 3}, []int{u.EncodedTokens, u.FetchedTokens})

	// A run that is repeated looks at keys only.
	repeated := output(t, process(t, "", "cache", "warm", c.file(t), "--model", tiny, "--redis", server.URL()))
	require.Regexp(t, `^80 segments: 0 tokens encoded .* 0 entries, 0 B, written to Redis`, repeated)

	server.Kill()
	cmd := process(t, c.request(t), append([]string{"ask", "--model", tiny, "--request", "-", "--json"}, args...)...)
	require.Contains(t, output(t, cmd), fmt.Sprintf(`"encoded_tokens":%d,`, u.PromptTokens))
	require.Contains(t, fmt.Sprint(cmd.Stderr), "redis is out of use")
	_, log, err := run(t, "", "cache", "warm", c.file(t), "--model", tiny, "--redis", server.URL())
	require.Error(t, err, "nothing is encoded for a server that is not there")
	require.NotContains(t, log, "segments")
}

// Requests in many goroutines of two engines go on, and are answered right, while the server they share dies and comes back.
func TestRedisDiesUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	c := newTestCorpus(60, 23)
	requests := make([]*graphkv.Request, 40)
	for i := range requests {
		requests[i] = &graphkv.Request{Strategy: graphkv.Block, Query: graphkv.Tokens(40, int32(3+i)), MaxTokens: 2}
		for j := range 10 {
			requests[i].Segments = append(requests[i].Segments, c.segments[(7*i+j)%60])
		}
	}
	want := logits(t, requests)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	var answered [2]struct {
		sync.Mutex
		n int
	}
	for which := range answered {
		s, err := redis.Open(ctx, server.URL(), redis.Options{})
		require.NoError(t, err)
		e, err := graphkv.Open(tiny, graphkv.WithCacheBytes(0), graphkv.WithTier(kvcache.Tier{Store: s, Timeout: 300 * time.Millisecond, ProbeEvery: 20 * time.Millisecond}))
		require.NoError(t, err)
		defer e.Close()
		for g := range 3 {
			load.Go(func() {
				for i := g; ctx.Err() == nil; i = (i + 3) % len(requests) {
					p, err := e.Compile(requests[i])
					if err != nil {
						t.Errorf("request %d: %v", i, err)
						return
					}
					result, err := e.Generate(context.WithoutCancel(ctx), p, graphkv.WithLogits())
					if err != nil || !bytes.Equal(fmt.Append(nil, result.Logits), fmt.Append(nil, want[i])) {
						t.Errorf("request %d: %v, or another answer", i, err)
						return
					}
					answered[which].Lock()
					answered[which].n++
					answered[which].Unlock()
				}
			})
		}
	}
	more := func(n int) {
		t.Helper()
		for which := range answered {
			count := func() int { answered[which].Lock(); defer answered[which].Unlock(); return answered[which].n }
			from := count()
			require.Eventually(t, func() bool { return t.Failed() || count() >= from+n }, waitLong, waitShort)
		}
	}
	for range 2 {
		more(20)
		server.Kill()
		more(20)
		server.Restart()
	}
	more(20)
	cancel()
	load.Wait()
}

// The demo, asked twice: the second run encodes the question alone, says where the rest came from, and gives the same answer sooner.
func TestRealModelFindsWhatAnotherRunLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the real model; not under -short")
	}
	if _, err := hub.Locate(t.Context(), defaultModel, hub.Options{}); err != nil && os.Getenv("GRAPHKV_REQUIRE_MODEL") == "" {
		t.Skipf("the real model is missing (graphkv pull %s): %v", defaultModel, err)
	}
	dir := t.TempDir()
	ask := func() graphkv.Result {
		var a graphkv.Result
		out := output(t, process(t, "", "ask", "--json", "--max-tokens", "8", "--strategy", "block", "--cache-dir", dir))
		require.NoError(t, json.Unmarshal([]byte(out), &a))
		return a
	}
	var plan struct {
		Nodes []struct {
			ID     string
			Tokens []int32
		}
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, "", "plan", "--json", "--strategy", "block")), &plan))
	question := len(plan.Nodes[len(plan.Nodes)-1].Tokens)

	// The passages are warmed from a corpus; what is left to encode are the prefix and the question.
	var corpus bytes.Buffer
	for _, d := range demo().Documents {
		require.NoError(t, printJSON(&corpus, map[string]string{"id": d.ID, "text": "- Title: " + d.Title + "\n" + d.Text + "\n"}))
	}
	path := filepath.Join(t.TempDir(), "corpus.jsonl")
	require.NoError(t, os.WriteFile(path, corpus.Bytes(), 0o600))
	mustRun(t, "", "cache", "warm", path, "--cache-dir", dir)
	first := ask()
	require.Equal(t, "prefix", plan.Nodes[0].ID)
	require.Equal(t, len(plan.Nodes[0].Tokens)+question, first.Usage.EncodedTokens)

	second := ask()
	require.Equal(t, question, second.Usage.EncodedTokens)
	require.Equal(t, second.Usage.PromptTokens-question, second.Usage.FetchedTokens)
	require.Equal(t, first.Tokens, second.Tokens)
}
