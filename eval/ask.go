// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/tokenizer"
)

// Frame is what a model's chat template puts around a user's message. The zero Frame
// is for a model without one.
type Frame struct {
	Before, After []int32
}

// asker turns items into requests for one model.
type asker struct {
	tokenizer *tokenizer.Tokenizer
	frame     Frame
	data      *Dataset
	seed      uint64
	maxTokens int
}

// orders returns the orders that an item is asked in: the first n that the data gives
// after the documents' own, filled up with random ones that depend on the seed and on the item alone.
// A centre stays last.
func (a *asker) orders(x *Item, n int) [][]int {
	own := make([]int, len(x.Documents))
	for i := range own {
		own[i] = i
	}
	all := append([][]int{own}, x.Orders[:min(n, len(x.Orders))]...)
	h := fnv.New64a()
	h.Write([]byte(x.ID))
	r := rand.New(rand.NewPCG(a.seed, h.Sum64()))
	for len(all) <= n {
		o := slices.Clone(own)
		free := o
		if x.Center >= 0 {
			free = o[:len(o)-1]
		}
		r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		all = append(all, o)
	}
	return all
}

// reversed is the item's own order backwards, its centre last all the same.
func reversed(x *Item) []int {
	n := len(x.Documents)
	if x.Center >= 0 {
		n--
	}
	o := make([]int, 0, len(x.Documents))
	for i := range n {
		o = append(o, n-1-i)
	}
	if x.Center >= 0 {
		o = append(o, x.Center)
	}
	return o
}

// request asks an item under a variant with its documents in the given order.
//
// What the data does not say is made up in one way for all: without edges, a document
// reads those whose titles it mentions. ego takes the item's centre or, without one,
// the last document, which is the most relevant, and lets it read all others. ego-batch
// takes those edges that make no document both a source and a target.
func (a *asker) request(x *Item, v *Variant, order []int) *graphkv.Request {
	r := v.Request // a copy
	w := a.data.Format.Wording()
	r.Prefix = graphkv.Tokens(a.tokenizer.Encode(slices.Clone(a.frame.Before), w.Instruction, false)...)
	r.Query = graphkv.Tokens(append(a.tokenizer.Encode(nil, w.Before+x.Question+w.After, false), a.frame.After...)...)
	r.MaxTokens = a.maxTokens
	r.Segments = make([]graphkv.Segment, len(order))
	for i, d := range order {
		r.Segments[i] = graphkv.Segment{ID: segmentID(d), Text: a.data.Format.Block(x.Documents[d])}
	}
	if a.data.Format == ArxivQA && r.Strategy == graphkv.Sequential {
		for i, last := 0, len(order)-1; i < last; i++ {
			between := betweenPapers
			if i == last-1 {
				between = beforeCenter
			}
			r.Segments[i].Text += between
		}
	}
	edges := x.Edges
	if edges == nil {
		edges = mentions(x.Documents)
	}
	switch r.Strategy {
	case graphkv.Ego:
		center := order[len(order)-1]
		if x.Center >= 0 {
			center = x.Center
		}
		r.Center = segmentID(center)
		return &r
	case graphkv.EgoBatch:
		edges = oneLevel(edges)
	}
	for _, e := range edges {
		r.Edges = append(r.Edges, graphkv.Edge{segmentID(e[0]), segmentID(e[1])})
	}
	return &r
}

// segmentID names a document whatever order it stands in.
func segmentID(document int) string { return fmt.Sprint("d", document) }

// mentions returns an edge to every document from those whose titles occur in its text.
func mentions(documents []Document) [][2]int {
	var edges [][2]int
	for target, t := range documents {
		for source, s := range documents {
			if source != target && s.Title != "" && s.Title != t.Title && strings.Contains(t.Text, s.Title) {
				edges = append(edges, [2]int{source, target})
			}
		}
	}
	return edges
}

// oneLevel keeps, first come first served, the edges that make no document both a source and a target.
func oneLevel(edges [][2]int) [][2]int {
	sources, targets := map[int]bool{}, map[int]bool{}
	var kept [][2]int
	for _, e := range edges {
		if !targets[e[0]] && !sources[e[1]] {
			sources[e[0]], targets[e[1]] = true, true
			kept = append(kept, e)
		}
	}
	return kept
}
