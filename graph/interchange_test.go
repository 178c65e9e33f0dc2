// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
)

// same checks that two graphs have equal segments and rows.
func same(t require.TestingT, want, got *graph.Graph) {
	require.Equal(t, want.Len(), got.Len())
	for i := range want.Len() {
		require.Equal(t, want.Segment(i), got.Segment(i))
	}
	require.Equal(t, rows(want), rows(got))
}

func TestJSON(t *testing.T) {
	g, err := graph.FromEdges([]graph.Segment{
		{ID: "a<b>", Text: "x < y & z\n\u2028\"\\"},
		{ID: "é", Tokens: []int32{0, 2147483647}},
		{ID: "plain"},
	}, []graph.Edge{{"plain", "a<b>"}, {"é", "a<b>"}})
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, g.WriteJSON(&buf))
	assert.Equal(t, `{"segments":[
{"id":"a<b>","text":"x < y & z\n\u2028\"\\"},
{"id":"é","tokens":[0,2147483647]},
{"id":"plain"}
],"edges":[
["plain","a<b>"],
["é","a<b>"]
]}
`, buf.String())
	back, err := graph.ReadJSON(&buf)
	require.NoError(t, err)
	same(t, g, back)

	// As a member of somebody's struct.
	type request struct{ Graph *graph.Graph }
	data, err := json.Marshal(request{g})
	require.NoError(t, err)
	var r request
	require.NoError(t, json.Unmarshal(data, &r))
	same(t, g, r.Graph)
}

func TestReadJSONForms(t *testing.T) {
	for _, in := range []string{
		`{}`, `{"segments":[]}`, `{"edges":[],"segments":[]}`, " \n{ }\n ",
	} {
		g, err := graph.ReadJSON(strings.NewReader(in))
		require.NoError(t, err, in)
		assert.Zero(t, g.Len())
	}
	g, err := graph.ReadJSON(strings.NewReader(
		`{"edges":[["a","b"],["c","b"]],"segments":[{"tokens":[],"id":"a"},{"text":"","id":"b"},{"id":"\ud83d\ude00"},{"id":"c","text":"\\ud800 \ufffd"}]}`))
	require.NoError(t, err)
	assert.Equal(t, [][]uint32{{}, {0, 3}, {}, {}}, rows(g))
	assert.Equal(t, "😀", g.ID(2))
	assert.Equal(t, `\ud800 `+"\uFFFD", g.Segment(3).Text)
}

