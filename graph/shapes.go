// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	gonum "gonum.org/v1/gonum/graph"
)

// FromEdges builds a graph from segments and edges given by id. The order of
// edges with the same target is the order of that target's sources.
func FromEdges(segments []Segment, edges []Edge, opts ...Option) (*Graph, error) {
	b := NewBuilder(opts...)
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	if err := b.reserve(uint64(len(edges))); err != nil {
		return nil, err
	}
	for _, e := range edges {
		if err := b.AddEdge(e.Source, e.Target); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// Full makes every segment a source of every other segment, and of itself when
// self is set, in the order of the segments. Unrolled for one round, with self, it
// is the topology of Graph-KV (Wang et al. 2025, full). It has n² or n²−n edges.
func Full(segments []Segment, self bool) (*Graph, error) {
	if self {
		return TopK(segments, len(segments))
	}
	b := NewBuilder()
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	n := len(segments)
	if n > 0 {
		if err := b.reserve(uint64(n) * uint64(n-1)); err != nil {
			return nil, err
		}
	}
	for t := range n {
		for s := range n {
			if s == t {
				continue
			}
			if err := b.AddEdgeAt(s, t); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// TopK makes the last k segments the sources of every segment, themselves
// included: retrieved passages come sorted by ascending relevance, so the last k
// are the best k. Unrolled for one round it is the topology of the published
// graphkv-topk. k larger than the number of segments means all of them; a
// negative k is an error.
func TopK(segments []Segment, k int) (*Graph, error) {
	if k < 0 {
		return nil, fmt.Errorf("graph: top-k with negative k %d", k)
	}
	b := NewBuilder(SelfEdges())
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	n := len(segments)
	k = min(k, n)
	if err := b.reserve(uint64(n) * uint64(k)); err != nil {
		return nil, err
	}
	for t := range n {
		for s := n - k; s < n; s++ {
			if err := b.AddEdgeAt(s, t); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// Star makes every other segment a source of the center: an ego graph.
func Star(segments []Segment, center int) (*Graph, error) {
	neighbours := make([]int, 0, max(len(segments), 1)-1)
	for i := range segments {
		if i != center {
			neighbours = append(neighbours, i)
		}
	}
	return EgoBatch(segments, []Ego{{Center: center, Neighbours: neighbours}})
}

// Ego is one ego graph over the dense indices of a list of segments: the center
// reads every neighbour, in this order.
type Ego struct {
	Center     int
	Neighbours []int
}

// EgoBatch puts several ego graphs side by side. A segment may be a neighbour in
// any number of them but the center of at most one, and all centers and
// neighbours must be different within one ego graph. Segments in no ego graph
// stay alone.
func EgoBatch(segments []Segment, egos []Ego) (*Graph, error) {
	b := NewBuilder()
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	center := make(map[int]int, len(egos))
	for i, e := range egos {
		if uint(e.Center) >= uint(len(segments)) {
			return nil, &SegmentError{Index: e.Center, Err: fmt.Errorf("%w: center of ego graph %d, there are %d segments", ErrUnknownSegment, i, len(segments))}
		}
		if j, ok := center[e.Center]; ok {
			return nil, &SegmentError{Index: e.Center, ID: segments[e.Center].ID, Err: fmt.Errorf("%w: center of ego graphs %d and %d", ErrDuplicateSegment, j, i)}
		}
		center[e.Center] = i
		for _, s := range e.Neighbours {
			if err := b.AddEdgeAt(s, e.Center); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// Chain links consecutive segments: segment i reads segment i−1 only. What
// earlier segments said reaches it through that one neighbour, layer by layer.
// For a chain in which everything earlier is read directly, see [Causal].
func Chain(segments []Segment) (*Graph, error) {
	b := NewBuilder()
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	if err := b.reserve(uint64(max(len(segments), 1) - 1)); err != nil {
		return nil, err
	}
	for i := 1; i < len(segments); i++ {
		if err := b.AddEdgeAt(i-1, i); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// Causal makes every segment read all earlier segments, in order: ordinary causal
// attention, cut into segments. It is the transitive closure of [Chain] and has
// n(n−1)/2 edges.
func Causal(segments []Segment) (*Graph, error) {
	b := NewBuilder()
	if err := b.addSegments(segments); err != nil {
		return nil, err
	}
	n := uint64(len(segments))
	if n > 0 {
		if err := b.reserve(n * (n - 1) / 2); err != nil {
			return nil, err
		}
	}
	for t := range segments {
		for s := range t {
			if err := b.AddEdgeAt(s, t); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// FromDirected copies the topology of any gonum directed graph. gonum iterates in
// no particular order, so nodes become segments, and sources are listed, in
// ascending order of gonum id. segment makes the segment of a node; nil means
// that the id is the decimal node id and that there is no content.
func FromDirected(d gonum.Directed, segment func(gonum.Node) Segment, opts ...Option) (*Graph, error) {
	if d == nil {
		return nil, errors.New("graph: nil graph")
	}
	if segment == nil {
		segment = func(n gonum.Node) Segment { return Segment{ID: strconv.FormatInt(n.ID(), 10)} }
	}
	nodes := sortedNodes(d.Nodes())
	b := NewBuilder(opts...)
	b.Grow(len(nodes), 0)
	index := make(map[int64]int, len(nodes))
	for _, n := range nodes {
		i, err := b.AddSegment(segment(n))
		if err != nil {
			return nil, err
		}
		index[n.ID()] = i
	}
	for t, n := range nodes {
		for _, m := range sortedNodes(d.To(n.ID())) {
			s, ok := index[m.ID()]
			if !ok {
				return nil, &EdgeError{Source: fmt.Sprintf("#%d", m.ID()), Target: b.name(t), Err: fmt.Errorf("%w: node %d is not in the graph", ErrUnknownSource, m.ID())}
			}
			if err := b.AddEdgeAt(s, t); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

func sortedNodes(it gonum.Nodes) []gonum.Node {
	nodes := slices.Clone(gonum.NodesOf(it))
	slices.SortFunc(nodes, func(a, b gonum.Node) int {
		switch {
		case a.ID() < b.ID():
			return -1
		case a.ID() > b.ID():
			return 1
		}
		return 0
	})
	return nodes
}
