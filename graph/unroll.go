// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import "fmt"

// Unrolled is a graph unrolled into rounds of message passing. Its nodes are
// pairs (segment, round) with round 0 … Rounds: in round 0 every segment stands
// alone, and in round t it reads what its sources were in round t−1. It is acyclic
// whatever the graph, and the round of a node bounds its depth.
//
// Nothing is copied: an Unrolled is a view of the graph, node i being segment
// i mod Segments in round i / Segments. Nodes are therefore numbered round by
// round, and every source has a smaller index than its reader.
type Unrolled struct {
	g      *Graph
	rounds int
}

// Unroll returns the graph unrolled into the given number of rounds after round
// 0; Unroll(0) is the segments alone, without an edge. Segments × (rounds+1) must
// not exceed [MaxSegments].
func (g *Graph) Unroll(rounds int) (*Unrolled, error) {
	if rounds < 0 {
		return nil, fmt.Errorf("graph: unroll: negative number of rounds %d", rounds)
	}
	if n := g.Len(); n > 0 && rounds > MaxSegments/n-1 {
		return nil, fmt.Errorf("graph: unroll: %w: %d segments in rounds 0 to %d, the limit is %d nodes", ErrTooLarge, n, rounds, MaxSegments)
	}
	return &Unrolled{g: g, rounds: rounds}, nil
}

// Graph returns the graph that was unrolled.
func (u *Unrolled) Graph() *Graph { return u.g }

// Rounds returns the last round; there are Rounds+1 of them.
func (u *Unrolled) Rounds() int { return u.rounds }

// Len returns the number of nodes, Segments × (Rounds+1).
func (u *Unrolled) Len() int { return u.g.Len() * (u.rounds + 1) }

// NumEdges returns the number of edges, Rounds times those of the graph.
func (u *Unrolled) NumEdges() int { return u.g.NumEdges() * u.rounds }

// Index returns the node of a segment in a round. It panics when there is none.
func (u *Unrolled) Index(segment, round int) int {
	if uint(segment) >= uint(u.g.Len()) || uint(round) > uint(u.rounds) {
		panic(fmt.Sprintf("graph: no node (segment %d, round %d) in %d segments, rounds 0 to %d", segment, round, u.g.Len(), u.rounds))
	}
	return round*u.g.Len() + segment
}

// Node returns the segment and the round of node i. It panics when there is none.
func (u *Unrolled) Node(i int) (segment, round int) {
	if uint(i) >= uint(u.Len()) {
		panic(fmt.Sprintf("graph: no node %d in %d", i, u.Len()))
	}
	return i % u.g.Len(), i / u.g.Len()
}

// AppendSources appends to dst the nodes that node i reads, in the order of the
// segment's sources, and returns the extended slice.
func (u *Unrolled) AppendSources(dst []uint32, i int) []uint32 {
	segment, round := u.Node(i)
	if round == 0 {
		return dst
	}
	base := uint32((round - 1) * u.g.Len())
	for _, s := range u.g.Sources(segment) {
		dst = append(dst, base+s)
	}
	return dst
}
