// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import "fmt"

// Induced returns the graph over the given segments, in this order, with all
// edges between them; the sources of a segment keep their order. Strategies that
// go by the order of segments (Sequential, GraphKVTopK) thereby read a sequence
// such as [Sequence] makes as it stands. A segment that is not there or that is
// listed twice is an error.
func (g *Graph) Induced(sequence []int) (*Graph, error) {
	place := make([]uint32, g.Len()) // 1 + new index of a kept segment
	b := NewBuilder(SelfEdges())     // the graph has decided about self edges already
	b.Grow(len(sequence), 0)
	for at, i := range sequence {
		if err := g.checkIndex(i); err != nil {
			return nil, err
		}
		if place[i] != 0 {
			return nil, &SegmentError{Index: i, ID: g.ID(i), Err: fmt.Errorf("%w: at %d and %d of the sequence", ErrDuplicateSegment, place[i]-1, at)}
		}
		if _, err := b.AddSegment(g.segments[i]); err != nil {
			return nil, err
		}
		place[i] = uint32(at) + 1
	}
	for at, i := range sequence {
		for _, s := range g.Sources(i) {
			if place[s] == 0 {
				continue
			}
			if err := b.add(place[s]-1, uint32(at)); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// Symmetric returns the graph with every edge both ways: what graph transformers
// that were made for undirected graphs take. A segment's own sources come first,
// in their order, then its targets.
func (g *Graph) Symmetric() (*Graph, error) {
	source, target := make([]uint32, 0, 2*g.NumEdges()), make([]uint32, 0, 2*g.NumEdges())
	met := make([]uint32, g.Len()) // 1 + the last segment that it is a source of
	for t := range g.segments {
		for _, s := range g.Sources(t) {
			met[s] = uint32(t) + 1
			source, target = append(source, s), append(target, uint32(t))
		}
		for _, s := range g.Targets(t) {
			if met[s] != uint32(t)+1 {
				source, target = append(source, s), append(target, uint32(t))
			}
		}
	}
	return g.rewired(source, target)
}

// rewired returns the same segments under other edges. The two graphs share what
// neither changes.
func (g *Graph) rewired(source, target []uint32) (*Graph, error) {
	if uint64(len(source)) > MaxEdges {
		return nil, fmt.Errorf("graph: %w: %d edges, the limit is %d", ErrTooLarge, len(source), uint64(MaxEdges))
	}
	b := Builder{segments: g.segments, index: g.index, source: source, target: target}
	for e := range source {
		b.self = b.self || source[e] == target[e]
	}
	return b.Build()
}

func (g *Graph) checkIndex(i int) error {
	if uint(i) >= uint(g.Len()) {
		return &SegmentError{Index: i, Err: fmt.Errorf("%w: there are %d segments", ErrUnknownSegment, g.Len())}
	}
	return nil
}

// rows returns the neighbours of a segment in direction d.
func (g *Graph) rows(d Direction) (func(int) []uint32, error) {
	switch d {
	case Incoming:
		return g.Sources, nil
	case Outgoing:
		return g.Targets, nil
	}
	return nil, fmt.Errorf("unknown direction %v", d)
}
