// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import "slices"

// Levels returns the depth of every segment: 0 when it has no source, otherwise
// one more than the deepest source. Segments of one depth can be encoded
// together. If the graph has a cycle, a self edge included, there are no levels
// and the error is a [*CycleError]; such a graph is encoded in rounds, see
// [Graph.Unroll]. The time is linear in segments and edges.
func (g *Graph) Levels() ([]int, error) {
	n := g.Len()
	level := make([]int, n)
	missing := make([]uint32, n) // sources without a level yet
	queue := make([]uint32, 0, n)
	for i := range n {
		missing[i] = g.inStart[i+1] - g.inStart[i]
		if missing[i] == 0 {
			queue = append(queue, uint32(i))
		}
	}
	// Kahn's algorithm: the queue only ever grows, and holds the order of visits.
	for at := 0; at < len(queue); at++ {
		s := queue[at]
		for _, t := range g.Targets(int(s)) {
			level[t] = max(level[t], level[s]+1)
			if missing[t]--; missing[t] == 0 {
				queue = append(queue, t)
			}
		}
	}
	if len(queue) < n {
		return nil, g.cycle(missing)
	}
	return level, nil
}

// cycle finds a cycle among the segments that still miss a source. Each of them
// has such a source among its own kind, so walking from source to source must
// come back to a segment already met.
func (g *Graph) cycle(missing []uint32) *CycleError {
	at := slices.IndexFunc(missing, func(m uint32) bool { return m > 0 })
	step := make([]int, len(missing)) // 1 + place on the walk
	var walk []int
	for step[at] == 0 {
		walk = append(walk, at)
		step[at] = len(walk)
		row := g.Sources(at)
		at = int(row[slices.IndexFunc(row, func(s uint32) bool { return missing[s] > 0 })])
	}
	walk = walk[step[at]-1:]
	slices.Reverse(walk) // the walk went against the edges
	// Start at the smallest index, so that the message does not depend on where
	// the walk came in.
	first := slices.Index(walk, slices.Min(walk))
	e := &CycleError{Indices: slices.Concat(walk[first:], walk[:first])}
	for _, i := range e.Indices {
		e.IDs = append(e.IDs, g.ID(i))
	}
	return e
}
