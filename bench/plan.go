// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"strconv"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// Planning is a citation graph to be planned and lowered to a mask of blocks.
type Planning struct {
	ids     []string
	layout  Layout
	lengths []int
	block   int
}

// NewPlanning draws a graph of segments of 128 tokens that each read degree others.
func NewPlanning(segments, degree, blockSize int) *Planning {
	p := &Planning{layout: Citations(segments, 128, degree), block: blockSize}
	for i, s := range p.layout.Segments {
		p.ids = append(p.ids, strconv.Itoa(i))
		p.lengths = append(p.lengths, s.Tokens)
	}
	return p
}

// Run builds the graph from its edges, lays it out and lowers it.
func (p *Planning) Run() (*mask.Mask, error) {
	b := graph.NewBuilder()
	for _, id := range p.ids {
		if _, err := b.AddSegment(graph.Segment{ID: id}); err != nil {
			return nil, err
		}
	}
	for i, s := range p.layout.Segments {
		for _, src := range s.Sources {
			if err := b.AddEdgeAt(src, i); err != nil {
				return nil, err
			}
		}
	}
	g, err := b.Build()
	if err != nil {
		return nil, err
	}
	l, err := posenc.DAG(0, p.lengths, g, posenc.DAGOptions{}, 32)
	if err != nil {
		return nil, err
	}
	return mask.New(l, p.block)
}
