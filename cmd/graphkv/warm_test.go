// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache/disk"
)

// testCorpus is a corpus whose segments link to earlier ones.
type testCorpus struct {
	segments []graphkv.Segment
	links    [][]int
}

func newTestCorpus(n int, seed uint64) *testCorpus {
	r := rand.New(rand.NewPCG(seed, 1))
	c := &testCorpus{}
	for i := range n {
		s := graphkv.Segment{ID: fmt.Sprintf("s%d", i)}
		for range 1 + r.IntN(60) {
			s.Tokens = append(s.Tokens, int32(3+r.IntN(300)))
		}
		if i%7 == 3 {
			s.Tokens, s.Text = nil, fmt.Sprintf("This is segment %d.\n", i)
		}
		c.segments = append(c.segments, s)
		var links []int
		for range min(i, r.IntN(4)) {
			if j := r.IntN(i); !slices.Contains(links, j) {
				links = append(links, j)
			}
		}
		c.links = append(c.links, links)
	}
	return c
}

// file writes the corpus as JSONL.
func (c *testCorpus) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "corpus.jsonl")
	require.NoError(t, os.WriteFile(path, c.jsonl(t), 0o600))
	return path
}

func (c *testCorpus) jsonl(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	for i, s := range c.segments {
		line := map[string]any{"id": s.ID, "links": []string{}}
		if s.Text != "" {
			line["text"] = s.Text
		} else {
			line["tokens"] = s.Tokens
		}
		for _, j := range c.links[i] {
			line["links"] = append(line["links"].([]string), c.segments[j].ID)
		}
		require.NoError(t, printJSON(&out, line))
	}
	return out.Bytes()
}

// over returns the request over a segment and all that it links to.
func (c *testCorpus) over(i int, r graphkv.Request) *graphkv.Request {
	need := map[int]bool{i: true}
	for j := i; j >= 0; j-- {
		for _, l := range c.links[j] {
			need[l] = need[l] || need[j]
		}
	}
	for j, s := range c.segments {
		if need[j] {
			r.Segments = append(r.Segments, s)
			for _, l := range c.links[j] {
				r.Edges = append(r.Edges, graphkv.Edge{c.segments[l].ID, s.ID})
			}
		}
	}
	r.Center = c.segments[i].ID
	r.Query = graphkv.Tokens(40, 41, 42)
	r.MaxTokens = 3
	return &r
}

// logits returns those of requests by an engine with these options.
func logits(t testing.TB, requests []*graphkv.Request, options ...graphkv.Option) (all [][]float32) {
	t.Helper()
	e, err := graphkv.Open(tiny, options...)
	require.NoError(t, err)
	defer e.Close()
	for _, r := range requests {
		p, err := e.Compile(r)
		require.NoError(t, err)
		result, err := e.Generate(t.Context(), p, graphkv.WithLogits())
		require.NoError(t, err)
		all = append(all, result.Logits)
	}
	return all
}

// encodedFor returns how many tokens of the requests' segments an engine over the folder encodes. It measures no rate of encoding meanwhile, so that it
// fetches what is there, even a segment of one token.
func encodedFor(t testing.TB, dir string, requests []*graphkv.Request, options ...graphkv.Option) (tokens int) {
	t.Helper()
	e, err := graphkv.Open(tiny, append(options, graphkv.WithDisk(dir, 0))...)
	require.NoError(t, err)
	defer e.Close()
	for _, r := range requests {
		p, err := e.Compile(r)
		require.NoError(t, err)
		u, err := e.Prepare(t.Context(), p)
		require.NoError(t, err)
		tokens += u.EncodedTokens
	}
	return tokens
}

// foundAll fails the test unless an engine over the folder finds all segments of these requests, and answers to the last bit as one without does.
func foundAll(t *testing.T, dir string, requests []*graphkv.Request, options ...graphkv.Option) {
	t.Helper()
	require.Zero(t, encodedFor(t, dir, requests, options...))
	require.Equal(t, logits(t, requests, options...), logits(t, requests, append(options, graphkv.WithDisk(dir, 0))...))
}

var warmed = regexp.MustCompile(`^(\d+) segments: (\d+) tokens encoded in .*, (\d+) reused; (\d+) entries, `)

