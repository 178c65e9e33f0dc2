// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
)

// Direction says which way a search follows the edges.
type Direction uint8

const (
	Incoming Direction = iota // from a target to its sources
	Outgoing                  // from a source to its targets
)

func (d Direction) String() string {
	switch d {
	case Incoming:
		return "incoming"
	case Outgoing:
		return "outgoing"
	}
	return fmt.Sprintf("Direction(%d)", uint8(d))
}

// Ancestors returns every segment that reaches segment i over one edge or more:
// all that i may have heard of. i itself is among them only when it is on a cycle.
func (g *Graph) Ancestors(i int) *roaring.Bitmap {
	return g.search(i, g.Len(), g.Sources, false)
}

// Descendants returns every segment that segment i reaches over one edge or more:
// all that changes when i does. i itself is among them only when it is on a cycle.
func (g *Graph) Descendants(i int) *roaring.Bitmap {
	return g.search(i, g.Len(), g.Targets, false)
}

// KHop returns segment i and every segment at most k edges away from it in
// direction d. Pass it to [Graph.Subgraph] for the neighbourhood as a graph.
func (g *Graph) KHop(i, k int, d Direction) (*roaring.Bitmap, error) {
	row, err := g.checkHops(i, k, d)
	if err != nil {
		return nil, err
	}
	return g.search(i, k, row, true), nil
}

// checkHops checks what a k-hop neighbourhood is asked for with and returns the
// rows to follow.
func (g *Graph) checkHops(i, k int, d Direction) (func(int) []uint32, error) {
	if err := g.checkIndex(i); err != nil {
		return nil, err
	}
	if k < 0 {
		return nil, fmt.Errorf("graph: k-hop neighbourhood of %s: negative k %d", quote(g.ID(i)), k)
	}
	row, err := g.rows(d)
	if err != nil {
		return nil, fmt.Errorf("graph: k-hop neighbourhood of %s: %w", quote(g.ID(i)), err)
	}
	return row, nil
}

// search collects what a breadth-first search from start meets within limit
// steps. start counts as met from the beginning only if self is set.
func (g *Graph) search(start, limit int, row func(int) []uint32, self bool) *roaring.Bitmap {
	met := make([]uint64, (g.Len()+63)/64)
	if self {
		met[start/64] |= 1 << (start % 64)
	}
	frontier := []uint32{uint32(start)}
	var next []uint32
	for ; limit > 0 && len(frontier) > 0; limit-- {
		next = next[:0]
		for _, i := range frontier {
			for _, j := range row(int(i)) {
				if bit := uint64(1) << (j % 64); met[j/64]&bit == 0 {
					met[j/64] |= bit
					next = append(next, j)
				}
			}
		}
		frontier, next = next, frontier
	}
	set := roaring.FromDense(met, true)
	set.RunOptimize()
	return set
}

// Subgraph returns the graph induced by a set of segments: those segments and
// all edges between them, in the same order as here. An index outside the graph
// is an error.
func (g *Graph) Subgraph(set *roaring.Bitmap) (*Graph, error) {
	if !set.IsEmpty() { // before an array of that size is made
		if err := g.checkIndex(int(set.Maximum())); err != nil {
			return nil, err
		}
	}
	sequence := make([]int, 0, set.GetCardinality())
	for it := set.Iterator(); it.HasNext(); {
		sequence = append(sequence, int(it.Next()))
	}
	return g.Induced(sequence)
}