func TestReadJSONErrors(t *testing.T) {
	nested := strings.Repeat("[", 20000)
	tests := []struct {
		in   string
		is   error
		want string // part of the message
	}{
		{``, io.ErrUnexpectedEOF, "byte 0"},
		{`null`, graph.ErrSyntax, "graph: want an object, got null"},
		{`[]`, graph.ErrSyntax, "want an object, got ["},
		{`{"segments":[`, io.ErrUnexpectedEOF, "byte 13"},
		{`{"segments":null}`, graph.ErrSyntax, "segments: want an array, got null"},
		{`{"segments":{}}`, graph.ErrSyntax, "segments: want an array, got {"},
		{`{"segments":1e9}`, graph.ErrSyntax, "segments: want an array, got the number 1e9"},
		{`{"nodes":[]}`, graph.ErrSyntax, `unknown field "nodes" in the graph`},
		{`{"Segments":[]}`, graph.ErrSyntax, `unknown field "Segments"`},
		{`{"segments":[],"segments":[]}`, graph.ErrSyntax, `member "segments" given twice`},
		{`{"segments":[]} {}`, graph.ErrSyntax, "{ after the graph"},
		{`{"segments":[]} x`, graph.ErrSyntax, "invalid character"},
		{`{"segments":["a"]}`, graph.ErrSyntax, `segment: want an object, got the string "a"`},
		{`{"segments":[{"id":"a","weight":1}]}`, graph.ErrSyntax, `unknown field "weight" in segment 0`},
		{`{"segments":[{"ID":"a"}]}`, graph.ErrSyntax, `unknown field "ID" in segment 0`},
		{`{"segments":[{"id":"a","id":"b"}]}`, graph.ErrSyntax, `"id" given twice in segment 0`},
		{`{"segments":[{"id":"x"},{"text":"a"}]}`, graph.ErrSyntax, "segment 1 has no id"},
		{`{"segments":[{"id":""}]}`, graph.ErrBadID, "segment 0: bad id: empty"},
		{`{"segments":[{"id":7}]}`, graph.ErrSyntax, "id: want a string, got 7"},
		{`{"segments":[{"id":null}]}`, graph.ErrSyntax, "id: want a string, got null"},
		{`{"segments":[{"id":` + nested, graph.ErrSyntax, "exceeded max depth"},
		{`{"segments":[{"id":"\ud800"}]}`, graph.ErrSyntax, "id: half a surrogate pair"},
		{`{"segments":[{"id":"\ude00\ud83d"}]}`, graph.ErrSyntax, "id: half a surrogate pair"},
		{`{"segments":[{"id":"\ud83d\\ude00"}]}`, graph.ErrSyntax, "id: half a surrogate pair"},
		{"{\"segments\":[{\"id\":\"a\xff\"}]}", graph.ErrSyntax, "byte 21: syntax error: invalid UTF-8"},
		{"{\"segments\":[{\"id\":\"a\xe2\x82", graph.ErrSyntax, "byte 21: syntax error: invalid UTF-8"},
		{`{"segments":[{"id":"a","text":null}]}`, graph.ErrSyntax, "text: want a string, got null"},
		{`{"segments":[{"id":"a","text":"x","tokens":[1]}]}`, graph.ErrBadSegment, `segment 0 "a": bad segment: both text and tokens`},
		{`{"segments":[{"id":"a","tokens":[1.5]}]}`, graph.ErrSyntax, "tokens: 1.5 is not a token id"},
		{`{"segments":[{"id":"a","tokens":[1e3]}]}`, graph.ErrSyntax, "1e3 is not a token id"},
		{`{"segments":[{"id":"a","tokens":[-1]}]}`, graph.ErrSyntax, "-1 is not a token id"},
		{`{"segments":[{"id":"a","tokens":[2147483648]}]}`, graph.ErrSyntax, "2147483648 is not a token id"},
		{`{"segments":[{"id":"a","tokens":[` + strings.Repeat("9", 5000) + `]}]}`, graph.ErrSyntax, "9… is not a token id"},
		{`{"segments":[{"id":"a","tokens":["1"]}]}`, graph.ErrSyntax, `"1" is not a token id`},
		{`{"segments":[{"id":"a","tokens":[null]}]}`, graph.ErrSyntax, "null is not a token id"},
		{`{"segments":[{"id":"a"},{"id":"a"}]}`, graph.ErrDuplicateSegment, `segment 1 "a"`},
		{`{"segments":[{"id":"a"}],"edges":[["a"]]}`, graph.ErrSyntax, "an edge is [source, target]; this one has 1"},
		{`{"segments":[{"id":"a"}],"edges":[[]]}`, graph.ErrSyntax, "this one has 0"},
		{`{"segments":[{"id":"a"}],"edges":[["a","a","a"]]}`, graph.ErrSyntax, "this one has more"},
		{`{"segments":[{"id":"a"}],"edges":[{"source":"a"}]}`, graph.ErrSyntax, "an edge: want an array, got {"},
		{`{"segments":[{"id":"a"}],"edges":[["a",1]]}`, graph.ErrSyntax, "end of an edge: want a string, got 1"},
		{`{"segments":[{"id":"a"}],"edges":[["a","b"]]}`, graph.ErrUnknownTarget, `edge "a" → "b": unknown target "b"`},
		{`{"edges":[["b","a"]],"segments":[{"id":"a"}]}`, graph.ErrUnknownSource, `unknown source "b"`},
		{`{"edges":[["b","a"]]}`, graph.ErrUnknownSource, `unknown source "b"`},
		{`{"segments":[{"id":"a"}],"edges":[["a","a"]]}`, graph.ErrSelfEdge, `edge "a" → "a": self edge`},
		{`{"segments":[{"id":"a"},{"id":"b"}],"edges":[["a","b"],["a","b"]]}`, graph.ErrDuplicateEdge, `edge "a" → "b"`},
	}
	for _, tt := range tests {
		name := tt.in
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				g, err := graph.ReadJSON(r)
				require.ErrorIs(t, err, tt.is)
				assert.Nil(t, g)
				assert.ErrorContains(t, err, tt.want)
				assert.True(t, strings.HasPrefix(err.Error(), "graph: "), err)
				assert.Less(t, len(err.Error()), 300)
			}
		})
	}
}

