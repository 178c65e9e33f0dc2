// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"

	"github.com/graphkv/graphkv/outline"
	"github.com/graphkv/graphkv/posenc"
)

// HDTParams are the settings of the [HDT] strategy.
type HDTParams struct {
	// Document, Section and Sentence are the anchors: text or tokens that stand for a
	// segment, for what is under a heading of it, and for a sentence. Published models are
	// trained on tokens of their own. Others have none, and get what a Markdown outline
	// would have: "\n#", "\n##" and "\n-".
	Document Piece `json:"document,omitzero"`
	Section  Piece `json:"section,omitzero"`
	Sentence Piece `json:"sentence,omitzero"`
	// Bidirectional lets the words of a sentence see those after them, as published: for
	// models that are trained as encoders.
	Bidirectional bool `json:"bidirectional,omitempty"`
}

var defaultAnchors = [3]string{"\n#", "\n##", "\n-"}

// encode tokenises a text; special says whether special tokens in it are parsed.
type encode func(name, text string, ids []int32, special bool) ([]int32, error)

// hierarchy is what the segments of an hdt request are made of.
type hierarchy struct {
	anchors   [3][]int32    // of a document, a section and a sentence
	documents [][][][]int32 // segment, section, sentence, token
}

func newHierarchy(p HDTParams, encode encode) (*hierarchy, error) {
	h := &hierarchy{}
	for i, a := range []Piece{p.Document, p.Section, p.Sentence} {
		if a.IsZero() {
			a.Text = defaultAnchors[i]
		}
		name := [3]string{"the document anchor", "the section anchor", "the sentence anchor"}[i]
		var err error
		if h.anchors[i], err = encode(name, a.Text, a.Tokens, true); err != nil {
			return nil, err
		}
		if len(h.anchors[i]) == 0 {
			return nil, fmt.Errorf("graphkv: %s has no tokens", name)
		}
	}
	return h, nil
}

// add takes a segment on and returns its tokens, without anchors. A segment of text is
// Markdown, see package outline; one of tokens is a single sentence.
func (h *hierarchy) add(s Segment, encode encode) ([]int32, error) {
	if s.Text == "" || s.Tokens != nil {
		ids, err := encode(fmt.Sprintf("segment %q", s.ID), s.Text, s.Tokens, false)
		h.documents = append(h.documents, [][][]int32{{ids}})
		return ids, err
	}
	var all []int32
	var doc [][][]int32
	for i, section := range outline.Parse(s.Text) {
		var sentences [][]int32
		for k, text := range section.Sentences {
			ids, err := encode(fmt.Sprintf("sentence %d of section %d of segment %q", k+1, i+1, s.ID), text, nil, false)
			if err != nil {
				return nil, err
			}
			if len(ids) > 0 {
				sentences = append(sentences, ids)
				all = append(all, ids...)
			}
		}
		if len(sentences) > 0 {
			doc = append(doc, sentences)
		}
	}
	h.documents = append(h.documents, doc)
	return all, nil
}

// tokens returns the number of the anchors' tokens.
func (h *hierarchy) tokens() int {
	n := 0
	for _, doc := range h.documents {
		n += len(h.anchors[0]) + len(doc)*len(h.anchors[1])
		for _, section := range doc {
			n += len(section) * len(h.anchors[2])
		}
	}
	return n
}

func (c *compiler) hdt() (*posenc.Layout, error) {
	h := c.hierarchy
	lengths := make([][][]int, len(h.documents))
	for d, doc := range h.documents {
		for _, section := range doc {
			var n []int
			for _, sentence := range section {
				n = append(n, len(sentence))
			}
			lengths[d] = append(lengths[d], n)
		}
	}
	return posenc.HDT(len(c.prefix), lengths, posenc.HDTOptions{
		Document: len(h.anchors[0]), Section: len(h.anchors[1]), Sentence: len(h.anchors[2]), Bidirectional: c.r.HDT.Bidirectional,
	}, len(c.query))
}

// named is a node's name and its tokens.
type named struct {
	id     string
	tokens []int32
}

// nodes names the nodes of a segment's document, in their order in the layout.
func (h *hierarchy) nodes(d int, id string) []named {
	out := []named{{"document." + id, h.anchors[0]}}
	for i, section := range h.documents[d] {
		out = append(out, named{fmt.Sprintf("section%d.%s", i+1, id), h.anchors[1]})
		for k, sentence := range section {
			out = append(out,
				named{fmt.Sprintf("sentence%d.%d.%s", i+1, k+1, id), h.anchors[2]},
				named{fmt.Sprintf("words%d.%d.%s", i+1, k+1, id), sentence})
		}
	}
	return out
}
