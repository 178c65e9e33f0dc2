// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"errors"
	"fmt"
)

// ErrBudget is wrapped by the error about a segment that alone has more tokens than
// a budget allows.
var ErrBudget = errors.New("over budget")

// Budget bounds the tokens that segments may have together. The zero Budget is no
// bound.
//
// Strategies that encode a segment more than once, and the prefix and the query,
// take tokens too: the limit is what is left for one copy of every segment.
type Budget struct {
	Limit   int   // tokens, at least 1; 0: no limit
	Lengths []int // tokens of every segment of the graph; nil: the numbers of its Tokens
}

// Fit drops segments from the front of a sequence, the least relevant first, until
// the rest is within the budget. What is kept is thus the longest end of the
// sequence that fits: everything kept is more relevant than everything dropped, and
// a larger limit only ever adds. When even the last segment alone does not fit the
// error wraps [ErrBudget]. The result is a view of the sequence.
func (g *Graph) Fit(sequence []int, b Budget) ([]int, error) {
	if err := g.checkBudget(b); err != nil {
		return nil, err
	}
	for _, i := range sequence {
		if err := g.checkIndex(i); err != nil {
			return nil, err
		}
	}
	if b.Limit == 0 {
		return sequence, nil
	}
	left := b.Limit
	for k := len(sequence) - 1; k >= 0; k-- {
		n := g.length(b, sequence[k])
		if n > left {
			if k == len(sequence)-1 {
				return nil, g.overBudget(b, sequence[k])
			}
			return sequence[k+1:], nil
		}
		left -= n
	}
	return sequence, nil
}

// length returns the tokens of a segment under a budget that has been checked.
func (g *Graph) length(b Budget, i int) int {
	if b.Lengths != nil {
		return b.Lengths[i]
	}
	return len(g.segments[i].Tokens)
}

func (g *Graph) overBudget(b Budget, i int) error {
	return &SegmentError{Index: i, ID: g.ID(i), Err: fmt.Errorf("%w: %d tokens, the limit is %d", ErrBudget, g.length(b, i), b.Limit)}
}

func (g *Graph) checkBudget(b Budget) error {
	switch {
	case b.Limit < 0:
		return fmt.Errorf("graph: budget of %d tokens, want at least 1, or 0 for no limit", b.Limit)
	case b.Limit == 0:
		return nil
	case b.Lengths != nil && len(b.Lengths) != g.Len():
		return fmt.Errorf("graph: budget with lengths of %d segments, there are %d", len(b.Lengths), g.Len())
	}
	for i, s := range g.segments {
		switch {
		case b.Lengths == nil && s.Text != "":
			return &SegmentError{Index: i, ID: s.ID, Err: fmt.Errorf("%w: it is text, and the budget has no lengths", ErrBadSegment)}
		case g.length(b, i) < 0:
			return &SegmentError{Index: i, ID: s.ID, Err: fmt.Errorf("%w: negative length %d", ErrBadSegment, b.Lengths[i])}
		}
	}
	return nil
}
