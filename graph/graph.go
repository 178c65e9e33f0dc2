// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import "slices"

// Segment is a piece of text that is encoded once. Its content is either Text or
// Tokens; both may be empty when only the topology matters.
type Segment struct {
	ID     string
	Text   string
	Tokens []int32
}

// Edge lets Target read the keys and values of Source. Ends are segment ids.
type Edge struct {
	Source, Target string
}

// Graph is an immutable directed graph over segments. It is safe for concurrent
// use. The zero Graph is the empty graph.
//
// Methods that take a dense index panic when it is not in 0 … Len−1, as indexing
// a slice does, unless they return an error.
type Graph struct {
	segments []Segment
	index    map[string]uint32

	// Row i of the sources is in[inStart[i]:inStart[i+1]], in order of insertion;
	// row i of the targets is out[outStart[i]:outStart[i+1]], ascending.
	inStart, outStart []uint32
	in, out           []uint32

	self bool // at least one self edge
}

// Len returns the number of segments.
func (g *Graph) Len() int { return len(g.segments) }

// NumEdges returns the number of edges.
func (g *Graph) NumEdges() int { return len(g.in) }

// Segment returns segment i. Its Tokens must not be modified.
func (g *Graph) Segment(i int) Segment { return g.segments[i] }

// ID returns the id of segment i.
func (g *Graph) ID(i int) string { return g.segments[i].ID }

// Index returns the dense index of the segment with the given id.
func (g *Graph) Index(id string) (int, bool) {
	i, ok := g.index[id]
	return int(i), ok
}

// Sources returns the in-neighbours of segment i in the order in which their
// edges were added. The slice is a view that must not be modified.
func (g *Graph) Sources(i int) []uint32 {
	lo, hi := g.inStart[i], g.inStart[i+1]
	return g.in[lo:hi:hi]
}

// Targets returns the out-neighbours of segment i in ascending order. The slice
// is a view that must not be modified.
func (g *Graph) Targets(i int) []uint32 {
	lo, hi := g.outStart[i], g.outStart[i+1]
	return g.out[lo:hi:hi]
}

// HasEdge reports whether there is an edge source → target. It takes time
// logarithmic in the number of targets of source, and is false for an index
// outside the graph.
func (g *Graph) HasEdge(source, target int) bool {
	if source < 0 || target < 0 || source >= g.Len() || target >= g.Len() {
		return false
	}
	_, ok := slices.BinarySearch(g.Targets(source), uint32(target))
	return ok
}

// HasSelfEdges reports whether a segment is its own source.
func (g *Graph) HasSelfEdges() bool { return g.self }
