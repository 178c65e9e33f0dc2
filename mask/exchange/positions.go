// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"fmt"

	"github.com/graphkv/graphkv/posenc"
)

// PositionError says why a layout has no table of one position per token: a node stands at different places for different
// readers.
type PositionError struct {
	Node, Reader         int    // indices into the layout
	NodeName, ReaderName string // their names
	Base                 int    // where the reader sees the node
	Other                int    // where it stands for the reader by the other edges that join them
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("exchange: %s sees %s at %d, but by the other edges that join them it stands at %d: one position per token cannot say both",
		e.ReaderName, e.NodeName, e.Base, e.Other)
}

// Places returns one position for the first token of every node, such that every reader is as far from each of its sources
// as the layout wants it, and the query stands at its base; or a *PositionError that names a node with name, nil for the
// layout's own names. Rotary positions are relative, so the attention over tokens that stand there is the layout's. Where a
// place would be negative, all are moved up alike. Time is proportional to nodes plus edges.
func Places(l *posenc.Layout, name func(node int) string) ([]int, error) {
	if name == nil {
		name = func(node int) string { return l.Node(node).String() }
	}
	// Nodes that an edge joins hang together. Each is a tree: a node's place is its parent's plus by.
	n := l.Len()
	parent, by := make([]int32, n), make([]int, n)
	for i := range parent {
		parent[i] = int32(i)
	}
	find := func(i int32) (root int32, place int) {
		for root = i; parent[root] != root; root = parent[root] {
			place += by[root]
		}
		for left := place; parent[i] != root && i != root; { // hang what was passed directly below the root
			next, step := parent[i], by[i]
			parent[i], by[i] = root, left
			left -= step
			i = next
		}
		return root, place
	}
	rank := make([]int32, n)
	for i := range n {
		for _, s := range l.Sees(i) {
			if s.Ranked {
				return nil, fmt.Errorf("exchange: %s lays its sources out anew in every layer, so %s has no place", name(i), name(int(s.Node)))
			}
			apart := l.Node(i).Base - int(s.Base) // from the source up to the reader
			a, pa := find(int32(i))
			b, pb := find(s.Node)
			if a == b {
				if pa-pb != apart {
					return nil, &PositionError{
						Node: int(s.Node), Reader: i, NodeName: name(int(s.Node)), ReaderName: name(i),
						Base: int(s.Base), Other: l.Node(i).Base - (pa - pb),
					}
				}
				continue
			}
			// place(i) = place(a) + pa must be place(b) + pb + apart
			if rank[a] < rank[b] {
				parent[a], by[a] = b, pb+apart-pa
				rank[b] = max(rank[b], rank[a]+1)
			} else {
				parent[b], by[b] = a, pa-pb-apart
				rank[a] = max(rank[a], rank[b]+1)
			}
		}
	}
	places, anchor := make([]int, n), make(map[int32]int)
	lowest := 0
	for i := n - 1; i >= 0; i-- { // the query is last, and anchors what hangs together with it
		root, place := find(int32(i))
		at, ok := anchor[root]
		if !ok {
			at = l.Node(i).Base - place
			anchor[root] = at
		}
		places[i] = at + place
		lowest = min(lowest, places[i])
	}
	for i := range places {
		places[i] -= lowest
	}
	return places, nil
}

// PositionIDs returns [Places] token by token.
func PositionIDs(l *posenc.Layout, name func(node int) string) ([]int64, error) {
	places, err := Places(l, name)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, 0, l.Tokens())
	for i, at := range places {
		for t := range l.Node(i).Len {
			ids = append(ids, int64(at+t))
		}
	}
	return ids, nil
}
