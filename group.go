// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// Nodes that are encoded together (see [posenc.Layout.Group]) are one node of a session:
// they have one key, one flight and one KV, in which their rows stand one after the
// other. The first of them stands for all; it is the twin of the others.
//
// What a member's keys and values are depends on its tokens, on what it sees, and so on,
// but not on the order in which a request lists the members. So the key must not either.
// It is found by refining colours (Weisfeiler and Leman): a member's first colour is
// the key that it would have if it saw nothing of the group, and every round makes its
// next colour of its own and of those of the members that it sees, with their places and
// scores. That is a round of message passing with hashes for messages, and layers of a
// transformer are such rounds as well: once a round tells no more members apart than the
// one before, members of one colour read sources of the same colours from the same
// places, in every layer, for as long as it goes on. They hold the same numbers to the
// last bit if sources are summed in the order of their colours, and may stand in for one
// another. Members are put in the order of their colours, and the key is the hash of all
// colours in this order.

// maxRounds is how often colours are refined. Only structures with long chains of equal
// texts need more; their keys then depend on the order in which the members are listed.
const maxRounds = 64

// join keys the group of nodes [lo, hi), puts its members in order, and gives them
// their places in the KV and their names, by which readers know them.
func (s *session) join(lo, hi int) {
	colours := s.colour(lo, hi)
	order := make([]int32, hi-lo)
	for m := range order {
		order[m] = int32(m)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return bytes.Compare(colours[a][:], colours[b][:]) })
	all := make([]kvcache.Source, len(order))
	for k, m := range order {
		all[k].Key = colours[m]
	}
	first := &s.nodes[lo]
	first.key = s.scope.KeyAs("group", nil, all)
	rows := 0
	for k, m := range order {
		order[k] += int32(lo)
		n := &s.nodes[order[k]]
		n.from = rows
		n.name = s.scope.KeyAs("member of "+string(first.key[:]), nil, []kvcache.Source{{Key: colours[m]}})
		end := rows + len(s.plan.tokens[order[k]])
		first.rows, first.tokens = end, first.tokens+end-rows
		rows = (end + attention.PanelKeys - 1) / attention.PanelKeys * attention.PanelKeys
	}
	first.group = order
	for i := lo; i < hi; i++ {
		n := &s.nodes[i]
		n.twin, n.origin = int32(lo), -1
		n.sources, _ = s.canonical(i)
		for _, src := range n.sources {
			if int(src.node) < lo {
				first.depth = max(first.depth, s.nodes[src.node].depth+1)
			}
		}
	}
	for i := lo; i < hi; i++ {
		s.nodes[i].depth = first.depth
	}
}

// colour returns the colours of the group of nodes [lo, hi).
func (s *session) colour(lo, hi int) []kvcache.Key {
	colours := make([]kvcache.Key, hi-lo)
	for m := range colours {
		colours[m] = s.scope.KeyAs("grouped "+s.form(lo+m), s.plan.tokens[lo+m], s.within(lo+m, 0, lo, nil))
	}
	for round, before := 1, distinct(colours); ; round++ {
		if round > maxRounds {
			for m := range colours {
				colours[m] = s.scope.KeyAs(fmt.Sprint("listed ", m), nil, []kvcache.Source{{Key: colours[m]}})
			}
			before = len(colours)
		}
		colours = s.refine(lo, colours)
		now := distinct(colours)
		if now == before {
			return colours
		}
		before = now
	}
}

// refine makes every colour depend on those of the members that its own sees.
func (s *session) refine(lo int, colours []kvcache.Key) []kvcache.Key {
	next := make([]kvcache.Key, len(colours))
	for m := range next {
		next[m] = s.scope.KeyAs("seen from "+string(colours[m][:]), nil, s.within(lo+m, lo, lo+len(colours), colours))
	}
	return next
}

// within returns those sources of node i that are nodes [lo, hi), for a key; named by their
// colours if these are given. The list is good until the next call.
func (s *session) within(i, lo, hi int, colours []kvcache.Key) []kvcache.Source {
	s.keyed = s.keyed[:0]
	for _, seen := range s.plan.layout.Sees(i) {
		if int(seen.Node) < lo || int(seen.Node) >= hi {
			continue
		}
		src := s.keyOf(i, seen)
		if colours != nil {
			src.Key = colours[int(seen.Node)-lo]
		}
		s.keyed = append(s.keyed, src)
	}
	return s.keyed
}

// distinct returns the number of distinct colours.
func distinct(colours []kvcache.Key) int {
	set := make(map[kvcache.Key]struct{}, len(colours))
	for _, c := range colours {
		set[c] = struct{}{}
	}
	return len(set)
}

// members returns the nodes whose rows node i's KV holds: i, or all of its group.
func (n *node) members(i int32) []int32 {
	if n.group != nil {
		return n.group
	}
	return []int32{i}
}
