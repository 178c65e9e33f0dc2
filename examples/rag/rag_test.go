// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

func TestPagesBecomeAGraph(t *testing.T) {
	pages, err := manPages("testdata")
	require.NoError(t, err)
	require.Len(t, pages, 2)
	require.Equal(t, "moon(2)", pages[0].id)
	require.Equal(t, []string{"tide(7)"}, pages[0].seeAlso)
	require.Equal(t, section{"DESCRIPTION", "The moon raises two tides a day (see moon(2)).\n" +
		"High water follows moonrise by the \"establishment\" of the port.\n* Springs are at new and full moon.\nNeaps: They are at the quarters."},
		pages[1].sections[1])

	c, err := newCorpus(pages)
	require.NoError(t, err)
	require.Equal(t, 4, c.Len())
	require.Equal(t, 4, c.NumEdges(), "two leads that name each other, and a passage below each")
	for _, e := range [][2]string{{"moon(2)", "tide(7)"}, {"tide(7)", "moon(2)"}, {"moon(2)", "moon(2)/1"}, {"tide(7)", "tide(7)/1"}} {
		source, _ := c.Index(e[0])
		target, _ := c.Index(e[1])
		require.True(t, c.HasEdge(source, target), e)
	}
	require.Equal(t, "- Title: tide(7)\ntide - overview of tides\n", c.Segment(2).Text)
	require.Empty(t, must(manPages(t.TempDir())))
}

func TestSearchAndExpansion(t *testing.T) {
	c, err := newCorpus(must(manPages("testdata")))
	require.NoError(t, err)
	x, err := newIndex(c)
	require.NoError(t, err)
	hits, err := x.find("when are springs?", 1)
	require.NoError(t, err)
	require.Equal(t, []string{"tide(7)/1"}, hits)
	e := tinyEngine(t)
	a := &assistant{engine: e, corpus: c, index: x, options: options{hits: 1, hops: 2, budget: 10000, strategy: "dag"}}
	chosen, err := a.expand(hits)
	require.NoError(t, err)
	require.Equal(t, []int{0, 2, 3}, chosen, "what it links to comes before it, the farthest first")
	r, err := a.request(chosen, "when are springs?")
	require.NoError(t, err)
	require.Len(t, r.Edges, 3)
	for _, s := range []graphkv.Strategy{graphkv.DAG, graphkv.Block, graphkv.GraphKV} {
		r.Strategy = s
		_, err = e.Compile(r)
		require.NoError(t, err)
	}
	a.budget = 2 + len(e.Tokenizer().Encode(nil, c.Segment(3).Text, false))
	chosen, err = a.expand(hits)
	require.NoError(t, err)
	require.Equal(t, []int{3}, chosen, "the budget leaves out the least relevant")
}

func TestCut(t *testing.T) {
	text := strings.Repeat("Ein Satz mit Umläuten. ", 50)
	parts := cut(text, 100)
	require.Equal(t, strings.Fields(text), strings.Fields(strings.Join(parts, " ")))
	for _, p := range parts {
		require.LessOrEqual(t, len(p), 100)
	}
	require.Len(t, cut(strings.Repeat("ä", 100), 99), 3)
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

const tinyModel = "../../model/testdata/tiny/tiny-F32.gguf"

func tinyEngine(t *testing.T) *graphkv.Engine {
	if _, err := os.Stat(tinyModel); err != nil {
		t.Fatal(err)
	}
	e, err := graphkv.Open(tinyModel, graphkv.WithLongContext())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}
