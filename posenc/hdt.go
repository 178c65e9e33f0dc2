// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import "fmt"

// HDTOptions are the choices of the HDT preset.
type HDTOptions struct {
	Document, Section, Sentence int // tokens of the three anchors, at least 1
	// Bidirectional lets the tokens of a sentence, and those of an anchor, see one another in both directions, as
	// published. Without it they are causal, as decoders are trained.
	Bidirectional bool
}

// HDT lays out documents of sections of sentences with an anchor for each (Hierarchical Document Transformer, He et al.,
// 2024). documents has the numbers of tokens of the sentences of the sections of the documents. Two tokens see one another
// if they meet on one of three levels:
//
//	sentence   the tokens of a sentence, and its anchor
//	section    the anchors of a section's sentences, and that of the section
//	document   the anchors of a document's sections, and that of the document
//
// so that an anchor sees its siblings, its parent and its children, and words see their sentence and its anchor. A document
// is a group of nodes, which are encoded together; it sees nothing of the prefix nor of other documents.
//
// Tokens have a position on every level, of which the published model adds up the embeddings. A rotary embedding has room
// for one, but no two tokens meet on more than one level: they stand apart by the difference of their positions on that one.
// With anchors of one token:
//
//	sentence   the anchor at 0, words at 1, 2, …
//	section    the section's anchor at 0, the anchors of its sentences at 1, 2, …
//	document   the document's anchor at 0, those of its sections at 1, 2, …
//
// Longer anchors push what follows on by as much. Sentences of one length thus stand alike wherever they are.
//
// The query sees the prefix and everything of all documents, anchors and words, end to end in reading order: the document's
// anchor, then every section's, each followed by its sentences, each behind its anchor. The nodes come in this order, with the
// document as their Segment.
//
// There are about n² edges for a section of n sentences and for a document of n sections, and a few for every sentence.
func HDT(prefix int, documents [][][]int, opts HDTOptions, query int) (*Layout, error) {
	in, err := newPieces(prefix, nil, query)
	if err != nil {
		return nil, err
	}
	for _, a := range []struct {
		name   string
		length int
	}{{"document", opts.Document}, {"section", opts.Section}, {"sentence", opts.Sentence}} {
		if a.length < 1 || a.length > MaxPosition {
			return nil, fmt.Errorf("posenc: %s anchor of %d tokens, want 1 to %d", a.name, a.length, MaxPosition)
		}
	}
	h := hdt{HDTOptions: opts}
	nodes, edges, tokens := 2, 1, prefix+query
	for d, doc := range documents {
		c, err := h.count(doc)
		if err != nil {
			return nil, fmt.Errorf("posenc: document %d: %w", d, err)
		}
		nodes, edges, tokens = nodes+c.nodes, edges+c.edges+c.nodes, tokens+c.tokens
		if err := in.check(tokens, edges); err != nil {
			return nil, err
		}
	}
	h.preset = in.begin(nodes, edges)
	h.addPrefix()
	base := prefix
	for d, doc := range documents {
		if base, err = h.document(d, doc, base); err != nil {
			return nil, err
		}
	}
	return h.finish(base)
}

// hdt is the HDT preset at work.
type hdt struct {
	HDTOptions
	*preset
	nodes []Node   // of the document at hand
	sees  [][]Seen // of these
	first int      // index of the first of them
}

// size counts what a document takes.
type size struct{ nodes, edges, tokens int }

func (h *hdt) count(doc [][]int) (size, error) {
	if len(doc) == 0 {
		return size{}, fmt.Errorf("no sections")
	}
	m := len(doc)
	c := size{nodes: 1 + m, edges: m * (m + 1), tokens: h.Document + m*h.Section}
	for s, section := range doc {
		n := len(section)
		if n == 0 {
			return size{}, fmt.Errorf("section %d: no sentences", s)
		}
		c.nodes += 2 * n
		c.edges += n*(n+1) + 2*n // every anchor sees the others and the section's, as this sees them; words and anchor see one another
		c.tokens += n * h.Sentence
		for i, words := range section {
			if words < 1 || words > MaxPosition {
				return size{}, fmt.Errorf("section %d: sentence %d of %d tokens, want 1 to %d", s, i, words, MaxPosition)
			}
			c.tokens += words
		}
		if c.edges > MaxEdges || c.tokens > MaxPosition {
			return size{}, fmt.Errorf("more than %d edges or %d tokens", MaxEdges, MaxPosition)
		}
	}
	return c, nil
}

// node adds a node to the document; its sources are room for so many.
func (h *hdt) node(document, base, length, sources int) int {
	h.nodes = append(h.nodes, Node{Kind: SegmentNode, Segment: document, Base: base, Len: length, Bidirectional: h.Bidirectional})
	h.sees = append(h.sees, make([]Seen, 0, sources))
	return len(h.nodes) - 1
}

// link lets a node of the document see another at a base.
func (h *hdt) link(reader, source, base int) {
	h.sees[reader] = append(h.sees[reader], Seen{Node: int32(h.first + source), Base: int32(base)})
}

// document adds a document, shows it to the query from base on, and returns where it ends.
func (h *hdt) document(d int, doc [][]int, base int) (int, error) {
	h.nodes, h.sees, h.first = h.nodes[:0], h.sees[:0], h.b.Len()
	m := len(doc)
	root := h.node(d, 0, h.Document, m)
	sections := make([]int, m)
	at := func(s int) int { return h.Document + s*h.Section } // of a section's anchor, on the level of the document
	for s, section := range doc {
		sections[s] = h.node(d, at(s), h.Section, m+len(section))
		h.section(d, sections[s], section)
	}
	for s, anchor := range sections {
		h.link(root, anchor, at(s))
		h.link(anchor, root, 0)
		for other, source := range sections {
			if other != s {
				h.link(anchor, source, at(other))
			}
		}
	}
	if _, err := h.b.AddGroup(h.nodes, h.sees); err != nil {
		return 0, err
	}
	for i, n := range h.nodes {
		h.show(h.first+i, base)
		base += n.Len
	}
	return base, nil
}

// section adds the sentences of a section, whose anchor is given.
func (h *hdt) section(d, anchor int, sentences []int) {
	n := len(sentences)
	first := len(h.nodes)                                     // anchors and words take turns
	at := func(i int) int { return h.Section + i*h.Sentence } // of a sentence's anchor, on the level of the section
	own := h.nodes[anchor].Base
	for i, length := range sentences {
		sentence := h.node(d, at(i), h.Sentence, n+1)
		words := h.node(d, h.Sentence, length, 1)
		h.link(words, sentence, 0)
		h.link(sentence, words, at(i)+h.Sentence)
		h.link(sentence, anchor, 0)
		h.link(anchor, sentence, own+at(i))
	}
	for i := range n {
		for other := range n {
			if other != i {
				h.link(first+2*i, first+2*other, at(other))
			}
		}
	}
}