// mustWarm runs the command and returns the counts that it prints.
func mustWarm(t testing.TB, args ...string) (segments, encoded, reused, entries int) {
	t.Helper()
	out := mustRun(t, "", append([]string{"cache", "warm", "--model", tiny}, args...)...)
	m := warmed.FindStringSubmatch(out)
	require.NotNil(t, m, out)
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1])
	}
	return n[0], n[1], n[2], n[3]
}

// Whatever later requests with segments of the corpus look for is there: the same in block, in pcw, around an ego graph's centre and in the first round of
// graphkv.
func TestWarmBlock(t *testing.T) {
	c, dir := newTestCorpus(150, 1), t.TempDir()
	path := c.file(t)
	segments, encoded, reused, entries := mustWarm(t, path, "--cache-dir", dir)
	require.Equal(t, []int{150, 0, 150}, []int{segments, reused, entries})

	var requests []*graphkv.Request
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for i := range 60 {
		q := &graphkv.Request{Strategy: []graphkv.Strategy{graphkv.Block, graphkv.PCW}[i%2], Query: graphkv.Tokens(40, 41, 42), MaxTokens: 3}
		for _, j := range r.Perm(len(c.segments))[:1+r.IntN(12)] {
			q.Segments = append(q.Segments, c.segments[j])
			seen[c.segments[j].ID] = true
		}
		requests = append(requests, q)
	}
	require.Greater(t, len(seen), 120)
	foundAll(t, dir, requests)
	require.Positive(t, encodedFor(t, dir, requests[:1], graphkv.WithNamespace("other")))

	segments, again, reused, entries := mustWarm(t, path, "--cache-dir", dir)
	require.Equal(t, []int{150, 0, encoded, 0}, []int{segments, again, reused, entries})

	// Another format is another entry.
	_, again, _, _ = mustWarm(t, path, "--cache-dir", dir, "--kv-format", "i8")
	require.Equal(t, encoded, again)
	foundAll(t, dir, requests[:10], graphkv.WithKVFormat(3))

	// From standard input.
	out := mustRun(t, string(c.jsonl(t)), "cache", "warm", "-", "--model", tiny, "--cache-dir", t.TempDir())
	require.Regexp(t, fmt.Sprintf(`^150 segments: %d tokens encoded in`, encoded), out)
}

func TestWarmDAG(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    []string
		request graphkv.Request
	}{
		{"levels", nil, graphkv.Request{}},
		{"rounds", []string{"--rounds", "2"}, graphkv.Request{Rounds: 2}},
		{"sequential", []string{"--positions", "sequential"}, graphkv.Request{Positions: graphkv.SequentialPositions}},
	} {
		t.Run(c.name, func(t *testing.T) {
			corpus, dir := newTestCorpus(40, 2), t.TempDir()
			path := corpus.file(t)
			args := append([]string{path, "--strategy", "dag", "--cache-dir", dir}, c.args...)
			segments, _, _, entries := mustWarm(t, args...)
			require.Equal(t, 40, segments)
			require.GreaterOrEqual(t, entries, 40)
			var requests []*graphkv.Request
			for i := range corpus.segments {
				c.request.Strategy = graphkv.DAG
				requests = append(requests, corpus.over(i, c.request))
			}
			foundAll(t, dir, requests)
			_, encoded, _, entries := mustWarm(t, args...)
			require.Equal(t, []int{0, 0}, []int{encoded, entries})
		})
	}
}

// Shards encode a corpus together, each its part, at the same time or not, and once they are all through nothing is missing.
func TestWarmShards(t *testing.T) {
	c := newTestCorpus(90, 3)
	path := c.file(t)
	for _, strategy := range []string{"block", "dag"} {
		t.Run(strategy, func(t *testing.T) {
			dir := t.TempDir()
			total := 0
			for i := range 3 {
				segments, encoded, _, _ := mustWarm(t, path, "--strategy", strategy, "--cache-dir", dir, "--shard", fmt.Sprintf("%d/3", i+1))
				require.Positive(t, encoded)
				require.Less(t, segments, 60)
				total += segments
			}
			require.Equal(t, 90, total)
			_, encoded, _, _ := mustWarm(t, path, "--strategy", strategy, "--cache-dir", dir)
			require.Zero(t, encoded)
		})
	}
}

