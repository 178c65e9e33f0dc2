// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
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
	// Targets are independent of each other: every worker takes a run of them.
	n := g.Len()
	workers := min(runtime.GOMAXPROCS(0), 1+n/minTargets)
	parts := make([]chooser, workers)
	var wg sync.WaitGroup
	for w := range parts {
		p, err := g.newPusher(o.PageRank)
		if err != nil {
			return nil, err
		}
		c := &parts[w]
		*c = chooser{g: g, o: o, pusher: p, direct: make([]uint32, n), best: selection{m: min(m, n)}}
		wg.Go(func() { c.err = c.choose(w*n/workers, (w+1)*n/workers) })
	}
	wg.Wait()
	var source, target []uint32
	for _, c := range parts {
		if c.err != nil {
			return nil, c.err
		}
		source, target = append(source, c.source...), append(target, c.target...)
	}
	return g.rewired(source, target)
}

// minTargets are as many as are worth a goroutine.
const minTargets = 256

// chooser chooses the sources of a run of targets.
type chooser struct {
	g              *Graph
	o              SourceOptions
	pusher         *pusher
	direct         []uint32 // 1 + the last target that it is a source of
	best           selection
	source, target []uint32 // the edges chosen
	err            error
}

func (c *chooser) choose(from, to int) error {
	p := c.pusher
	for t := from; t < to; t++ {
		for _, s := range c.g.Sources(t) {
			c.direct[s] = uint32(t) + 1
		}
		p.seed(uint32(t), 1)
		p.push()
		c.best.begin()
		for _, s := range p.touched {
			if (c.o.Direct || int(s) == t) && c.direct[s] != uint32(t)+1 {
				continue
			}
			c.best.offer(Scored{Segment: int(s), Score: p.states[s].assigned})
		}
		p.reset()
		sources, err := c.g.afford(t, c.best.end(), c.o.Budget)
		if err != nil {
			return err
		}
		for _, s := range sources {
			c.source, c.target = append(c.source, uint32(s.Segment)), append(c.target, uint32(t))
		}
	}
	return nil
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
