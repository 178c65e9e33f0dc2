// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

func TestParseRequestRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, "it is empty"},
		{`null null`, "something follows"},
		{`{"query": "x"} {}`, "something follows"},
		{"\ufeff{}", "byte order mark"},
		{"{\"query\": \"a\xff\"}", "UTF-8"},
		{`{"query": "x", "segmets": []}`, `unknown field "segmets"`},
		{`{"Query": "x"}`, `unknown field "Query"`},
		{`{"query": "x", "query": "y"}`, `"query" is repeated`},
		{`{"query": {"tokens": [1], "TEXT": "x"}}`, `"TEXT"`},
		{`{"query": {"tokens": [1], "text": "x"}}`, "not both"},
		{`{"query": {}}`, `needs "text" or "tokens"`},
		{`{"query": 7}`, "not 7"},
		{`{"query": {"tokens": [1.5]}}`, "number 1.5"},
		{`{"query": {"tokens": [3000000000]}}`, "number 3000000000"},
		{`{"query": "x", "max_tokens": -1}`, "max_tokens is -1"},
		{`{"query": "x", "top_k": -1}`, "top_k is -1"},
		{`{"query": "x", "rounds": -1}`, "rounds is -1"},
		{`{"query": "x", "temperature": -0.5}`, "temperature is -0.5"},
		{`{"query": "x", "temperature": 1e999}`, "1e999"},
		{`{"query": "x", "positions": "ring"}`, `positions is "ring"`},
		{`{"query": "x", "edges": [["a"]]}`, `["a"] is not`},
		{`{"query": "x", "edges": [["a", "b", "c"]]}`, `is not ["source", "target"]`},
		{`{"query": "x", "segments": [{"id": "a", "txet": "b"}]}`, `"txet"`},
		{`[`, "unexpected"},
	} {
		_, err := ParseRequest([]byte(c.in))
		require.ErrorContains(t, err, c.want, c.in)
		require.True(t, strings.HasPrefix(err.Error(), "graphkv: "), err)
	}
}

// To name the copies of a source that many ego graphs share takes time linear in them.
func TestNamesOfCopiesTakeLinearTime(t *testing.T) {
	r := &Request{Strategy: EgoBatch, Query: Tokens(1), Segments: []Segment{{ID: "s", Tokens: []int32{1}}, {ID: "s#3", Tokens: []int32{1}}}}
	for i := range 1000 {
		id := fmt.Sprint(i)
		r.Segments = append(r.Segments, Segment{ID: id, Tokens: []int32{1}})
		r.Edges = append(r.Edges, Edge{"s", id}, Edge{"s#3", id})
	}
	var p *Plan
	allocations := testing.AllocsPerRun(1, func() {
		var err error
		p, err = Compile(r, CompileOptions{})
		require.NoError(t, err)
	})
	require.Less(t, allocations, 100_000.0)
	ids := make(map[string]bool)
	for i := range p.Len() {
		ids[p.ID(i)] = true
	}
	require.Len(t, ids, p.Len())
	require.True(t, ids["kv0.s"] && ids["kv0.s#2"] && ids["kv0.s#3"] && ids["kv0.s#3#2"] && ids["kv0.s#1000"])
}

