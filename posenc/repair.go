// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"errors"
	"fmt"
	"math"
)

// Repair says that a node starts from the keys and values of an earlier one with the same tokens, its origin, and that only
// some of its tokens are encoded: as tokens of this node, at its base, attending to its sources and, of the node itself, to
// what now stands before them, whether repaired or not. The others stay as they are in the origin.
//
// Which tokens is said by First or by Fraction; the zero Repair is none.
type Repair struct {
	Of int // index of the origin
	// First repairs so many of the first tokens (EPIC's LegoLink, Hu et al., 2024).
	First int
	// Fraction repairs, of n tokens, the ⌈Fraction·n⌉ whose keys and values in the second layer of the model, the first in
	// which they depend on what a token attends to, differ most from the origin's (CacheBlend, Yao et al., 2024): with k and v
	// as they would be if the node were encoded as a whole, and k′ and v′ of the origin, as they are stored, those of the
	// largest
	//
	//	Σ over heads and dimensions of (k − k′)² + (v − v′)²
	//
	// and of equals the earlier. Which these are is known when the node is encoded. It is above 0 and at most 1.
	Fraction float64
}

// IsZero reports whether r repairs nothing: the node is encoded as a whole.
func (r Repair) IsZero() bool { return r == Repair{} }

// fractionSlack is how much less than ⌈f·n⌉ may be meant by a fraction f that is not what it was written as: 0.07 of 100
// tokens are 7, although 0.07·100 > 7 in float64.
const fractionSlack = 1e-9

// Tokens returns how many of n ≥ 1 tokens are repaired: at least one, unless r is none.
func (r Repair) Tokens(n int) int {
	switch {
	case r.First > 0:
		return min(r.First, n)
	case r.Fraction > 0:
		return max(1, min(int(math.Ceil(r.Fraction*float64(n)-fractionSlack)), n))
	}
	return 0
}

// checkRepair says why n, which is to be added, cannot be the repair that it says it is.
func (b *LayoutBuilder) checkRepair(n Node) error {
	r := n.Repair
	if r.IsZero() {
		return nil
	}
	if r.Of < 0 || r.Of >= len(b.l.nodes) {
		return fmt.Errorf("it repairs node %d, which does not come earlier", r.Of)
	}
	origin := b.l.nodes[r.Of]
	fail := func(format string, args ...any) error {
		return fmt.Errorf("it repairs node %d (%s)"+format, append([]any{r.Of, origin}, args...)...)
	}
	lo, hi := b.l.Group(r.Of)
	switch {
	case n.Kind == QueryNode:
		return errors.New("the query is no repair of another node")
	case hi-lo > 1:
		return fail(", which is encoded together with others")
	case n.Bidirectional || origin.Bidirectional:
		return fail(": of a bidirectional node every token is encoded again")
	case !origin.Repair.IsZero():
		return fail(", which is a repair itself")
	case n.Len != origin.Len:
		return fail(" of %d tokens and has %d", origin.Len, n.Len)
	case r.First < 0 || r.First > n.Len:
		return fail(": the first %d tokens of %d", r.First, n.Len)
	case !(r.Fraction >= 0 && r.Fraction <= 1):
		return fail(": fraction %v, want more than 0 and at most 1", r.Fraction)
	case (r.First > 0) == (r.Fraction > 0):
		return fail(": want either the first tokens or a fraction")
	}
	return nil
}

// Encodes returns how many tokens of node i are encoded: all, or those that it repairs.
func (l *Layout) Encodes(i int) int {
	n := l.nodes[i]
	if n.Repair.IsZero() {
		return n.Len
	}
	return n.Repair.Tokens(n.Len)
}

// CacheBlend is Sequential with segments that are encoded alone, at base 0 and for every request the same, and of which then
// the given fraction of tokens is repaired (Yao et al., 2024): a segment's repair sees the prefix and what the segments
// before it have become, and the query sees the prefix and the repairs. A fraction of 0 is Block, 1 is Sequential. A segment
// with nothing before it has nothing to repair, and one whose tokens would all be repaired is encoded as a whole.
func CacheBlend(prefix int, segments []int, query int, fraction float64) (*Layout, error) {
	if !(fraction >= 0 && fraction <= 1) {
		return nil, fmt.Errorf("posenc: a fraction of %v to repair, want 0 to 1", fraction)
	}
	return repaired(prefix, segments, query, Repair{Fraction: fraction})
}

// EPIC is CacheBlend with the first so many tokens of every segment repaired, whatever they are (Hu et al., 2024: LegoLink).
// 0 is Block, the length of the longest segment is Sequential.
func EPIC(prefix int, segments []int, query, first int) (*Layout, error) {
	if first < 0 {
		return nil, fmt.Errorf("posenc: the first %d tokens to repair, want at least 0", first)
	}
	return repaired(prefix, segments, query, Repair{First: first})
}

func repaired(prefix int, segments []int, query int, how Repair) (*Layout, error) {
	if how.IsZero() {
		return Block(prefix, segments, query)
	}
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	edges := (n + 1) * (n + 2) / 2
	if err := in.check(prefix+in.sum+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(2*n+2, edges)
	p.addPrefix()
	base := prefix
	for s, length := range segments {
		repair := how
		repair.First = min(how.First, length)
		if len(p.query) == 0 || repair.Tokens(length) == length {
			p.show(p.segment(s, 0, base, p.query...), base)
		} else {
			repair.Of = p.segment(s, 0, 0)
			node := Node{Kind: SegmentNode, Segment: s, Round: 1, Base: base, Len: length, Repair: repair}
			p.show(p.add(node, p.query...), base)
		}
		base += length
	}
	return p.finish(base)
}