// An interrupted run keeps what it has done, and the next one does the rest.
func TestWarmInterrupted(t *testing.T) {
	c, dir := newTestCorpus(800, 4), t.TempDir()
	lines := c.jsonl(t)
	in, out := io.Pipe()
	half := bytes.SplitAfterN(lines, []byte("\n"), 401)[:400]
	go out.Write(bytes.Join(half, nil)) // and no end: the command waits for more
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := newRoot()
	cmd.SetIn(in)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"cache", "warm", "-", "--model", tiny, "--cache-dir", dir})
	done := make(chan error)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	stored := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "v1", "*", "*.kv"))
		require.NoError(t, err)
		return len(files)
	}
	require.Eventually(t, func() bool { return stored() > 100 }, waitLong, waitShort)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	in.Close()
	before := stored()
	require.LessOrEqual(t, before, 400)
	temps, err := filepath.Glob(filepath.Join(dir, "v1", "*", "tmp-*"))
	require.NoError(t, err)
	require.Empty(t, temps)

	segments, _, reused, entries := mustWarm(t, c.file(t), "--cache-dir", dir)
	require.Equal(t, 800, segments)
	require.Positive(t, reused)
	require.LessOrEqual(t, entries, 800-before)
	require.Equal(t, before+entries, stored())
}

// Batches fill passes although segments are short, and whatever is full is not so because a queue dropped what it could not hold.
func TestWarmFillsPasses(t *testing.T) {
	w := &warm{model: tiny, strategy: string(graphkv.Block)}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	w.flags(cmd)
	w.dir = t.TempDir()
	e, err := w.open(cmd)
	require.NoError(t, err)
	defer e.Close()
	r := newWarming(cmd, w, e, 0)
	require.NoError(t, r.run(func() error { return r.blocks(bytes.NewReader(newTestCorpus(700, 5).jsonl(t))) }))
	s := e.Stats()
	require.Equal(t, uint64(700), s.Cache.Tiers[1].Puts)
	require.Zero(t, s.Cache.Dropped)
	t.Logf("%.0f tokens a pass", float64(s.Tokens)/float64(s.Passes))
	require.Greater(t, float64(s.Tokens)/float64(s.Passes), 0.8*512)
}

func TestWarmLeavesOut(t *testing.T) {
	c, dir := newTestCorpus(30, 6), t.TempDir()
	c.segments[7].Tokens = make([]int32, 3000) // the model was trained on 2048
	c.segments[9].Tokens, c.segments[9].Text = []int32{1, 320}, ""
	c.links[7], c.links[9] = nil, nil
	for i := range c.links {
		c.links[i] = slices.DeleteFunc(c.links[i], func(j int) bool { return j == 7 || j == 9 })
	}
	for _, strategy := range []string{"block", "dag"} {
		out, log, err := run(t, "", "cache", "warm", c.file(t), "--model", tiny, "--cache-dir", dir, "--strategy", strategy)
		require.EqualError(t, err, "2 segments were left out")
		require.True(t, strings.HasPrefix(out, "28 segments: "), out)
		require.Contains(t, log, "s7")
		require.Contains(t, log, "s9")
		require.Contains(t, log, "not in the vocabulary of 320")
	}
}

