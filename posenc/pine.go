// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

// PINE lets every segment see every other, in no order (Position-INvariant inferencE, Wang et al., 2024). The segments are
// encoded together. Each sees the prefix, all other segments entirely and itself causally; the others stand end to end
// after the prefix in the order of their importance to it, see [Seen], and it follows the last of them:
//
//	position of segment i's token t:                   P + ΣL − L_i + t
//	position of segment j's token t, as i sees it:     P + ΣL − L_i − Σ{L_k : k ≠ i at least as important as j} + t
//
// The query stands at P + ΣL and sees the prefix and all segments in the same way, every token of it, and of the answer, in
// an order of its own. There are n² edges, or n more with a prefix.
//
// Where the published code orders the sources of every attention head by themselves, here heads vote by the mean of their
// importances, as a source has one place for all heads.
func PINE(prefix int, segments []int, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	edges := n*n + n + 1
	if err := in.check(prefix+in.sum+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(n+2, edges)
	p.addPrefix()
	if n > 0 {
		first := p.b.Len()
		nodes, sees := make([]Node, n), make([][]Seen, n)
		all := make([]Seen, 0, n*(n-1+len(p.query)))
		for s, length := range segments {
			nodes[s] = Node{Kind: SegmentNode, Segment: s, Base: prefix + in.sum - length, Len: length}
			from := len(all)
			all = append(all, p.query[:first]...) // the prefix
			for other := range segments {
				if other != s {
					all = append(all, Seen{Node: int32(first + other), Base: int32(prefix), Ranked: true})
				}
			}
			sees[s] = all[from:]
		}
		if _, err := p.b.AddGroup(nodes, sees); err != nil {
			return nil, err
		}
		for s := range segments {
			p.query = append(p.query, Seen{Node: int32(first + s), Base: int32(prefix), Ranked: true})
		}
	}
	return p.finish(prefix + in.sum)
}
