// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/model"
)

// rateBatches is over how many full batches, or the work of as many in smaller ones,
// the rate of encoding is averaged.
const rateBatches = 16

// encodeRate is how long encoding takes: an average over the latest passes, in which
// each counts as much as it had work. Work is in multiplications, see
// [model.Config.Work].
type encodeRate struct {
	work, seconds float64       // of the scheduler's goroutine
	unit          atomic.Uint64 // seconds per multiplication, the bits of a float64
}

// add counts a pass in. The average reaches back over window.
func (r *encodeRate) add(work, seconds, window float64) {
	r.work += work
	r.seconds += seconds
	if r.work > window {
		r.seconds *= window / r.work
		r.work = window
	}
	r.unit.Store(math.Float64bits(r.seconds / r.work))
}

// estimate returns how many seconds work takes, 0 before anything was measured.
func (r *encodeRate) estimate(work float64) float64 {
	return work * math.Float64frombits(r.unit.Load())
}

// measure counts the pass that is over in, if it encoded something and did not wait
// for layers.
func (s *scheduler) measure() {
	work, encodes := 0.0, false
	for _, j := range s.batch {
		if j.waits {
			return
		}
		encodes = encodes || !j.next
		for _, r := range j.runs {
			if r.Probe != nil { // which is work of another kind
				return
			}
		}
		work += j.work
	}
	if encodes {
		s.rate.add(work, s.took.Seconds(), rateBatches*s.model.Config().Work(s.limit, 0))
	}
}

// shortPass is how long a pass may encode while answers grow, whose next tokens wait for
// its end: a reader does not notice, and larger passes are hardly more efficient.
const shortPass = 50 * time.Millisecond

// passWork returns the multiplications that a pass may encode with: no limit, or what
// shortPass has room for at the latest rate.
func (s *scheduler) passWork() float64 {
	if second := s.rate.estimate(1); second > 0 && s.answering.Load() > 0 {
		return shortPass.Seconds() / second
	}
	return math.Inf(1)
}

// work returns the multiplications of a run.
func (s *scheduler) work(r model.Run) float64 {
	c := s.model.Config()
	return c.Work(len(r.Tokens), pairs(r))*share(r, c.Layers) + float64(c.Hidden)*float64(len(r.Logits))
}

// share returns which part of a model of so many layers a run goes through.
func share(r model.Run, layers int) float64 {
	if r.Layers == 0 {
		return 1
	}
	return float64(r.Layers-1) / float64(layers) // of the last only the keys and values
}

// pairs returns the number of keys that the tokens of a run attend to together.
func pairs(r model.Run) int64 {
	n := int64(len(r.Tokens))
	keys := int64(r.At)
	for _, s := range r.Sources {
		keys += int64(s.Tokens())
	}
	return n*keys + n*(n+1)/2
}

// encodeSeconds estimates how long node i, or its group, takes to encode when its
// sources, and what it repairs, are at hand, 0 before anything was measured.
func (s *session) encodeSeconds(i int32) float64 {
	all := 0.0
	for _, m := range s.nodes[i].members(i) {
		all += s.encodeWork(m, len(s.plan.tokens[m]))
	}
	if s.nodes[i].origin >= 0 {
		part := s.encodeWork(i, s.plan.layout.Encodes(int(i)))
		if s.compares(i) {
			part += all * share(model.Run{Layers: compareLayers}, s.e.model.Config().Layers)
		}
		all = part
	}
	return s.e.scheduler.rate.estimate(all)
}

// encodeWork returns how many multiplications it takes to encode the last tokens of node
// i.
func (s *session) encodeWork(i int32, tokens int) float64 {
	n, own := int64(tokens), int64(len(s.plan.tokens[i]))
	pairs := n*own - n*(n-1)/2
	for _, src := range s.nodes[i].sources {
		pairs += n * int64(len(s.plan.tokens[src.node]))
	}
	return s.e.model.Config().Work(tokens, pairs)
}
