// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sbinet/npyio"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
)

// goldenTolerance bounds the largest logit difference from the published method's
// float32 results; a correct float32 implementation lands near 5e-5.
const goldenTolerance = 1e-3

// tieGap is the lead of the best logit below which two correct float32
// implementations may choose different tokens.
const tieGap = 0.002

// smolLM2 opens the real model, once for all tests. Without the file the test is
// skipped, or fails where GRAPHKV_REQUIRE_MODEL is set.
func smolLM2(t testing.TB) *graphkv.Engine {
	t.Helper()
	path := smolPath(t)
	smolOnce.Do(func() { smol, errSmol = graphkv.Open(path) })
	require.NoError(t, errSmol)
	return smol
}

// openSmolLM2 opens the real model once more; the test closes it.
func openSmolLM2(t testing.TB, options ...graphkv.Option) *graphkv.Engine {
	t.Helper()
	e, err := graphkv.Open(smolPath(t), options...)
	require.NoError(t, err)
	return e
}

func smolPath(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the real model; not under -short")
	}
	path, err := hub.Locate(t.Context(), "smollm2-135m-instruct", hub.Options{})
	if err != nil {
		if os.Getenv("GRAPHKV_REQUIRE_MODEL") != "" {
			t.Fatalf("the real model is missing: %v", err)
		}
		t.Skipf("the real model is missing (graphkv pull smollm2-135m-instruct): %v", err)
	}
	return path
}

var (
	smolOnce sync.Once
	smol     *graphkv.Engine
	errSmol  error
)

// goldenCase is one preset of one case: see testdata/smollm2/README.md.
type goldenCase struct {
	Case, Preset string
	Request      json.RawMessage
	Plan         json.RawMessage
	Expect       struct {
		Logits string
		Tokens []int32
		Text   string
		EOS    bool      `json:"stopped_on_eos"`
		Margin []float64 `json:"top1_top2_margin"`
	}
	dir string
}

