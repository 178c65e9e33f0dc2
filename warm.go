// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import "context"

// Warm is Prepare for a corpus that is encoded ahead of time: it encodes the nodes of a
// plan, its query apart, that no tier has, and leaves the others where they are. To see
// whether a tier has a node costs a look at its key; only what a missing node attends
// to, or repairs, is fetched. So a corpus can be warmed again and again, and quickly where it was
// before.
//
// Requests in any number may run at the same time, and share passes. Writes to the
// lower tiers are queued; see [Engine.Flush].
func (e *Engine) Warm(ctx context.Context, p *Plan, options ...RunOption) (Usage, error) {
	if err := p.check(); err != nil {
		return Usage{}, err
	}
	if err := e.enter(); err != nil {
		return Usage{}, err
	}
	defer e.running.Done()
	s, err := e.keyed(p, options...)
	if err != nil {
		return Usage{}, err
	}
	wanted, err := s.lacking(ctx)
	if err != nil {
		return Usage{}, err
	}
	s.claimAll(func(i int) bool { return wanted[i] })
	defer s.release()
	if err := s.encode(ctx, nil); err != nil {
		return Usage{}, err
	}
	return s.usage(), nil
}

// lacking marks the nodes that no tier has, and all that they depend on: what a tier
// has now it may not have any more when it is fetched.
func (s *session) lacking(ctx context.Context) ([]bool, error) {
	wanted := make([]bool, len(s.nodes))
	for i := len(s.nodes) - 1; i >= 0; i-- {
		n := &s.nodes[i]
		if n.twin >= 0 {
			wanted[n.twin] = wanted[n.twin] || wanted[i]
			continue
		}
		if !wanted[i] {
			has, err := s.e.store.Has(ctx, n.key)
			if err != nil {
				return nil, err
			}
			wanted[i] = !has
		}
		if !wanted[i] {
			continue
		}
		for _, m := range n.members(int32(i)) {
			for _, src := range s.nodes[m].sources {
				wanted[src.node] = true
			}
		}
		if n.origin >= 0 {
			wanted[n.origin] = true
		}
	}
	return wanted, nil
}
