// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"

	"github.com/graphkv/graphkv/graph"
)

// Positions says where DAG puts the nodes.
type Positions uint8

const (
	// Shared lets all nodes of one depth stand on the same positions: depth t starts after the prefix and the longest node of
	// every shallower depth, so the order of a node's sources carries no meaning.
	Shared Positions = iota
	// SequentialPositions puts every node after the one before it in encoding order.
	SequentialPositions
)

// DAGOptions are the choices of the DAG preset; the zero value encodes an acyclic graph with shared positions.
type DAGOptions struct {
	// Rounds of message passing after round 0. With 0 every segment is encoded once, after its sources, and the graph must be
	// acyclic. With r ≥ 1 the graph may have cycles: a node is a segment in a round 0…r, it sees its sources as they were in
	// the round before, and its depth is its round.
	Rounds    int
	Positions Positions
	// Visible are the segments that the query sees; nil stands for all.
	Visible []int
	// VisibleRounds are the rounds in which the query sees them; nil stands for the last. Without rounds there is but
	// round 0.
	VisibleRounds []int
}

// DAG lays out any directed graph over the segments: a node attends to its sources, at the positions where they stand
// themselves, and causally to itself. The prefix comes first, then the nodes in topological order (by depth, then by
// index), and the query sees the prefix and the visible nodes in this order. It stands after the deepest depth (Shared) or
// the last node (SequentialPositions).
//
// Nodes that no visible node depends on are left out: the layout is the one of the graph without them. Time and memory are
// proportional to nodes plus edges. The error of a cyclic graph without rounds wraps a *graph.CycleError.
func DAG(prefix int, segments []int, g *graph.Graph, opts DAGOptions, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	switch {
	case g == nil:
		return nil, fmt.Errorf("posenc: no graph for %d segments", len(segments))
	case g.Len() != len(segments):
		return nil, fmt.Errorf("posenc: the graph has %d segments, there are lengths for %d", g.Len(), len(segments))
	case opts.Positions > SequentialPositions:
		return nil, fmt.Errorf("posenc: unknown positions %d", opts.Positions)
	}
	d, err := unroll(g, opts.Rounds)
	if err != nil {
		return nil, fmt.Errorf("posenc: %w", err)
	}
	visible, err := d.visible(opts)
	if err != nil {
		return nil, err
	}
	needed, edges := d.ancestors(visible)

	// Where depths start, or where the next node stands.
	starts := make([]int, d.depths+1)
	total := 0
	for _, id := range d.order {
		if needed[id] {
			length := segments[int(id)%d.n]
			total += length
			depth := d.depth(id)
			starts[depth+1] = max(starts[depth+1], length)
		}
	}
	starts[0] = prefix
	for t := range d.depths {
		starts[t+1] += starts[t]
	}
	end := starts[d.depths]
	if opts.Positions == SequentialPositions {
		end = prefix + total
	}
	if err := in.check(end+query, edges); err != nil {
		return nil, err
	}

	p := in.begin(len(d.order)+2, edges)
	p.addPrefix()
	at := make([]int32, len(d.order)) // node in the layout
	next := prefix
	var sees []Seen
	for _, id := range d.order {
		if !needed[id] {
			continue
		}
		s, base := int(id)%d.n, starts[d.depth(id)]
		if opts.Positions == SequentialPositions {
			base = next
			next += segments[s]
		}
		sources, first := d.sources(id)
		sees = sees[:0]
		for _, source := range sources {
			i := at[first+int(source)]
			sees = append(sees, Seen{Node: i, Base: int32(p.b.l.nodes[i].Base)})
		}
		i := p.segment(s, int(id)/d.n, base, sees...)
		if p.err != nil {
			return nil, p.err
		}
		at[id] = int32(i)
		if visible[id] {
			p.show(i, base)
		}
	}
	return p.finish(end)
}

// unrolled is a graph made acyclic. Node id stands for segment id mod n in round id / n.
type unrolled struct {
	g      *graph.Graph
	n      int     // segments
	levels []int   // of the segments without rounds; nil: the depth is the round
	depths int     // number of them
	order  []int32 // nodes by depth, then by index
}

func unroll(g *graph.Graph, rounds int) (*unrolled, error) {
	d := &unrolled{g: g, n: g.Len()}
	if rounds != 0 {
		u, err := g.Unroll(rounds) // refuses negative and excessive rounds
		if err != nil {
			return nil, err
		}
		if u.Len() > MaxEdges {
			return nil, fmt.Errorf("%d segments in rounds 0 to %d make %d nodes, the limit is %d", d.n, rounds, u.Len(), MaxEdges)
		}
		if d.n > 0 {
			d.depths = rounds + 1
		}
		d.order = make([]int32, u.Len())
		for i := range d.order {
			d.order[i] = int32(i)
		}
		return d, nil
	}
	levels, err := g.Levels()
	if err != nil {
		return nil, err
	}
	d.levels = levels
	for _, l := range levels {
		d.depths = max(d.depths, l+1)
	}
	first := make([]int32, d.depths+1) // counting sort: stable, so by index within a depth
	for _, l := range levels {
		first[l+1]++
	}
	for l := range d.depths {
		first[l+1] += first[l]
	}
	d.order = make([]int32, d.n)
	for s, l := range levels {
		d.order[first[l]] = int32(s)
		first[l]++
	}
	return d, nil
}

func (d *unrolled) depth(id int32) int {
	if d.levels != nil {
		return d.levels[id]
	}
	return int(id) / d.n
}

// sources returns the segments that a node sees, and the node that stands for segment 0 of their round.
func (d *unrolled) sources(id int32) (segments []uint32, first int) {
	round := int(id) / d.n
	switch {
	case d.levels != nil:
		return d.g.Sources(int(id)), 0
	case round == 0:
		return nil, 0
	}
	return d.g.Sources(int(id) % d.n), (round - 1) * d.n
}

// visible marks the nodes that the query sees: the given segments in the given rounds.
func (d *unrolled) visible(o DAGOptions) ([]bool, error) {
	mark := make([]bool, len(d.order))
	rounds := o.VisibleRounds
	if rounds == nil {
		rounds = []int{o.Rounds}
	}
	listed := make(map[int]bool, len(rounds))
	for _, r := range rounds {
		if r < 0 || r > o.Rounds {
			return nil, fmt.Errorf("posenc: visible round %d of rounds 0 to %d", r, o.Rounds)
		}
		if listed[r] {
			return nil, fmt.Errorf("posenc: visible round %d is listed twice", r)
		}
		listed[r] = true
		nodes := mark[r*d.n:][:d.n]
		if o.Visible == nil {
			for i := range nodes {
				nodes[i] = true
			}
		}
		for _, s := range o.Visible {
			if s < 0 || s >= d.n {
				return nil, fmt.Errorf("posenc: visible segment %d of %d", s, d.n)
			}
			if nodes[s] {
				return nil, fmt.Errorf("posenc: visible segment %d is listed twice", s)
			}
			nodes[s] = true
		}
	}
	return mark, nil
}

// ancestors marks the given nodes and all they depend on, and counts the edges of the layout they make.
func (d *unrolled) ancestors(visible []bool) (needed []bool, edges int) {
	needed = append([]bool(nil), visible...)
	edges = 1
	for k := len(d.order) - 1; k >= 0; k-- { // readers come before their sources
		id := d.order[k]
		if visible[id] {
			edges++
		}
		if !needed[id] {
			continue
		}
		sources, first := d.sources(id)
		edges += len(sources)
		for _, s := range sources {
			needed[first+int(s)] = true
		}
	}
	return needed, edges
}