func TestJSONReaderAndWriterErrors(t *testing.T) {
	broken := errors.New("connection lost")
	_, err := graph.ReadJSON(io.MultiReader(strings.NewReader(`{"segments":[`), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	assert.NotErrorIs(t, err, graph.ErrSyntax)

	g, err := graph.FromEdges([]graph.Segment{{ID: "a", Text: "\xff"}}, nil)
	require.NoError(t, err, "a text need not be UTF-8")
	_, err = g.MarshalJSON()
	require.ErrorIs(t, err, graph.ErrBadSegment)
	assert.ErrorContains(t, err, `segment 0 "a": bad segment: text is not valid UTF-8`)

	g, err = graph.Chain(numbered(3))
	require.NoError(t, err)
	assert.ErrorIs(t, g.WriteJSON(failingWriter{broken}), broken)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestJSONSelfEdges(t *testing.T) {
	g, err := graph.Full(numbered(3), true)
	require.NoError(t, err)
	data, err := g.MarshalJSON()
	require.NoError(t, err)
	back, err := graph.ReadJSON(bytes.NewReader(data), graph.SelfEdges())
	require.NoError(t, err)
	same(t, g, back)
	require.ErrorIs(t, new(graph.Graph).UnmarshalJSON(data), graph.ErrSelfEdge)
}

// drawGraph draws a graph with hostile ids and contents.
func drawGraph(t *rapid.T) *graph.Graph {
	text := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"node", "Graph", "a->b", "<b>", "<", `"<b>"`, `"q"`, `\`, `\\`, `\"`, `\N`, "a\\\nb", "\x00", "\uFFFD", "1.5", "-3", "#0", "// x", "/*", "é", "\u2028", "{}", "[x=1];", "-1\r\n"}),
	)
	ids := rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return s != "" }), 0, 12, rapid.ID[string]).Draw(t, "ids")
	b := graph.NewBuilder(graph.SelfEdges())
	for _, id := range ids {
		s := graph.Segment{ID: id}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			s.Text = text.Draw(t, "text")
		case 1:
			s.Tokens = rapid.SliceOfN(rapid.Int32Min(0), 1, 5).Draw(t, "tokens")
		}
		_, err := b.AddSegment(s)
		require.NoError(t, err)
	}
	for _, e := range drawEdges(t, len(ids), true) {
		require.NoError(t, b.AddEdgeAt(e[0], e[1]))
	}
	g, err := b.Build()
	require.NoError(t, err)
	return g
}

func TestRapidJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		data, err := json.Marshal(g)
		require.NoError(t, err)
		back, err := graph.ReadJSON(iotest.HalfReader(bytes.NewReader(data)), graph.SelfEdges())
		require.NoError(t, err, "%s", data)
		same(t, g, back)
	})
}

func TestRapidDOTRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		data, err := g.MarshalDOT(rapid.String().Draw(t, "name"))
		require.NoError(t, err)
		back, err := graph.ParseDOT(data, graph.SelfEdges())
		require.NoError(t, err, "%s", data)
		require.Equal(t, g.Len(), back.Len())
		for i := range g.Len() {
			require.Equal(t, g.Segment(i), back.Segment(i), "%s", data)
			require.Equal(t, g.Targets(i), back.Targets(i))
			require.True(t, slices.IsSorted(back.Sources(i)))
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{
		`{"segments":[{"id":"a","text":"x"},{"id":"b","tokens":[1,2]}],"edges":[["a","b"]]}`,
		`{"edges":[["a","a"]],"segments":[{"id":"a"}]}`,
		`{"segments":[{"id":"\ud83d\ude00"}]}`,
		`{"segments":[{"id":null}],"edges":[[],[1]]}`,
		`[`, `{"segments":`, "{\"\xff\":1}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := graph.ReadJSON(bytes.NewReader(data), graph.SelfEdges())
		if err != nil {
			require.Nil(t, g)
			return
		}
		// What is accepted is JSON to encoding/json too, and survives a round trip.
		require.True(t, json.Valid(data))
		out, err := g.MarshalJSON()
		require.NoError(t, err)
		back, err := graph.ReadJSON(bytes.NewReader(out), graph.SelfEdges())
		require.NoError(t, err)
		same(t, g, back)
	})
}

