// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"slices"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/posenc"
)

// keyed computes the keys of a plan's nodes.
func (e *Engine) keyed(p *Plan, options ...RunOption) (*session, error) {
	if err := e.checkPlan(p); err != nil {
		return nil, err
	}
	last := p.layout.Query()
	r := running{namespace: e.naming.Namespace}
	for _, o := range options {
		if o != nil {
			o(&r)
		}
	}
	s := &session{e: e, plan: p, scope: e.scopeOf(r.namespace), nodes: make([]node, last), job: newJob()}
	s.job.namespace = r.namespace
	seen := make(map[kvcache.Key]int32, last)
	for i := 0; i < last; {
		lo, hi := p.layout.Group(i)
		if hi-lo > 1 {
			s.join(lo, hi)
		} else {
			s.single(i)
		}
		n := &s.nodes[i]
		n.twin = -1
		if twin, ok := seen[n.key]; ok {
			for ; lo < hi; lo++ {
				s.nodes[lo].twin = twin
			}
		} else {
			seen[n.key] = int32(i)
		}
		i = hi
	}
	s.query, _ = s.canonical(last)
	s.edges, s.keyed = nil, nil
	return s, nil
}

// single keys node i, which is encoded by itself.
func (s *session) single(i int) {
	n := &s.nodes[i]
	var keyed []kvcache.Source
	n.sources, keyed = s.canonical(i)
	n.origin = -1
	if r := s.plan.layout.Node(i).Repair; !r.IsZero() {
		n.origin = int32(r.Of)
		n.depth = s.nodes[r.Of].depth + 1
	}
	n.key = s.scope.KeyAs(s.form(i), s.plan.tokens[i], keyed)
	n.name = n.key
	n.tokens = len(s.plan.tokens[i])
	n.rows = n.tokens
	for _, src := range n.sources {
		n.depth = max(n.depth, s.nodes[src.node].depth+1)
	}
}

// scopeOf returns the scope of a namespace.
func (e *Engine) scopeOf(namespace string) *kvcache.Scope {
	if namespace == e.naming.Namespace {
		return e.scope
	}
	c := e.naming
	c.Namespace = namespace
	return kvcache.NewScope(c)
}

// edge is a source as the layout has it, and as keys do.
type edge struct {
	key  kvcache.Source
	seen posenc.Seen
}

// canonical returns node i's sources in the order in which they are hashed and
// summed: sources that share a position range form a set, so the order in which a
// request lists them must change neither the key nor the last bit of the result. The
// second list, for a key, is good until the next call.
func (s *session) canonical(i int) ([]source, []kvcache.Source) {
	s.edges, s.keyed = s.edges[:0], s.keyed[:0]
	for _, seen := range s.plan.layout.Sees(i) {
		s.edges = append(s.edges, edge{s.keyOf(i, seen), seen})
	}
	slices.SortStableFunc(s.edges, func(a, b edge) int { return a.key.Compare(b.key) })
	sources := make([]source, len(s.edges))
	for j, x := range s.edges {
		sources[j] = source{node: x.seen.Node, shift: int32(-x.key.Base), score: x.seen.Score, ranked: x.seen.Ranked}
		s.keyed = append(s.keyed, x.key)
	}
	return sources, s.keyed
}

// form names how a node is encoded if not causally and as a whole, for its key.
func (s *session) form(i int) string {
	n := s.plan.layout.Node(i)
	switch {
	case n.Bidirectional:
		return "bidirectional"
	case !n.Repair.IsZero():
		return repairForm(n.Repair, n.Len, s.nodes[n.Repair.Of].key)
	}
	return ""
}

// keyOf returns a source of node i for a key.
func (s *session) keyOf(i int, seen posenc.Seen) kvcache.Source {
	score := s.plan.layout.Score(seen)
	return kvcache.Source{
		Key: s.nodes[seen.Node].name, Base: int(seen.Base) - s.plan.layout.Node(i).Base,
		Scale: score.Scale, Bias: score.Bias, Power: score.Power, Ranked: seen.Ranked,
	}
}
