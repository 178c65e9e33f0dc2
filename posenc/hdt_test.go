// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHDT(t *testing.T) {
	l, err := HDT(4, [][][]int{{{5, 6}, {7}}, {{8}}}, HDTOptions{Document: 1, Section: 1, Sentence: 1}, 2)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[1,-1,0,0,4]",
		"[0,0,0,0,1,[2,1],[7,2]]",             // document: its sections
		"[0,0,0,1,1,[3,2],[5,3],[1,0],[7,2]]", // section: its sentences, the document, the other section
		"[0,0,0,1,1,[4,2],[2,0],[5,2]]",       // sentence: its words, the section, the other sentence
		"[0,0,0,1,5,[3,0]]",                   // words: their sentence
		"[0,0,0,2,1,[6,3],[2,0],[3,1]]",       // sentence
		"[0,0,0,1,6,[5,0]]",                   // words
		"[0,0,0,2,1,[8,3],[1,0],[2,1]]",       // section
		"[0,0,0,1,1,[9,2],[7,0]]",             // sentence
		"[0,0,0,1,7,[8,0]]",                   // words
		"[0,1,0,0,1,[11,1]]",                  // document
		"[0,1,0,1,1,[12,2],[10,0]]",           // section
		"[0,1,0,1,1,[13,2],[11,0]]",           // sentence
		"[0,1,0,1,8,[12,0]]",                  // words
		"[2,-1,0,39,2,[0,0],[1,4],[2,5],[3,6],[4,7],[5,12],[6,13],[7,19],[8,20],[9,21],[10,28],[11,29],[12,30],[13,31]]",
	}, dump(t, l))
	query := l.Node(l.Query())
	assert.Equal(t, l.Tokens(), query.Base+query.Len)
	at := 0
	for i, s := range l.Sees(l.Query()) { // all of it, end to end
		assert.Equal(t, Seen{Node: int32(i), Base: int32(at)}, s)
		at += l.Node(i).Len
	}
	assert.Equal(t, query.Base, at)
	for i, want := range map[int][2]int{0: {0, 1}, 1: {1, 10}, 9: {1, 10}, 10: {10, 14}, 14: {14, 15}} {
		lo, hi := l.Group(i)
		assert.Equal(t, want, [2]int{lo, hi}, i)
	}

	// Longer anchors push what follows on.
	l, err = HDT(0, [][][]int{{{5, 6}}}, HDTOptions{Document: 2, Section: 3, Sentence: 4, Bidirectional: true}, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[0,0,0,0,2,[1,2]]",
		"[0,0,0,2,3,[2,5],[4,9],[0,0]]",
		"[0,0,0,3,4,[3,7],[1,0],[4,7]]",
		"[0,0,0,4,5,[2,0]]",
		"[0,0,0,7,4,[5,11],[1,0],[2,3]]",
		"[0,0,0,4,6,[4,0]]",
		"[2,-1,0,24,1,[0,0],[1,2],[2,5],[3,9],[4,14],[5,18]]",
	}, dump(t, l))
	for i := range l.Query() {
		assert.True(t, l.Node(i).Bidirectional)
	}
}

func TestHDTErrors(t *testing.T) {
	one := HDTOptions{Document: 1, Section: 1, Sentence: 1}
	for _, c := range []struct {
		documents [][][]int
		opts      HDTOptions
		query     int
		want      string
	}{
		{nil, HDTOptions{Section: 1, Sentence: 1}, 1, "posenc: document anchor of 0 tokens, want 1 to 2147483646"},
		{nil, HDTOptions{Document: 1, Section: -1, Sentence: 1}, 1, "posenc: section anchor of -1 tokens, want 1 to 2147483646"},
		{nil, HDTOptions{Document: 1, Section: 1}, 1, "posenc: sentence anchor of 0 tokens, want 1 to 2147483646"},
		{nil, one, 0, "posenc: query of 0 tokens, want 1 to 2147483646"},
		{[][][]int{{{1}}, {}}, one, 1, "posenc: document 1: no sections"},
		{[][][]int{{{1}, {}}}, one, 1, "posenc: document 0: section 1: no sentences"},
		{[][][]int{{{1}, {2, 0}}}, one, 1, "posenc: document 0: section 1: sentence 1 of 0 tokens, want 1 to 2147483646"},
		{[][][]int{{{MaxPosition - 10, 20}}}, one, 1, "posenc: document 0: more than 134217728 edges or 2147483646 tokens"},
		{[][][]int{{make([]int, 12000)}}, one, 1, "posenc: document 0: section 0: sentence 0 of 0 tokens, want 1 to 2147483646"},
		{[][][]int{{lengths(12000)}}, one, 1, "posenc: document 0: more than 134217728 edges or 2147483646 tokens"},
	} {
		_, err := HDT(0, c.documents, c.opts, c.query)
		assert.EqualError(t, err, c.want)
	}
	l, err := HDT(3, nil, one, 1)
	require.NoError(t, err)
	assert.Equal(t, 2, l.Len())
}

func lengths(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = 1 + i*i%40
	}
	return out
}

// article is a document of n sentences in sections of 20.
func article(n int) [][]int {
	var doc [][]int
	for range n / 20 {
		doc = append(doc, lengths(20))
	}
	return doc
}

// The edges of 10,000 sentences, in documents of 500, are found in linear time.
func TestHDTIsLinear(t *testing.T) {
	edges := map[int]int{}
	for _, n := range []int{5000, 10000} {
		var docs [][][]int
		for range n / 500 {
			docs = append(docs, article(500))
		}
		best := time.Hour
		for range 5 { // the best of several: other work on the machine only slows down
			start := time.Now()
			l, err := HDT(10, docs, HDTOptions{Document: 1, Section: 1, Sentence: 1}, 10)
			best = min(best, time.Since(start))
			require.NoError(t, err)
			require.Equal(t, 2*n+n/20+n/500+2, l.Len())
			edges[n] = l.NumEdges()
		}
		if !testing.Short() {
			assert.Less(t, best, 500*time.Millisecond)
		}
		t.Logf("%d sentences: %d edges, %v", n, edges[n], best)
	}
	assert.InDelta(t, 2, float64(edges[10000])/float64(edges[5000]), 0.01)
}