func FuzzParseDOT(f *testing.F) {
	for _, s := range []string{
		`digraph g { a -> b -> "c d" [w=1]; a [text="x\ny"]; b [tokens="1 2"] }`,
		`strict digraph { node [shape=box] subgraph cluster0 { a; b } c:port:n -> a }`,
		`digraph { <b<i>x</i>> -> "<b>" // comment
			# another
			/* and */ }`,
		`digraph { a -> { b c } }`, `graph { a -- b }`, `digraph { a -> a }`, `digraph {`, "digraph { \"\xff\" }",
		`digraph { "a\l" -> "b\"" ; "\x00" }`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := graph.ParseDOT(data, graph.SelfEdges())
		if err != nil {
			require.Nil(t, g)
			return
		}
		out, err := g.MarshalDOT("")
		require.NoError(t, err)
		back, err := graph.ParseDOT(out, graph.SelfEdges())
		require.NoError(t, err, "%s", out)
		require.Equal(t, g.Len(), back.Len())
		for i := range g.Len() {
			require.Equal(t, g.Segment(i), back.Segment(i))
			require.Equal(t, g.Targets(i), back.Targets(i))
		}
	})
}

func TestParseDOT(t *testing.T) {
	g, err := graph.ParseDOT([]byte(`
		# written by hand
		strict digraph "papers" {
			graph [label="-- not an edge {{{"]; node [shape=box]; rankdir=LR
			b [label=<a <i>b</i> {>, text="first // line
second"];
			subgraph cluster_0 { a; "b" [color="red\l"] } // b and "b" are one node
			a -> b -> "c d" [weight=2]
			a:out -> "c d":in:n; e [tokens=" 3 1\n2 "]
			/* d -> a */ -1.5 -> e "x\y" -> "q\"q"
		}`))
	require.NoError(t, err)
	var ids []string
	for i := range g.Len() {
		ids = append(ids, g.ID(i))
	}
	assert.Equal(t, []string{"b", "a", "c d", "e", "-1.5", `x\y`, `q"q`}, ids)
	assert.Equal(t, "first // line\nsecond", g.Segment(0).Text)
	assert.Equal(t, []int32{3, 1, 2}, g.Segment(3).Tokens)
	assert.ElementsMatch(t, [][]uint32{{1}, {}, {0, 1}, {4}, {}, {}, {5}}, rows(g))
}

