// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/posenc"
)

// session is one request at work: which node's KV it has, which it must encode
// and which another request is encoding.
type session struct {
	e     *Engine
	plan  *Plan
	scope *kvcache.Scope
	nodes []node
	query []source // what the query attends to, in canonical order
	job   *job
	// foreign lists the nodes that others encode, shallowest first once sorted. The session
	// waits for one only when none of its own flights can run, hence always for a
	// node shallower than every unfinished flight it owns, which rules out that
	// requests wait for one another in a circle.
	foreign []int32
	sorted  bool // foreign is
	// unasked lists own nodes that the lower tiers have not been asked for, and arriving
	// those that they had, of which the session does not know yet that all has come.
	// While one arrives its flight ends by itself, so others do not wait for the
	// session: it counts as a foreign one, but can be used already.
	unasked  []int32
	arriving []int32
	// woken lists nodes that have been claimed since the frontier was told, as what
	// repairs them turned out to be missing.
	woken   []int32
	encoded int // tokens
	fetched int // tokens
	// edges and keyed are memory that canonical and within use again.
	edges []edge
	keyed []kvcache.Source
}

// node is one node of the plan other than the query.
type node struct {
	key     kvcache.Key // of its KV
	name    kvcache.Key // under which its readers' keys have it; key unless it is in a group
	sources []source    // canonical order
	depth   int
	twin    int32   // the node whose KV holds this one's: an earlier one with the same key, the first of the group; or −1
	origin  int32   // the node that it repairs, or −1
	group   []int32 // of the first of a group: all of it in canonical order
	from    int     // first row in the KV
	rows    int     // of the KV
	tokens  int     // in the KV
	kv      *kvcache.KV
	handle  *kvcache.Handle // keeps kv valid once it is complete
	flight  *kvcache.Flight
	own     bool             // this session encodes it
	arrival *kvcache.Arrival // keeps kv valid that came from a lower tier
	arrived bool             // all of it
	claimed bool             // at least once
	asked   bool             // the lower tiers were asked, which is done once
	encoded bool             // by this session
	fetched bool             // by this session, from a lower tier
}

// source is an edge: a node, where it stands relative to its reader, and how it is read.
type source struct {
	node   int32
	shift  int32 // reader's base − source's base
	score  int32 // number in the layout
	ranked bool
}

// begin computes the keys of a plan's nodes and claims those that are not cached.
func (e *Engine) begin(p *Plan, options ...RunOption) (*session, error) {
	s, err := e.keyed(p, options...)
	if err != nil {
		return nil, err
	}
	idle := s.idle()
	s.claimAll(func(i int) bool { return !idle[i] })
	return s, nil
}

// idle marks the nodes that are there to be repaired and for nothing else. They are not
// needed where the repairs are cached, and claimed when one is to be encoded.
func (s *session) idle() []bool {
	idle := make([]bool, len(s.nodes))
	repairs := false
	for i := range s.nodes {
		if origin := s.nodes[i].origin; origin >= 0 {
			idle[s.index(origin)] = true
			repairs = true
		}
	}
	if !repairs {
		return idle
	}
	wake := func(sources []source) {
		for _, src := range sources {
			idle[s.index(src.node)] = false
		}
	}
	for i := range s.nodes {
		wake(s.nodes[i].sources)
	}
	wake(s.query)
	return idle
}

// claimAll claims the nodes that are wanted, as far as they are not cached. The sources
// of a wanted node must be wanted. The session is to be released.
func (s *session) claimAll(wanted func(int) bool) {
	for i := range s.nodes {
		if s.nodes[i].twin < 0 && wanted(i) && !s.claim(int32(i)) {
			s.waitFor(int32(i))
		}
	}
	s.e.scheduler.requests.Add(1)
}

// claim takes node i from the cache, or takes it on, or finds that another request
// is encoding it and returns false.
func (s *session) claim(i int32) bool {
	n := &s.nodes[i]
	n.claimed = true
	n.handle, n.flight, n.own = s.e.store.Claim(n.key)
	switch {
	case n.handle != nil:
		n.kv, n.flight = n.handle.KV(), nil
	case !n.own:
		return false
	case s.e.lower && !n.asked:
		n.asked = true
		s.unasked = append(s.unasked, i)
	default:
		s.wake(i)
	}
	return true
}

// wake claims what node i, which is to be encoded, repairs.
func (s *session) wake(i int32) {
	origin := s.nodes[i].origin
	if origin < 0 || s.node(origin).claimed {
		return
	}
	origin = s.index(origin)
	if !s.claim(origin) {
		s.waitFor(origin)
	}
	s.woken = append(s.woken, origin)
}

// release gives up everything the session holds. Unfinished flights fail, so that
// whoever waits for them takes them on.
func (s *session) release() {
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.own {
			n.flight.Fail(errGaveUp)
			n.own = false
		}
		if n.handle != nil {
			n.handle.Release()
			n.handle = nil
		}
		if n.arrival != nil {
			n.arrival.Release()
			n.arrival = nil
		}
	}
	s.e.scheduler.requests.Add(-1)
}

func (s *session) usage() Usage {
	prompt := 0
	for i := range s.nodes {
		prompt += len(s.plan.tokens[i])
	}
	return Usage{PromptTokens: prompt, EncodedTokens: s.encoded, CachedTokens: prompt - s.encoded, FetchedTokens: s.fetched}
}

// encode brings every node's KV to hand and, when there is one, encodes the query.
func (s *session) encode(ctx context.Context, query *model.Run) error {
	for {
		if err := s.fetch(ctx); err != nil {
			return err
		}
		err := s.compute(ctx, query)
		switch {
		case err == nil:
			query = nil
		case ctx.Err() != nil || !errors.Is(err, kvcache.ErrIncomplete):
			return err
		}
		lost := false
		for len(s.arriving) > 0 {
			here, err := s.settle(ctx)
			if err != nil {
				return err
			}
			lost = lost || !here
		}
		if err == nil && !lost {
			return nil
		}
	}
}

