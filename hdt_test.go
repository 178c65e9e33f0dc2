// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

// letters is a tokenizer that makes a token of every byte.
type letters struct{}

func (letters) Encode(dst []int32, text string, _ bool) []int32 {
	for _, c := range []byte(text) {
		dst = append(dst, int32(c))
	}
	return dst
}

// drawMarkdown draws a text of sections and sentences and returns it with them.
func drawMarkdown(t *rapid.T) (string, [][]string) {
	var b strings.Builder
	var sections [][]string
	for k := range rapid.IntRange(1, 3).Draw(t, "sections") {
		var sentences []string
		if k > 0 || rapid.Bool().Draw(t, "titled") {
			title := strings.Repeat("T", rapid.IntRange(1, 2).Draw(t, "title"))
			fmt.Fprintf(&b, "\n%s %s\n\n", strings.Repeat("#", rapid.IntRange(1, 6).Draw(t, "level")), title)
			sentences = append(sentences, title)
		}
		for range rapid.IntRange(1, 3).Draw(t, "sentences") {
			s := "A" + rapid.StringMatching("[a-c]{1,3}").Draw(t, "words") + "."
			b.WriteString(s + rapid.SampledFrom([]string{" ", "\n", "\n\n", "\n\n- "}).Draw(t, "break"))
			sentences = append(sentences, s)
		}
		b.WriteString("Z.\n")
		sections = append(sections, append(sentences, "Z."))
	}
	return b.String(), sections
}

// HDT against the paper (section 3): the published tokenizer lists for every token which units of which level it belongs to
// and its position on every level; a token attends to those that belong to one of its units. Written for the text end to end.
func TestHDTFollowsThePaper(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := &Request{Strategy: HDT, Query: Tokens(drawTokens(t, 4, "query")...), MaxTokens: NoTokens}
		if rapid.Bool().Draw(t, "has prefix") {
			r.Prefix = Tokens(drawTokens(t, 4, "prefix")...)
		}
		r.HDT.Bidirectional = rapid.Bool().Draw(t, "bidirectional")
		anchors := [][]int32{drawTokens(t, 2, "document"), drawTokens(t, 2, "section"), drawTokens(t, 2, "sentence")}
		r.HDT.Document, r.HDT.Section, r.HDT.Sentence = Tokens(anchors[0]...), Tokens(anchors[1]...), Tokens(anchors[2]...)

		// Per token: its unit on the levels of sentence, section and document, −1 for none; its positions; and which stretch
		// of tokens it is causal in.
		type token struct{ unit, position [3]int }
		var text []int32
		var tokens []token
		var stretch []int
		stretches, units := 0, 0
		add := func(ids []int32, unit, first [3]int) {
			for i, id := range ids {
				x := token{unit, first}
				for l := range x.position {
					x.position[l] += i
				}
				text, tokens, stretch = append(text, id), append(tokens, x), append(stretch, stretches)
			}
			stretches++
		}
		none := [3]int{-1, -1, -1}
		add(r.Prefix.Tokens, none, [3]int{})
		for d := range rapid.IntRange(1, 2).Draw(t, "documents") {
			markdown, sections := drawMarkdown(t)
			r.Segments = append(r.Segments, Segment{ID: fmt.Sprint("d", d), Text: markdown})
			doc := units
			units++
			add(anchors[0], [3]int{-1, -1, doc}, [3]int{})
			for k, sentences := range sections {
				section := units
				units++
				add(anchors[1], [3]int{-1, section, doc}, [3]int{0, 0, len(anchors[0]) + k*len(anchors[1])})
				for i, words := range sentences {
					sentence := units
					units++
					add(anchors[2], [3]int{sentence, section, -1}, [3]int{0, len(anchors[1]) + i*len(anchors[2]), 0})
					add(letters{}.Encode(nil, words, false), [3]int{sentence, -1, -1}, [3]int{len(anchors[2])})
				}
			}
		}
		query := len(text)
		add(r.Query.Tokens, none, [3]int{})
		last := stretches - 1

		meet := func(i, j int) int { // the level on which they do
			for l := range 3 {
				if tokens[i].unit[l] >= 0 && tokens[i].unit[l] == tokens[j].unit[l] {
					return l
				}
			}
			return -1
		}
		want := lastRow(ref.Logits(text, modeltest.Graph{
			Sees: func(i, j int) bool {
				switch {
				case stretch[i] == stretch[j]:
					return j <= i || r.HDT.Bidirectional && meet(i, j) >= 0
				case stretch[i] == last:
					return true
				}
				return meet(i, j) >= 0
			},
			Distance: func(i, j int) int {
				if stretch[i] == stretch[j] || i >= query { // the query stands after the text end to end
					return i - j
				}
				l := meet(i, j)
				return tokens[i].position[l] - tokens[j].position[l]
			},
		}))
		p, err := Compile(r, CompileOptions{Tokenizer: letters{}})
		require.NoError(t, err)
		require.Equal(t, text, allTokens(p))
		requireClose(t, want, logits(t, e, p).Logits)
	})
}