func TestParseDOTErrors(t *testing.T) {
	tests := []struct {
		in   string
		is   error
		want string
	}{
		{"", graph.ErrSyntax, "graph: DOT"},
		{"digraph {", graph.ErrSyntax, "graph: DOT"},
		{"digraph {} digraph {}", graph.ErrSyntax, "expected 1, got 2"},
		{"graph { a -- b }", graph.ErrSyntax, "byte 0: syntax error: undirected graph"},
		{"strict GRAPH { a }", graph.ErrSyntax, "undirected graph"},
		{"digraph { a -- b }", graph.ErrSyntax, "byte 12: syntax error: undirected edge"},
		{"digraph { a -> { b c } }", graph.ErrSyntax, "a subgraph cannot be the target of an edge"},
		{"digraph { a -> subgraph s { b c } }", graph.ErrSyntax, "a subgraph cannot be the target of an edge"},
		{"digraph { { b c } -> a }", graph.ErrSyntax, "a subgraph cannot be the source of an edge"},
		{"digraph { a -> b; a -> b }", graph.ErrDuplicateEdge, `edge "a" → "b": duplicate edge`},
		{`strict digraph { a -> b; "a" -> b }`, graph.ErrDuplicateEdge, `edge "a" → "b": duplicate edge`},
		{"digraph { a -> a }", graph.ErrSelfEdge, `edge "a" → "a": self edge`},
		{`digraph { "" -> a }`, graph.ErrBadID, "segment 0: bad id: empty"},
		{`digraph { "\xff" -> a }`, graph.ErrSyntax, "byte 10: syntax error: a string is not valid UTF-8"},
		{"digraph { \"\xff\" -> a }", graph.ErrSyntax, "byte 11: syntax error: invalid UTF-8"},
		{"digraph { a\xff -> a }", graph.ErrSyntax, "byte 11: syntax error: invalid UTF-8"},
		{`digraph { "a }`, graph.ErrSyntax, "byte 10: syntax error: string without end"},
		{`digraph { "a\" }`, graph.ErrSyntax, "string without end"},
		{`digraph { <a<b> }`, graph.ErrSyntax, "HTML string without end"},
		{`digraph { /* }`, graph.ErrSyntax, "byte 10: syntax error: comment without end"},
		{`digraph { a & b }`, graph.ErrSyntax, `byte 12: syntax error: unexpected '&'`},
		{`digraph { a [tokens="1 -2"] }`, graph.ErrBadSegment, `segment 0 "a": bad segment: "-2" is not a token id`},
		{`digraph { a [tokens="99999999999999999999"] }`, graph.ErrBadSegment, "is not a token id"},
		{`digraph { a [tokens=1 text=x] }`, graph.ErrBadSegment, "both text and tokens"},
		{"digraph " + strings.Repeat("{", 1_000_000) + strings.Repeat("}", 1_000_000), graph.ErrTooLarge, "blocks nested more than 64 deep"},
		{"digraph { a" + strings.Repeat("->a", 1_000_000) + "}", graph.ErrTooLarge, "a chain of more than 10000 edges"},
		{"digraph { a" + strings.Repeat(":p->a\n", 1_000_000) + "}", graph.ErrTooLarge, "a chain of more than 10000 edges"},
	}
	for _, tt := range tests {
		name := tt.in
		if len(name) > 40 {
			name = name[:40]
		}
		t.Run(name, func(t *testing.T) {
			g, err := graph.ParseDOT([]byte(tt.in))
			require.ErrorIs(t, err, tt.is)
			assert.Nil(t, g)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// The limits on chains and nesting are per statement, not on the graph.
func TestParseDOTLongInput(t *testing.T) {
	var b strings.Builder
	b.WriteString("digraph { ")
	const n = 4 * graph.MaxDOTChain
	for i := range n {
		fmt.Fprintf(&b, "n%d -> n%d%s", i, i+1, []string{" ", ";", " [w=1]", " {} "}[i%4])
	}
	b.WriteString("}")
	g, err := graph.ParseDOT([]byte(b.String()))
	require.NoError(t, err)
	assert.Equal(t, n, g.NumEdges())

	chain := "digraph { a0"
	for i := 1; i <= graph.MaxDOTChain; i++ {
		chain += fmt.Sprintf("->a%d", i)
	}
	g, err = graph.ParseDOT([]byte(chain + strings.Repeat("{", graph.MaxDOTNesting-1) + strings.Repeat("}", graph.MaxDOTNesting)))
	require.NoError(t, err)
	assert.Equal(t, graph.MaxDOTChain, g.NumEdges())
}

func TestMarshalDOT(t *testing.T) {
	g, err := graph.FromEdges([]graph.Segment{{ID: "a b", Text: "x\ny"}, {ID: "node", Tokens: []int32{7, 8}}, {ID: "<i>"}},
		[]graph.Edge{{"a b", "node"}, {"<i>", "node"}})
	require.NoError(t, err)
	data, err := g.MarshalDOT("my graph")
	require.NoError(t, err)
	assert.Equal(t, `strict digraph "my graph" {
	// Node definitions.
	"a b" [text="x\ny"];
	"node" [tokens="7 8"];
	"\x3ci>";

	// Edge definitions.
	"a b" -> "node";
	"\x3ci>" -> "node";
}`, string(data))
}
