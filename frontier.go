// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import "slices"

// frontier knows which nodes of a session can be encoded: those whose sources, and what
// they repair, are all at hand or can be encoded before them in the same call. It does work
// for every node and edge once, however many foreign flights the session waits for.
type frontier struct {
	nodes   []node
	early   bool    // a node that is arriving counts as at hand
	missing []int32 // per node: sources that are neither at hand nor can be encoded
	able    []bool  // per node: at hand, or can be encoded
	first   []int32 // per node: where its readers start in readers
	readers []int32
	ready   []int32 // own nodes that have become able since the last call of take
}

// newFrontier begins with every node that depends on no foreign flight.
func newFrontier(nodes []node, early bool) *frontier {
	f := &frontier{nodes: nodes, early: early, missing: make([]int32, len(nodes)), able: make([]bool, len(nodes)), first: make([]int32, len(nodes)+1)}
	f.edges(func(source, _ int32) { f.first[source+1]++ })
	for i := range nodes {
		f.first[i+1] += f.first[i]
	}
	f.readers = make([]int32, f.first[len(nodes)])
	next := slices.Clone(f.first)
	f.edges(func(source, reader int32) {
		f.readers[next[source]] = reader
		next[source]++
		f.missing[reader]++
	})
	for i := range nodes {
		f.update(int32(i))
	}
	return f
}

// edges calls do for every edge between nodes. A node whose KV is an earlier one's waits
// for that and nothing else; the first of a group waits for what the others see of other
// nodes.
func (f *frontier) edges(do func(source, reader int32)) {
	for i := range f.nodes {
		n := &f.nodes[i]
		if n.twin >= 0 {
			do(n.twin, int32(i))
			continue
		}
		for _, m := range n.members(int32(i)) {
			for _, s := range f.nodes[m].sources {
				if int(s.node) < i {
					do(s.node, int32(i))
				}
			}
		}
		if n.origin >= 0 {
			do(n.origin, int32(i))
		}
	}
}

// atHand reports whether node n's KV can be read, or will be by who begins to read it.
func (f *frontier) atHand(n *node) bool {
	return n.handle != nil || n.arrived || f.early && n.arrival != nil
}

// update is called when node i may have become able, because it or the last of its sources has.
func (f *frontier) update(i int32) {
	for stack := []int32{i}; len(stack) > 0; {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := &f.nodes[i]
		if f.able[i] || !f.atHand(n) && (f.missing[i] > 0 || n.twin < 0 && !n.own) {
			continue
		}
		f.able[i] = true
		if n.own {
			f.ready = append(f.ready, i)
		}
		for _, r := range f.readers[f.first[i]:f.first[i+1]] {
			if f.missing[r]--; f.missing[r] == 0 {
				stack = append(stack, r)
			}
		}
	}
}

// take returns the nodes that this session can encode now, in encoding order.
func (f *frontier) take() []int32 {
	ready := f.ready
	f.ready = nil
	slices.Sort(ready)
	return ready
}
