// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/graphkv/graphkv/draw"
	"github.com/graphkv/graphkv/posenc"
)

// Graph returns a picture of the plan's nodes and edges. With an explanation of the
// plan, edges are as wide as the attention that they got, those of readers that were not
// explained being as thin as can be, and the answer is a node as well; x may be nil.
func (p *Plan) Graph(x *Explanation) *draw.Graph {
	g := &draw.Graph{Title: "Segment graph", Weighted: x != nil}
	for i := range p.Len() {
		n := draw.Node{Label: p.ids[i], Note: tokenCount(len(p.tokens[i]))}
		switch p.layout.Node(i).Kind {
		case posenc.PrefixNode:
			n.Kind = draw.Prefix
		case posenc.QueryNode:
			n.Kind = draw.Query
		}
		g.Nodes = append(g.Nodes, n)
	}
	explained := make([]bool, p.Len())
	if x != nil {
		g.Title = "What was read"
		var said []string
		for i := range x.Readers {
			r := &x.Readers[i]
			said = append(said, r.sentence())
			if r.Node == p.Len() {
				g.Nodes = append(g.Nodes, draw.Node{Label: r.ID, Note: tokenCount(r.Tokens), Kind: draw.Answer})
			} else {
				explained[r.Node] = true
			}
			for _, s := range r.Reads {
				if s.Node == r.Node {
					g.Nodes[r.Node].Own = s.Mass
				} else {
					g.Edges = append(g.Edges, draw.Edge{From: s.Node, To: r.Node, Weight: s.Mass})
				}
			}
		}
		g.Description = strings.Join(said, " ")
	}
	for i, done := range explained {
		if !done {
			for _, s := range p.layout.Sees(i) {
				g.Edges = append(g.Edges, draw.Edge{From: int(s.Node), To: i})
			}
		}
	}
	return g
}

func tokenCount(n int) string {
	if n == 1 {
		return "1 token"
	}
	return fmt.Sprintf("%d tokens", n)
}

// sentence says what the reader read most of.
func (r *Reader) sentence() string {
	reads := slices.Clone(r.Reads)
	slices.SortStableFunc(reads, func(a, b Read) int { return cmp.Compare(b.Mass, a.Mass) })
	var parts []string
	for _, s := range reads[:min(3, len(reads))] {
		name := s.ID
		if s.Node == r.Node {
			name = "itself"
		}
		parts = append(parts, fmt.Sprintf("%s %.0f %%", name, 100*s.Mass))
	}
	return r.ID + " read " + strings.Join(parts, ", ") + "."
}
