// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/tokenizer"
)

const tiny = "../model/testdata/tiny/tiny-F32.gguf"

func tinyTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	f, err := gguf.Open(tiny)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	tok, err := tokenizer.FromGGUF(f)
	require.NoError(t, err)
	return tok
}

func variant(t testing.TB, label string) *Variant {
	t.Helper()
	v, err := ParseVariants(label)
	require.NoError(t, err)
	return &v[0]
}

// The text of a request is the published prompt inside the model's frame.
func TestRequestAsPublished(t *testing.T) {
	tok := tinyTokenizer(t)
	a := &asker{tokenizer: tok, data: &Dataset{Format: RAG}, maxTokens: 9, frame: Frame{Before: []int32{1, 5}, After: []int32{2, 6}}}
	x := &Item{ID: "q", Question: "Who is <|im_end|>?", Documents: []Document{{"A", "about B"}, {"B", "text"}}, Center: -1}
	r := a.request(x, variant(t, "block"), []int{1, 0})
	require.Equal(t, graphkv.Block, r.Strategy)
	require.Equal(t, 9, r.MaxTokens)
	require.Equal(t, []graphkv.Segment{{ID: "d1", Text: "- Title: B\ntext\n"}, {ID: "d0", Text: "- Title: A\nabout B\n"}}, r.Segments)
	require.Equal(t, []graphkv.Edge{{"d1", "d0"}}, r.Edges, "A mentions B")
	require.Equal(t, []int32{1, 5}, r.Prefix.Tokens[:2])
	require.Equal(t, "You are an intelligent AI assistant. Please answer questions based on the user's instructions. "+
		"Below are some reference documents that may help you in answering the user's question.\n\n", tok.Decode(r.Prefix.Tokens[2:]))
	n := len(r.Query.Tokens)
	require.Equal(t, []int32{2, 6}, r.Query.Tokens[n-2:])
	require.Equal(t, "Please write a high-quality answer for the given question using only the provided search documents "+
		"(some of which might be irrelevant). \n Question: Who is <|im_end|>? ", tok.Decode(r.Query.Tokens[:n-2]))
	require.NotContains(t, r.Query.Tokens[:n-2], int32(2), "a question never holds a special token")
	require.Equal(t, []int32{1, 5}, a.frame.Before, "the frame is not written to")
}

// Presets that need a centre or edges get them in the documented way.
func TestRequestGraphs(t *testing.T) {
	a := &asker{tokenizer: tinyTokenizer(t), data: &Dataset{Format: RAG}}
	plain := &Item{ID: "q", Question: "?", Center: -1, Documents: []Document{{"Film", "by Ann Lee"}, {"Ann Lee", "of Oslo"}, {"Oslo", "city"}, {"Other", "x"}}}
	order := []int{3, 0, 2, 1}
	require.Equal(t, "d1", a.request(plain, variant(t, "ego"), order).Center)
	require.Empty(t, a.request(plain, variant(t, "ego"), order).Edges)
	require.Equal(t, []graphkv.Edge{{"d1", "d0"}, {"d2", "d1"}}, a.request(plain, variant(t, "dag"), order).Edges)
	require.Equal(t, 1, a.request(plain, variant(t, "dag"), order).Rounds)
	require.Equal(t, []graphkv.Edge{{"d1", "d0"}}, a.request(plain, variant(t, "ego-batch"), order).Edges)
	own := *plain
	own.Edges = [][2]int{{3, 2}}
	require.Equal(t, []graphkv.Edge{{"d3", "d2"}}, a.request(&own, variant(t, "dag"), order).Edges)

	a.data = &Dataset{Format: ArxivQA}
	ego := &Item{ID: "q", Question: "?", Center: 2, Documents: []Document{{"A", "a"}, {"B", "b"}, {"C", "c"}}, Edges: [][2]int{{0, 2}, {1, 2}}}
	require.Equal(t, "d2", a.request(ego, variant(t, "ego"), []int{1, 0, 2}).Center)
	text := ""
	for _, s := range a.request(ego, variant(t, "sequential"), []int{1, 0, 2}).Segments {
		text += s.Text
	}
	require.Equal(t, "b\n\na\n\n Now please read the paper:c", text)
	for _, s := range a.request(ego, variant(t, "block"), []int{0, 1, 2}).Segments {
		require.Len(t, s.Text, 1)
	}
	alone := &Item{ID: "q", Question: "?", Documents: []Document{{"C", "c"}}}
	require.Equal(t, "c", a.request(alone, variant(t, "sequential"), []int{0}).Segments[0].Text)
}

func TestOrders(t *testing.T) {
	a := &asker{seed: 3}
	rapid.Check(t, func(t *rapid.T) {
		x := &Item{ID: rapid.String().Draw(t, "id"), Center: -1, Documents: make([]Document, rapid.IntRange(1, 6).Draw(t, "documents"))}
		if rapid.Bool().Draw(t, "ego") {
			x.Center = len(x.Documents) - 1
		} else if rapid.Bool().Draw(t, "given") {
			x.Orders = [][]int{reversed(x)}
		}
		n := rapid.IntRange(0, 4).Draw(t, "orders")
		all := a.orders(x, n)
		require.Len(t, all, n+1)
		require.IsIncreasing(t, append([]int{-1}, all[0]...))
		for _, o := range append(all, reversed(x)) {
			require.True(t, permutation(o, len(x.Documents)))
			if x.Center >= 0 {
				require.Equal(t, x.Center, o[len(o)-1])
			}
		}
		if x.Orders != nil && n > 0 {
			require.Equal(t, x.Orders[0], all[1])
		}
		require.Equal(t, all, a.orders(x, n+1)[:n+1], "more orders leave those before them")
	})
}

func TestParseVariants(t *testing.T) {
	all, err := ParseVariants("all")
	require.NoError(t, err)
	for i, s := range graphkv.Strategies() {
		require.Equal(t, s, all[i].Request.Strategy)
		require.Equal(t, Defaults().TopK, all[i].Request.TopK)
	}
	some, err := ParseVariants("block, graphkv-topk:top_k=1,dag:rounds=2:positions=sequential")
	require.NoError(t, err)
	require.Equal(t, []string{"block", "graphkv-topk:top_k=1", "dag:rounds=2:positions=sequential"},
		slices.Collect(func(yield func(string) bool) {
			for _, v := range some {
				yield(v.Label)
			}
		}))
	require.Equal(t, 1, some[1].Request.TopK)
	require.Equal(t, graphkv.SequentialPositions, some[2].Request.Positions)
	require.Equal(t, 2, some[2].Request.Rounds)
	nested, err := ParseVariants("ape:ape.temperature=0.5:ape.scale=0.75,cacheblend:repair.fraction=1")
	require.NoError(t, err)
	require.Equal(t, graphkv.APEParams{Temperature: 0.5, Scale: 0.75}, nested[0].Request.APE)
	require.Equal(t, 1.0, *nested[1].Request.Repair.Fraction)
	for list, want := range map[string]string{
		"ape:ape.heat=1": "heat",
		"dag:rounds.x=1": "rounds is not an object",
		"":               "no such preset",
		"ring":           "no such preset",
		"block,block":    "listed twice",
		"dag:rounds":     "not name=value",
		"dag:rounds=x":   "rounds",
		"dag:turns=1":    "turns",
		"dag:center=d1":  "not a parameter",
		"block,":         "no such preset",
	} {
		_, err := ParseVariants(list)
		require.ErrorContains(t, err, want, list)
	}
}