// A cycle can be encoded in rounds only.
func TestWarmCycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "corpus.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"id": "a", "tokens": [5], "links": ["b"]}
{"id": "b", "tokens": [6], "links": ["a"]}
{"id": "c", "tokens": [7]}
`), 0o600))
	out, log, err := run(t, "", "cache", "warm", path, "--model", tiny, "--strategy", "dag")
	require.ErrorContains(t, err, "2 segments were left out")
	require.Contains(t, log, `"a" → "b" → "a"`)
	require.Contains(t, out, "1 segments")
	segments, _, _, entries := mustWarm(t, path, "--strategy", "dag", "--rounds", "1")
	require.Equal(t, []int{3, 5}, []int{segments, entries}, "c has no sources, so it is the same in both rounds")
}

// A folder that takes no more ends the run; a small budget does when not even one segment fits it, and else is said.
func TestWarmNoRoom(t *testing.T) {
	c := newTestCorpus(50, 7)
	_, _, err := run(t, "", "cache", "warm", c.file(t), "--model", tiny, "--cache-dir", t.TempDir(), "--cache-budget", "4KiB")
	require.ErrorContains(t, err, "the budget of 4 KiB is too small")
	dir := t.TempDir()
	_, log, err := run(t, "", "cache", "warm", c.file(t), "--model", tiny, "--cache-dir", dir, "--cache-budget", "256KiB")
	require.NoError(t, err)
	require.Contains(t, log, "were evicted to keep the budget of 256 KiB")
	s, err := disk.Open(dir, disk.Options{})
	require.NoError(t, err)
	defer s.Close()
	require.LessOrEqual(t, s.Metrics().Bytes, int64(256<<10))
	require.Positive(t, s.Metrics().Entries)
}

func TestWarmMistakes(t *testing.T) {
	path := newTestCorpus(1, 1).file(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "accepts 1 arg"},
		{[]string{"nowhere.jsonl"}, "nowhere.jsonl"},
		{[]string{path, "--strategy", "ring"}, `--strategy "ring"`},
		{[]string{path, "--rounds", "1"}, "--rounds and --positions are for"},
		{[]string{"-", "--strategy", "dag"}, "must be a file"},
		{[]string{path, "--shard", "0/2"}, `"0/2" is not i/n`},
		{[]string{path, "--kv-format", "f8"}, `"f8" is not one of f32, f16, bf16, i8`},
		{[]string{path, "--cache-budget", "much"}, `"much" is not a size`},
		{[]string{path, "--redis", "redis://127.0.0.1:1", "--cache-dir", "x"}, "none of the others can be"},
		{[]string{path, "--redis", "redis://127.0.0.1:1"}, "127.0.0.1:1"},
		{[]string{path, "--redis", "http://127.0.0.1"}, "redis"},
	} {
		_, _, err := run(t, "", append([]string{"cache", "warm", "--model", tiny}, c.args...)...)
		require.ErrorContains(t, err, c.want, "%v", c.args)
	}
}

// A second question about the same passages encodes the question alone.
func TestAskFindsWhatAnotherLeft(t *testing.T) {
	dir := t.TempDir()
	type answer struct {
		Text  string
		Usage graphkv.Usage
	}
	ask := func(args ...string) (a answer) {
		t.Helper()
		out := mustRun(t, tinyRequest, append([]string{"ask", "--model", tiny, "--request", "-", "--json"}, args...)...)
		require.NoError(t, json.Unmarshal([]byte(out), &a))
		return a
	}
	first, second := ask("--cache-dir", dir), ask("--cache-dir", dir)
	require.Equal(t, []int{13, 0, 0}, []int{first.Usage.EncodedTokens, first.Usage.CachedTokens, first.Usage.FetchedTokens})
	require.Equal(t, []int{2, 11, 11}, []int{second.Usage.EncodedTokens, second.Usage.CachedTokens, second.Usage.FetchedTokens})
	require.Equal(t, first.Text, second.Text)
	require.Equal(t, 13, ask("--no-disk").Usage.EncodedTokens)
	require.Equal(t, 13, ask("--cache-dir", dir, "--kv-format", "bf16").Usage.EncodedTokens)

	_, log, err := run(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--cache-dir", dir)
	require.NoError(t, err)
	require.Regexp(t, `from disk`, log)
	require.Regexp(t, `ego +2 +11 +11 `, log)
	_, log, err = run(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--no-disk")
	require.NoError(t, err)
	require.NotContains(t, log, "from disk")
}

// Without a folder that can be used, the answer comes nevertheless, and it is said; not so if the user has named the folder.
func TestAskWithoutAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err := run(t, tinyRequest, "ask", "--model", tiny, "--request", "-", "--cache-dir", file)
	require.ErrorContains(t, err, file)

	cmd := newRoot()
	var out, log bytes.Buffer
	t.Setenv(folderVariable, file)
	cmd.SetIn(strings.NewReader(tinyRequest))
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SetArgs([]string{"ask", "--model", tiny, "--request", "-", "--json"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	require.Contains(t, out.String(), `"encoded_tokens":13`)
	require.Contains(t, log.String(), file)
}
