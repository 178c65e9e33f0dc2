// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"slices"
)

// SourceOptions say how [Graph.TopSources] chooses.
type SourceOptions struct {
	PageRank PageRank
	// Direct leaves only a target's own sources to choose from, which thins a graph
	// out. Otherwise everything that the walks reach is a candidate: a target may
	// come to read directly what it would have heard of over others.
	Direct bool
	// Budget bounds the tokens of a target together with its sources.
	Budget Budget
}

// TopSources returns the same segments, each with the at most m sources that rank
// highest in its personalised PageRank (as PPRGo chooses neighbours, Bojchevski et
// al. 2020), in ascending order of rank: the most relevant is the last. A budget
// drops the least relevant of them, as [Graph.Fit] does; a segment that alone does
// not fit is an error that wraps [ErrBudget].
//
// A segment can become its own source only where it is one in g. In the default
// direction every source is an ancestor, so a graph without cycles stays without.
func (g *Graph) TopSources(m int, o SourceOptions) (*Graph, error) {
	if m < 0 {
		return nil, fmt.Errorf("graph: top sources: negative number %d", m)
	}
	if err := g.checkBudget(o.Budget); err != nil {
		return nil, err
	}
	p, err := g.newPusher(o.PageRank)
	if err != nil {
		return nil, err
	}
	direct := make([]uint32, g.Len()) // 1 + the last target that it is a source of
	var source, target []uint32
	best := selection{m: min(m, g.Len())}
	for t := range g.segments {
		for _, s := range g.Sources(t) {
			direct[s] = uint32(t) + 1
		}
		p.seed(uint32(t), 1)
		p.push()
		best.begin()
		for _, s := range p.touched {
			if (o.Direct || int(s) == t) && direct[s] != uint32(t)+1 {
				continue
			}
			best.offer(Scored{Segment: int(s), Score: p.states[s].assigned})
		}
		p.reset()
		sources, err := g.afford(t, best.end(), o.Budget)
		if err != nil {
			return nil, err
		}
		if len(source)+len(sources) > MaxEdges {
			return nil, fmt.Errorf("graph: top sources: %w: the limit is %d edges", ErrTooLarge, uint64(MaxEdges))
		}
		for _, s := range sources {
			source, target = append(source, uint32(s.Segment)), append(target, uint32(t))
		}
	}
	return g.rewired(source, target)
}

// afford returns the end of the sources that fits a budget together with their target.
func (g *Graph) afford(target int, sources []Scored, b Budget) ([]Scored, error) {
	if b.Limit == 0 {
		return sources, nil
	}
	left := b.Limit - g.length(b, target)
	if left < 0 {
		return nil, g.overBudget(b, target)
	}
	for k := len(sources) - 1; k >= 0; k-- {
		if left -= g.length(b, sources[k].Segment); left < 0 {
			return sources[k+1:], nil
		}
	}
	return sources, nil
}

// selection keeps the m largest of what it is offered, in amortised O(log m) each.
type selection struct {
	m    int
	kept []Scored // up to 2m
	full bool     // at least m were offered, and bar is the least that can still count
	bar  Scored
}

func (s *selection) begin() { s.kept, s.full = s.kept[:0], false }

func (s *selection) offer(x Scored) {
	if s.m == 0 || s.full && ascending(x, s.bar) < 0 {
		return
	}
	s.kept = append(s.kept, x)
	if len(s.kept) >= 2*s.m {
		s.kept = append(s.kept[:0], s.end()...)
		s.full, s.bar = true, s.kept[0]
	}
}

// end returns the selected in ascending order.
func (s *selection) end() []Scored {
	slices.SortFunc(s.kept, ascending)
	return s.kept[max(0, len(s.kept)-s.m):]
}