func TestHDTRequests(t *testing.T) {
	r := &Request{
		Strategy: HDT, Query: Text("q"), Prefix: Text("p"),
		Segments: []Segment{{ID: "a", Text: "First. Second.\n\n# Title\n\nThird."}, {ID: "b", Tokens: []int32{1, 2}}},
	}
	p, err := Compile(r, CompileOptions{Tokenizer: letters{}})
	require.NoError(t, err)
	var ids []string
	for i := range p.Len() {
		ids = append(ids, p.ID(i))
	}
	require.Equal(t, []string{
		"prefix", "document.a", "section1.a", "sentence1.1.a", "words1.1.a", "sentence1.2.a", "words1.2.a",
		"section2.a", "sentence2.1.a", "words2.1.a", "sentence2.2.a", "words2.2.a",
		"document.b", "section1.b", "sentence1.1.b", "words1.1.b", "query",
	}, ids)
	require.Equal(t, "p\n#\n##\n-First.\n-Second.\n##\n-Title\n-Third.\n#\n##\n-\x01\x02q", spelled(allTokens(p)))

	tokens := p.Layout().Tokens()
	_, err = Compile(r, CompileOptions{Tokenizer: letters{}, PromptTokens: tokens})
	require.NoError(t, err)
	_, err = Compile(r, CompileOptions{Tokenizer: letters{}, PromptTokens: tokens - 1})
	require.ErrorContains(t, err, fmt.Sprintf("%d tokens together, the limit is %d", tokens, tokens-1))

	for want, change := range map[string]func(r *Request){
		`segment "a" is empty`:                    func(r *Request) { r.Segments[0].Text = "---\n\n***" },
		`segment "a" has both text and tokens`:    func(r *Request) { r.Segments[0].Tokens = []int32{1} },
		`the section anchor has both`:             func(r *Request) { r.HDT.Section = Piece{Text: "x", Tokens: []int32{1}} },
		`without a model only tokens can be used`: nil,
	} {
		bad, o := *r, CompileOptions{Tokenizer: letters{}}
		bad.Segments = append([]Segment(nil), r.Segments...)
		if change == nil {
			o.Tokenizer = nil
		} else {
			change(&bad)
		}
		_, err := Compile(&bad, o)
		require.ErrorContains(t, err, want)
	}

	parsed, err := ParseRequest([]byte(`{"strategy": "hdt", "query": "q", "hdt": {"document": "[DOC]", "sentence": {"tokens": [3]}, "bidirectional": true}}`))
	require.NoError(t, err)
	require.Equal(t, HDTParams{Document: Text("[DOC]"), Sentence: Tokens(3), Bidirectional: true}, parsed.HDT)
}

func spelled(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteByte(byte(id))
	}
	return b.String()
}

// A document is found again in other requests, next to others, behind any prefix; changing one leaves the others.
func TestDocumentsAreReused(t *testing.T) {
	e := tinyEngine(t)
	p := func(prefix int32, texts ...string) *Plan {
		r := &Request{Strategy: HDT, Prefix: Tokens(prefix), Query: Tokens(9), MaxTokens: NoTokens}
		for i, s := range texts {
			r.Segments = append(r.Segments, Segment{ID: fmt.Sprint(i), Text: s})
		}
		p, err := Compile(r, CompileOptions{Tokenizer: letters{}})
		require.NoError(t, err)
		return p
	}
	one, other := "One. Two.\n\n# T\n\nThree.", "# U\n\nFour!"
	logits(t, e, p(1, one, other))
	again := logits(t, e, p(2, other, one, other))
	require.Equal(t, 1+1, again.Usage.EncodedTokens, "the prefix and the query")
	changed := logits(t, e, p(2, other, one+" Five."))
	require.Equal(t, p(1, one+" Five.").Layout().Tokens()-1, changed.Usage.EncodedTokens, "one document and the query")
	require.Zero(t, e.Stats().Cache.OrphanedBytes)
}

// Compiling and lowering 10,000 sentences, in documents of 500, and keying them, is linear in their edges.
func TestLargeDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("a second")
	}
	e := tinyEngine(t, WithLongContext())
	var docs [][][]int
	for range 20 {
		var doc [][]int
		for range 25 {
			section := make([]int, 20)
			for i := range section {
				section[i] = 1
			}
			doc = append(doc, section)
		}
		docs = append(docs, doc)
	}
	l, err := posenc.HDT(1, docs, posenc.HDTOptions{Document: 1, Section: 1, Sentence: 1}, 1)
	require.NoError(t, err)
	p := &Plan{layout: l, ids: make([]string, l.Len()), tokens: make([][]int32, l.Len()), maxTokens: NoTokens}
	for i := range p.tokens {
		p.ids[i], p.tokens[i] = fmt.Sprint(i), []int32{int32(i*i) % tinyVocab}
	}
	s, err := e.keyed(p)
	require.NoError(t, err)
	groups := 0
	for i := range s.nodes {
		if s.nodes[i].group != nil {
			groups++
			require.Len(t, s.nodes[i].group, 1+25+2*500)
		}
	}
	require.Equal(t, 20, groups)
}