// compute encodes what is missing, level by level. The query, when there is one, joins
// the last batch. If the error wraps [kvcache.ErrIncomplete], a node that was arriving
// has not; compute can then be called again.
//
// A pass that waits for layers keeps other requests waiting. So nodes are used while
// they arrive only by a request that is alone.
func (s *session) compute(ctx context.Context, query *model.Run) error {
	s.woken = s.woken[:0]
	f := newFrontier(s.nodes, s.e.scheduler.requests.Load() == 1)
	for {
		ready := f.take()
		final := len(s.foreign) == 0 && (f.early || len(s.arriving) == 0)
		if len(ready) > 0 || final && query != nil {
			var q *model.Run
			if final {
				q = query
			}
			if err := s.run(ctx, ready, q); err != nil {
				return err
			}
		}
		if final {
			return nil
		}
		i, err := s.await(ctx, f.early)
		if err != nil {
			return err
		}
		for _, o := range s.woken {
			f.update(o)
		}
		s.woken = s.woken[:0]
		f.update(i)
	}
}

// await waits for a node that is arriving, unless such are used early, or else for the
// shallowest foreign flight.
func (s *session) await(ctx context.Context, early bool) (int32, error) {
	if !early && len(s.arriving) > 0 {
		i := s.arriving[0]
		if _, err := s.settle(ctx); err != nil {
			return 0, err
		}
		return i, s.fetch(ctx)
	}
	s.sortForeign()
	i := s.foreign[0]
	if err := s.wait(ctx); err != nil {
		return 0, err
	}
	return i, s.fetch(ctx)
}

// wait waits for the shallowest foreign flight. When its owner failed, this
// session claims the node anew and may come to own it.
func (s *session) wait(ctx context.Context) error {
	i := s.foreign[0]
	n := &s.nodes[i]
	h, err := n.flight.Wait(ctx)
	switch {
	case err == nil:
		n.handle, n.kv, n.flight = h, h.KV(), nil
		s.foreign = s.foreign[1:]
	case errors.Is(err, kvcache.ErrRetry):
		s.foreign = s.foreign[1:] // before the claim, which may add what the node repairs
		if !s.claim(i) {
			s.waitFor(i) // yet another request has it: wait again
		}
	default:
		return err
	}
	return nil
}

// run encodes nodes, and the query if it is given, in as few batches as fit.
func (s *session) run(ctx context.Context, nodes []int32, query *model.Run) error {
	b := batcher{session: s}
	s.job.waits = len(s.arriving) > 0
	for _, stage := range s.stages(nodes) {
		if err := s.repair(ctx, &b, stage.repairs); err != nil {
			return err
		}
		for _, i := range stage.whole {
			n := &s.nodes[i]
			n.kv = kvcache.NewKV(s.e.shape(), n.rows)
			var err error
			if n.group == nil {
				r := s.nodeRun(int(i))
				r.KV = n.kv
				err = b.add(ctx, r, i)
			} else {
				err = b.addGroup(ctx, i)
			}
			if err != nil {
				return err
			}
		}
	}
	if query != nil {
		query.Sources = s.sources(s.query)
		if err := b.add(ctx, *query, -1); err != nil {
			return err
		}
	}
	return b.flush(ctx)
}

// nodeRun returns the run that encodes node i, the query included, without a KV.
func (s *session) nodeRun(i int) model.Run {
	sources := s.query
	if i < len(s.nodes) {
		sources = s.nodes[i].sources
	}
	lo, hi := s.plan.layout.Group(i)
	return model.Run{
		Tokens: s.plan.tokens[i], Sources: s.sources(sources),
		Bidirectional: s.plan.layout.Node(i).Bidirectional, Whole: hi-lo > 1,
	}
}

// index returns i, or the earlier node that is the same.
func (s *session) index(i int32) int32 {
	if twin := s.nodes[i].twin; twin >= 0 {
		return twin
	}
	return i
}

// node returns node i, or the earlier one that is the same.
func (s *session) node(i int32) *node { return &s.nodes[s.index(i)] }

// sources points a run at the KV of what it attends to.
func (s *session) sources(list []source) []model.Source {
	out := make([]model.Source, len(list))
	for j, src := range list {
		n, score := &s.nodes[src.node], s.plan.layout.Score(posenc.Seen{Score: src.score})
		out[j] = model.Source{
			KV: s.node(src.node).kv, From: n.from, Len: len(s.plan.tokens[src.node]), Shift: int(src.shift), Ranked: src.ranked,
			Scale: score.Scale, Bias: score.Bias, Power: score.Power,
		}
	}
	return out
}

// checkPlan refuses a plan that this engine's model cannot run.
func (e *Engine) checkPlan(p *Plan) error {
	vocab := e.model.Config().Vocab
	for i, tokens := range p.tokens {
		for _, id := range tokens {
			if id < 0 || int(id) >= vocab {
				return &TokenError{Node: p.ids[i], Token: id, Vocab: vocab}
			}
		}
	}
	if heads := p.layout.Heads(); heads != 0 && heads != e.model.Config().Heads {
		return fmt.Errorf("graphkv: the plan's biases are for %d heads, the model has %d", heads, e.model.Config().Heads)
	}
	if tokens := p.layout.Tokens(); tokens > e.settings.promptTokens {
		return &PromptError{Tokens: tokens, Limit: e.settings.promptTokens}
	}
	if e.settings.longContext {
		return nil
	}
	return p.checkContext(e.model.Config().Context)
}
