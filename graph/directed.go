// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/simple"
)

var (
	_ gonum.Directed   = (*Graph)(nil)
	_ gonum.Nodes      = (*nodes)(nil)
	_ gonum.NodeSlicer = (*nodes)(nil)
)

// Node is a segment as a gonum node; its gonum id is the dense index. Nodes of
// one graph compare equal when they are the same segment.
type Node struct {
	g *Graph
	i int
}

// ID returns the dense index.
func (n Node) ID() int64 { return int64(n.i) }

// Segment returns the segment.
func (n Node) Segment() Segment { return n.g.segments[n.i] }

// Node returns the node with the given dense index, or nil if there is none. It
// is part of gonum's graph.Graph, as are the methods below.
func (g *Graph) Node(id int64) gonum.Node {
	if !g.has(id) {
		return nil
	}
	return Node{g, int(id)}
}

// Nodes returns all nodes in order of insertion.
func (g *Graph) Nodes() gonum.Nodes { return newNodes(g, nil, g.Len()) }

// From returns the targets of a node in ascending order.
func (g *Graph) From(id int64) gonum.Nodes {
	if !g.has(id) {
		return gonum.Empty
	}
	row := g.Targets(int(id))
	return newNodes(g, row, len(row))
}

// To returns the sources of a node in the order in which the edges were added.
func (g *Graph) To(id int64) gonum.Nodes {
	if !g.has(id) {
		return gonum.Empty
	}
	row := g.Sources(int(id))
	return newNodes(g, row, len(row))
}

// HasEdgeFromTo reports whether there is an edge from u to v.
func (g *Graph) HasEdgeFromTo(uid, vid int64) bool {
	return g.has(uid) && g.has(vid) && g.HasEdge(int(uid), int(vid))
}

// HasEdgeBetween reports whether there is an edge between x and y, either way.
func (g *Graph) HasEdgeBetween(xid, yid int64) bool {
	return g.HasEdgeFromTo(xid, yid) || g.HasEdgeFromTo(yid, xid)
}

// Edge returns the edge from u to v, or nil if there is none.
func (g *Graph) Edge(uid, vid int64) gonum.Edge {
	if !g.HasEdgeFromTo(uid, vid) {
		return nil
	}
	return simple.Edge{F: Node{g, int(uid)}, T: Node{g, int(vid)}}
}

// has compares as int64: an id need not fit an int.
func (g *Graph) has(id int64) bool { return id >= 0 && id < int64(g.Len()) }

// nodes iterates over a row, or over 0 … n−1 when row is nil, without a copy.
type nodes struct {
	g   *Graph
	row []uint32
	n   int
	at  int // place of the current node
}

func newNodes(g *Graph, row []uint32, n int) gonum.Nodes {
	if n == 0 {
		return gonum.Empty
	}
	return &nodes{g: g, row: row, n: n, at: -1}
}

func (it *nodes) Len() int { return max(0, it.n-it.at-1) }

func (it *nodes) Next() bool {
	if it.at < it.n {
		it.at++
	}
	return it.at < it.n
}

func (it *nodes) Reset() { it.at = -1 }

func (it *nodes) Node() gonum.Node {
	if it.at < 0 || it.at >= it.n {
		return nil
	}
	return it.node(it.at)
}

// NodeSlice returns the nodes that are left and ends the iteration.
func (it *nodes) NodeSlice() []gonum.Node {
	if it.Len() == 0 {
		it.at = it.n
		return nil
	}
	out := make([]gonum.Node, 0, it.Len())
	for i := it.at + 1; i < it.n; i++ {
		out = append(out, it.node(i))
	}
	it.at = it.n
	return out
}

func (it *nodes) node(i int) Node {
	if it.row != nil {
		i = int(it.row[i])
	}
	return Node{it.g, i}
}