func TestCompileRefuses(t *testing.T) {
	query, one := Tokens(1), []int32{1}
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{}, "the query is empty"},
		{Request{Query: Text("x")}, "without a model only tokens"},
		{Request{Query: Piece{Text: "x", Tokens: one}}, "both text and tokens"},
		{Request{Query: query, Strategy: "ring"}, `unknown strategy "ring"`},
		{Request{Query: query, Temperature: math.NaN()}, "temperature is NaN"},
		{Request{Query: query, Segments: []Segment{{ID: "a"}}}, `segment "a" is empty`},
		{Request{Query: query, Segments: []Segment{{ID: "a", Tokens: one}, {ID: "a", Tokens: one}}}, `"a"`},
		{Request{Query: query, Segments: []Segment{{ID: "a", Tokens: one}}, Edges: []Edge{{"z", "a"}}}, `"z"`},
		{Request{Query: query, Strategy: GraphKVTopK}, "top_k"},
		{Request{Query: query, Strategy: Ego}, "needs a center"},
		{Request{Query: query, Strategy: Ego, Center: "z"}, `center "z" is not a segment`},
		{Request{Query: query, Strategy: Ego, Center: "a", Edges: []Edge{{"b", "a"}},
			Segments: []Segment{{ID: "a", Tokens: one}, {ID: "b", Tokens: one}, {ID: "c", Tokens: one}}}, `"c" is neither the center`},
		{Request{Query: query, Strategy: EgoBatch, Edges: []Edge{{"a", "b"}, {"b", "c"}},
			Segments: []Segment{{ID: "a", Tokens: one}, {ID: "b", Tokens: one}, {ID: "c", Tokens: one}}}, `"b" is a source of "c" and has sources itself`},
		{Request{Query: query, Strategy: DAG, Edges: []Edge{{"a", "a"}}, Segments: []Segment{{ID: "a", Tokens: one}}}, `"a"`},
		{Request{Query: query, Strategy: DAG, Rounds: 3e7, Edges: []Edge{{"a", "b"}, {"b", "a"}},
			Segments: []Segment{{ID: "a", Tokens: one}, {ID: "b", Tokens: one}}}, "the limit is 262144"},
	} {
		_, err := Compile(&c.r, CompileOptions{})
		require.ErrorContains(t, err, c.want)
	}
	_, err := Compile(nil, CompileOptions{})
	require.Error(t, err)
}

func TestCompileErrorsCanBeToldApart(t *testing.T) {
	segments := []Segment{{ID: "a", Tokens: []int32{1, 2}}, {ID: "b", Tokens: []int32{3, 4}}}
	_, err := Compile(&Request{Strategy: DAG, Segments: segments, Edges: []Edge{{"a", "b"}, {"b", "a"}}, Query: Tokens(1)}, CompileOptions{})
	var cycle *graph.CycleError
	require.ErrorAs(t, err, &cycle)
	require.Equal(t, []string{"a", "b"}, cycle.IDs)
	_, err = Compile(&Request{Strategy: Block, Segments: segments, Query: Tokens(1)}, CompileOptions{Context: 4})
	var context *posenc.ContextError
	require.ErrorAs(t, err, &context)
	require.Equal(t, "query", context.Name)
	_, err = Compile(&Request{Strategy: PCW, Segments: segments, Query: Tokens(1)}, CompileOptions{PromptTokens: 4})
	var prompt *PromptError
	require.ErrorAs(t, err, &prompt)
	require.Equal(t, PromptError{Tokens: 5, Limit: 4}, *prompt)
}

func TestParsePlanRefuses(t *testing.T) {
	node := func(id string, base int, sees string) string {
		return `{"id": "` + id + `", "base": ` + jsonOf(base) + `, "tokens": [1, 2], "sees": [` + sees + `]}`
	}
	for _, c := range []struct{ in, want string }{
		{`{}`, "no nodes"},
		{`{"nodes": [` + node("a", 0, "") + `,` + node("a", 0, "") + `]}`, `"a" is listed twice`},
		{`{"nodes": [` + node("a", 0, `{"id": "a", "base": 0}`) + `]}`, `sees "a", which is not a node before it`},
		{`{"nodes": [` + node("a", 0, `{"id": "z", "base": 0}`) + `]}`, `"z"`},
		{`{"nodes": [` + node("a", -1, "") + `]}`, "base -1"},
		{`{"nodes": [` + node("a", math.MaxInt32, "") + `]}`, "reach beyond"},
		{`{"nodes": [` + node("a", 0, "") + `,` + node("b", 0, `{"id": "a", "base": -5}`) + `]}`, "out of range"},
		{`{"nodes": [` + node("a", 0, "") + `,` + node("b", 0, `{"id": "a", "base": 0}, {"id": "a", "base": 9}`) + `]}`, "listed twice"},
		{`{"nodes": [{"id": "a", "base": 0, "tokens": [], "sees": []}]}`, "length 0"},
		{`{"nodes": [{"id": "a", "bass": 0}]}`, `"bass"`},
	} {
		_, err := ParsePlan([]byte(c.in))
		require.ErrorContains(t, err, c.want, c.in)
		var p Plan
		require.Error(t, json.Unmarshal([]byte(c.in), &p))
	}
}

func jsonOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Requests and plans survive their JSON forms.
func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, Strategies()...)
		r.MaxTokens = rapid.SampledFrom([]int{NoTokens, 0, 1, 100}).Draw(t, "max tokens")
		r.Stop = rapid.SliceOfN(rapid.String(), 0, 2).Draw(t, "stop")
		if len(r.Stop) == 0 {
			r.Stop = nil
		}
		again, err := ParseRequest([]byte(jsonOf(r)))
		require.NoError(t, err)
		require.Equal(t, r, again)

		p, err := Compile(r, CompileOptions{})
		require.NoError(t, err)
		var q Plan
		require.NoError(t, json.Unmarshal([]byte(jsonOf(p)), &q))
		require.Equal(t, jsonOf(p), jsonOf(&q))
		require.Equal(t, p.Cost(), q.Cost())
	})
}

// What a caller does to a request after Compile does not reach the plan.
func TestPlansOwnTheirTokens(t *testing.T) {
	ids := []int32{3, 4}
	stop := []string{"x"}
	p, err := Compile(&Request{Query: Tokens(ids...), Prefix: Piece{Tokens: ids}, Segments: []Segment{{ID: "a", Tokens: ids}}, Stop: stop}, CompileOptions{})
	require.NoError(t, err)
	ids[0], stop[0] = 9, "y"
	for i := range p.Len() {
		require.Equal(t, []int32{3, 4}, p.Tokens(i))
	}
	require.Equal(t, []string{"x"}, p.stop)
}

// A hostile number of rounds is refused before anything is built.
func TestRoundsAreRefusedAtOnce(t *testing.T) {
	start := time.Now()
	_, err := Compile(&Request{Strategy: DAG, Rounds: math.MaxInt, Edges: []Edge{{"a", "a"}},
		Segments: []Segment{{ID: "a", Tokens: []int32{1}}}, Query: Tokens(1)}, CompileOptions{})
	require.Error(t, err)
	require.Less(t, time.Since(start), time.Second)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"strategy": "dag", "rounds": 2, "segments": [{"id": "a", "tokens": [1]}], "edges": [["a", "a"]], "query": {"tokens": [2]}}`))
	f.Add([]byte(`{"strategy": "pcw", "segments": [{"id": "a", "tokens": [1]}], "query": {"tokens": [2]}, "biases": [{"kind": "rrwp", "weights": [1, [2, 3]]}, {"kind": "relevance", "scores": [-1], "weight": [0, 1]}]}`))
	f.Add([]byte(`{"nodes": [{"id": "a", "base": 3, "tokens": [1], "sees": []}, {"id": "q", "base": 0, "tokens": [1], "sees": [{"id": "a", "base": 7}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseRequest(data); err == nil {
			if p, err := Compile(r, CompileOptions{PromptTokens: 1000, Heads: 2}); err == nil {
				require.LessOrEqual(t, p.Layout().Tokens(), 1000)
			}
		}
		if p, err := ParsePlan(data); err == nil {
			q, err := ParsePlan([]byte(jsonOf(p)))
			require.NoError(t, err)
			require.Equal(t, jsonOf(p), jsonOf(q))
		}
	})
}

// A source of many ego graphs is a node in each, with a name of its own; to find these takes time in proportion to their number.
func TestManyNodesOfOneSegment(t *testing.T) {
	const n = 20_000
	r := &Request{Strategy: EgoBatch, Query: Tokens(1), Segments: []Segment{{ID: "s", Tokens: []int32{1}}}}
	for i := range n {
		id := fmt.Sprint("c", i)
		r.Segments, r.Edges = append(r.Segments, Segment{ID: id, Tokens: []int32{2}}), append(r.Edges, Edge{"s", id})
	}
	r.Segments[n].ID, r.Edges[n-1][1] = "s#2", "s#2"
	start := time.Now()
	p, err := Compile(r, CompileOptions{})
	require.NoError(t, err)
	require.Less(t, time.Since(start), 5*time.Second)
	ids := map[string]bool{}
	for i := range p.Len() {
		ids[p.ID(i)] = true
	}
	require.Len(t, ids, 2*n+1)
	require.Equal(t, []string{"kv0.s", "kv0.s#2"}, []string{p.ID(0), p.ID(2)})
}