func readGolden(t testing.TB) []goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/smollm2/case*/*.json")
	require.NoError(t, err)
	var cases []goldenCase
	for _, f := range files {
		if filepath.Base(f) == "texts.json" {
			continue
		}
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		c := goldenCase{dir: filepath.Dir(f)}
		require.NoError(t, json.Unmarshal(data, &c), f)
		cases = append(cases, c)
	}
	require.Len(t, cases, 28)
	return cases
}

func (c goldenCase) logits(t testing.TB) []float32 {
	t.Helper()
	return readNPY(t, filepath.Join(c.dir, c.Expect.Logits))
}

func readNPY(t testing.TB, path string) []float32 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var x []float32
	require.NoError(t, npyio.Read(f, &x))
	return x
}

// check runs a plan and compares logits and greedy tokens with the published ones.
func (c goldenCase) check(t *testing.T, e *graphkv.Engine, p *graphkv.Plan) {
	t.Helper()
	r, err := e.Generate(t.Context(), p.WithMaxTokens(32), graphkv.WithLogits())
	require.NoError(t, err)
	want := c.logits(t)
	require.Len(t, r.Logits, len(want))
	diff := maxDiff(r.Logits, want)
	t.Logf("max |Δlogit| %.1e", diff)
	require.LessOrEqual(t, diff, goldenTolerance)
	compareGreedy(t, c.Expect.Tokens, r.Tokens, c.Expect.Margin)
	if slices.Equal(r.Tokens, c.Expect.Tokens) {
		require.Equal(t, strings.TrimSuffix(c.Expect.Text, "<|im_end|>"), r.Text)
		require.Equal(t, c.Expect.EOS, r.FinishReason == graphkv.FinishStop)
	}
}

// compareGreedy requires equal tokens up to the first step where the reference's
// two best logits are closer than rounding can tell apart.
func compareGreedy(t *testing.T, want, got []int32, margin []float64) {
	t.Helper()
	for i, id := range want {
		require.Greater(t, len(got), i, "the answer ends early: %v, want %v", got, want)
		if margin[i] < tieGap && got[i] != id {
			t.Logf("tie of %.5f at step %d: %d for %d", margin[i], i, got[i], id)
			return
		}
		require.Equal(t, id, got[i], "step %d of %v, want %v", i, got, want)
	}
	require.Len(t, got, len(want))
}

func maxDiff(a, b []float32) float64 {
	d := 0.0
	for i := range a {
		d = math.Max(d, math.Abs(float64(a[i])-float64(b[i])))
	}
	return d
}

// Every case of the published method, by plan and by request.
func TestGoldenSmolLM2(t *testing.T) {
	e := smolLM2(t)
	for _, c := range readGolden(t) {
		t.Run(c.Case+"/"+c.Preset+"/plan", func(t *testing.T) {
			p, err := graphkv.ParsePlan(c.Plan)
			require.NoError(t, err)
			c.check(t, e, p)
		})
		if string(c.Request) == "null" {
			continue
		}
		t.Run(c.Case+"/"+c.Preset+"/request", func(t *testing.T) {
			r, err := graphkv.ParseRequest(c.Request)
			require.NoError(t, err)
			p, err := e.Compile(r)
			require.NoError(t, err)
			c.check(t, e, p)
		})
	}
}

// The plan compiled from each request has the nodes, edges and bases of the
// published one; names apart, which requests choose.
func TestGoldenPlans(t *testing.T) {
	type file struct {
		Nodes []struct {
			ID     string
			Base   int
			Tokens []int32
			Sees   []struct {
				ID   string
				Base int
			}
		}
	}
	parse := func(data []byte) file {
		var f file
		require.NoError(t, json.Unmarshal(data, &f))
		for i, n := range f.Nodes { // names become places
			for j, s := range n.Sees {
				for k := range i {
					if f.Nodes[k].ID == s.ID {
						n.Sees[j].ID = strings.Repeat("·", k)
					}
				}
			}
		}
		for i := range f.Nodes {
			f.Nodes[i].ID = ""
		}
		return f
	}
	checked := 0
	for _, c := range readGolden(t) {
		if string(c.Request) == "null" {
			continue
		}
		r, err := graphkv.ParseRequest(c.Request)
		require.NoError(t, err)
		p, err := graphkv.Compile(r, graphkv.CompileOptions{Context: 8192})
		require.NoError(t, err)
		data, err := json.Marshal(p)
		require.NoError(t, err)
		require.Equal(t, parse(c.Plan), parse(data), "%s/%s", c.Case, c.Preset)
		checked++
	}
	require.Equal(t, 25, checked)
}

// The published ego-batch plan has no request of its own; the one that describes it
// compiles to the same bases.
func TestEgoBatchByRequest(t *testing.T) {
	for _, c := range readGolden(t) {
		if c.Preset != "ego-batch" {
			continue
		}
		published, err := graphkv.ParsePlan(c.Plan)
		require.NoError(t, err)
		r := &graphkv.Request{Strategy: graphkv.EgoBatch}
		l := published.Layout()
		for i := range published.Len() {
			id := published.ID(i)
			switch {
			case i == l.Query():
				r.Query = graphkv.Tokens(published.Tokens(i)...)
			case id == "prefix":
				r.Prefix = graphkv.Tokens(published.Tokens(i)...)
			default:
				r.Segments = append(r.Segments, graphkv.Segment{ID: id, Tokens: published.Tokens(i)})
				for _, s := range l.Sees(i) {
					r.Edges = append(r.Edges, graphkv.Edge{published.ID(int(s.Node)), id})
				}
			}
		}
		p, err := graphkv.Compile(r, graphkv.CompileOptions{})
		require.NoError(t, err)
		require.Equal(t, l.Len(), p.Len())
		for i := range l.Len() {
			require.Equal(t, l.Node(i).Base, p.Layout().Node(i).Base, published.ID(i))
			require.Equal(t, published.Tokens(i), p.Tokens(i))
			require.Equal(t, l.Sees(i), p.Layout().Sees(i), published.ID(i))
		}
		return
	}
	t.Fatal("no ego-batch case")
}

// A plain prompt of 20 and 200 tokens against llama.cpp's logits with float32
// weights and KV, and 32 greedy tokens.
func TestPlainAgainstLlamaCPP(t *testing.T) {
	e := smolLM2(t)
	var ids map[string][]int32
	data, err := os.ReadFile("testdata/smollm2/plain/ids.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &ids))
	for n, tokens := range ids {
		p, err := e.Compile(&graphkv.Request{Strategy: graphkv.Sequential, Query: graphkv.Tokens(tokens...), MaxTokens: 32})
		require.NoError(t, err)
		r, err := e.Generate(t.Context(), p, graphkv.WithLogits())
		require.NoError(t, err)
		diff := maxDiff(r.Logits, readNPY(t, "testdata/smollm2/plain/prompt"+n+".npy"))
		t.Logf("%s tokens: max |Δlogit| %.1e", n, diff)
		require.LessOrEqual(t, diff, goldenTolerance)
		text, err := os.ReadFile("testdata/smollm2/plain/prompt" + n + ".txt")
		require.NoError(t, err)
		require.Equal(t, tokens, e.Tokenizer().Encode(nil, string(text), false))
		if n == "200" {
			var want []int32
			data, err := os.ReadFile("testdata/smollm2/plain/greedy200.json")
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(data, &want))
			require.Equal(t, want, r.Tokens)
		}
	}
}
