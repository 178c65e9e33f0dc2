// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Scored is a segment with a number that says how relevant it is.
type Scored struct {
	Segment int
	Score   float64
}

// PageRank is how [Graph.PersonalizedPageRank] walks; the zero value walks from a
// target to its sources with the usual constants.
type PageRank struct {
	// Restart is the probability with which a walk goes back to its seeds before a
	// step, in (0, 1); one less the damping factor. 0 means 0.15.
	Restart float64
	// Epsilon says where to stop: when no segment holds more than Epsilon of
	// unassigned probability for each of its neighbours. 0 means 1e-4. The time, but
	// for the first step from the seeds, is O(1/(Restart·Epsilon)) whatever the size
	// of the graph.
	Epsilon   float64
	Direction Direction
}

const (
	defaultRestart = 0.15
	defaultEpsilon = 1e-4
)

// checked fills in defaults.
func (p PageRank) checked() (PageRank, error) {
	if p.Restart == 0 {
		p.Restart = defaultRestart
	}
	if p.Epsilon == 0 {
		p.Epsilon = defaultEpsilon
	}
	switch {
	case !(p.Restart > 0 && p.Restart < 1):
		return p, fmt.Errorf("restart probability %v, want more than 0 and less than 1", p.Restart)
	case !(p.Epsilon > 0 && p.Epsilon < 1):
		return p, fmt.Errorf("epsilon %v, want more than 0 and less than 1", p.Epsilon)
	}
	return p, nil
}

// Ranking is an approximate personalised PageRank.
type Ranking struct {
	// Scores lists every segment that was reached, in ascending order of score, so
	// that its segments are a sequence; among equals the larger index comes first.
	Scores []Scored
	// Missing is the probability that has not been assigned. No score is too large,
	// none is too small by more than Missing, and all together are by exactly that.
	Missing float64
}

// Sequence returns the segments, the most relevant last.
func (r Ranking) Sequence() []int {
	out := make([]int, len(r.Scores))
	for k, s := range r.Scores {
		out[k] = s.Segment
	}
	return out
}

// PersonalizedPageRank ranks segments by how often a random walk is at them that
// restarts at the seeds, each with probability proportional to its score: the
// stationary π = Restart·s + (1−Restart)·π·P, with P the transitions to neighbours
// of equal probability. Where a segment has no neighbour the walk restarts. With
// the default direction the walk goes from targets to sources, so what ranks high
// is what the seeds have most to read from, over one edge or many. Scores add up to
// 1 − Missing.
//
// It is computed by pushing (Andersen, Chung and Lang 2006): only what is near the
// seeds is visited.
func (g *Graph) PersonalizedPageRank(seeds []Scored, o PageRank) (Ranking, error) {
	p, err := g.newPusher(o)
	if err != nil {
		return Ranking{}, err
	}
	var sum float64
	for _, s := range seeds {
		if err := g.checkIndex(s.Segment); err != nil {
			return Ranking{}, err
		}
		if !(s.Score >= 0) || math.IsInf(s.Score, 0) {
			return Ranking{}, &SegmentError{Index: s.Segment, ID: g.ID(s.Segment), Err: fmt.Errorf("seed score %v, want a finite number of at least 0", s.Score)}
		}
		sum += s.Score
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return Ranking{}, fmt.Errorf("graph: the scores of the seeds add up to %v, want a finite number above 0", sum)
	}
	for _, s := range seeds {
		if s.Score > 0 {
			p.seed(uint32(s.Segment), s.Score/sum)
		}
	}
	factor, missing := p.push()
	r := Ranking{Scores: make([]Scored, 0, len(p.touched)), Missing: missing}
	for _, i := range p.touched {
		r.Scores = append(r.Scores, Scored{Segment: int(i), Score: p.states[i].assigned * factor})
	}
	slices.SortFunc(r.Scores, ascending)
	return r, nil
}

// pusher approximates personalised PageRanks, one after the other. Between two of
// them no segment holds any probability, so that each costs what it visits only.
type pusher struct {
	row     func(int) []uint32
	restart float64
	states  []pushState
	touched []uint32 // segments that hold probability
	queue   []uint32 // segments whose residual is above the threshold
	lost    float64  // probability that came to an end where there is no neighbour
}

// pushState is what a segment holds. One that is touched holds more than 0.
type pushState struct {
	assigned  float64
	residual  float64 // not assigned yet: on its way through
	threshold float64 // of the residual
}

func (g *Graph) newPusher(o PageRank) (*pusher, error) {
	row, err := g.rows(o.Direction)
	if err == nil {
		o, err = o.checked()
	}
	if err != nil {
		return nil, fmt.Errorf("graph: PageRank: %w", err)
	}
	p := &pusher{row: row, restart: o.Restart, states: make([]pushState, g.Len())}
	for i := range p.states {
		p.states[i].threshold = o.Epsilon * float64(max(1, len(row(i))))
	}
	return p, nil
}

// seed puts probability on a segment from which walks start. It is pushed however
// little that is.
func (p *pusher) seed(i uint32, probability float64) {
	s := &p.states[i]
	if s.residual == 0 {
		p.touched = append(p.touched, i)
	}
	s.residual += probability
	p.queue = append(p.queue, i)
}

// push assigns probability until no residual is above its threshold. Of what is left
// every segment is sure to get the part that restarts from it; the rest is missing.
// What is lost where there is no neighbour would restart and be spread like
// everything else, so it is made up for by one factor.
func (p *pusher) push() (factor, missing float64) {
	for at := 0; at < len(p.queue); at++ {
		i := p.queue[at]
		r := p.states[i].residual
		if r == 0 {
			continue // a seed that was queued twice
		}
		p.states[i].residual = 0
		p.states[i].assigned += p.restart * r
		row := p.row(int(i))
		if len(row) == 0 {
			p.lost += (1 - p.restart) * r
			continue
		}
		share := (1 - p.restart) * r / float64(len(row))
		for _, j := range row {
			s := &p.states[j]
			before := s.residual
			if before == 0 && s.assigned == 0 {
				p.touched = append(p.touched, j)
			}
			s.residual = before + share
			// A segment that was above its threshold is in the queue already.
			if s.residual > s.threshold && before <= s.threshold {
				p.queue = append(p.queue, j)
			}
		}
	}
	for _, i := range p.touched {
		s := &p.states[i]
		s.assigned += p.restart * s.residual
		missing += (1 - p.restart) * s.residual
	}
	factor = 1 / (1 - p.lost)
	return factor, missing * factor
}

// reset makes ready for other seeds.
func (p *pusher) reset() {
	for _, i := range p.touched {
		p.states[i].assigned, p.states[i].residual = 0, 0
	}
	p.touched, p.queue, p.lost = p.touched[:0], p.queue[:0], 0
}

// ascending orders by score and puts the larger index first among equals.
func ascending(a, b Scored) int {
	return cmp.Or(cmp.Compare(a.Score, b.Score), cmp.Compare(b.Segment, a.Segment))
}
