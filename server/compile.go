// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"log/slog"

	"github.com/graphkv/graphkv"
)

// compile lowers a request within the limits. param is the field that is to blame for
// what the library refuses.
func (x *exchange) compile(param string, r *graphkv.Request) (*graphkv.Plan, error) {
	if n := len(r.Segments); n > x.limits.Segments {
		return nil, tooLarge(param, "too_many_segments", "the request has %d segments, the limit is %d", n, x.limits.Segments)
	}
	if n := x.limits.edges() / max(len(r.Edges), 1); r.Strategy == graphkv.DAG && r.Rounds > n {
		return nil, tooLarge(param, "too_many_edges", "%d edges in %d rounds, the limit is %d rounds", len(r.Edges), r.Rounds, n)
	}
	if len(r.Biases) > 0 {
		if err := x.checkBiases(param, r); err != nil {
			return nil, err
		}
	}
	p, err := x.engine.Compile(r)
	if err != nil {
		return nil, refused(param, err)
	}
	return p, x.checkPlan(param, p)
}

// checkPlan refuses a plan that is larger than plans may be here, or that the engine
// cannot run.
func (x *exchange) checkPlan(param string, p *graphkv.Plan) error {
	if n, most := p.Layout().NumEdges(), x.limits.edges(); n > most {
		return tooLarge(param, "too_many_edges", "the plan has %d edges, the limit is %d", n, most)
	}
	if n := p.Layout().Tokens(); n > x.limits.PromptTokens {
		return invalid(param, "prompt_too_long", "the request has %d tokens, the limit is %d", n, x.limits.PromptTokens)
	}
	if err := x.engine.Check(p); err != nil {
		return refused(param, err)
	}
	return nil
}

// maxBiasWork bounds the numbers that the biases of a request take to compute: about two
// seconds' worth, in which nothing interrupts a compilation.
const maxBiasWork = 1 << 30

// checkBiases refuses biases that would take long to compute, by the size of the plan
// without them.
func (x *exchange) checkBiases(param string, r *graphkv.Request) error {
	plain := *r
	plain.Biases = nil
	p, err := x.engine.Compile(&plain)
	if err != nil {
		return refused(param, err)
	}
	segments, edges := float64(len(r.Segments)), float64(p.Layout().NumEdges())
	heads := float64(x.engine.Model().Config().Heads)
	of := func(b graphkv.BiasGraph) float64 { // both ways
		if b.Edges == nil {
			return 2 * float64(len(r.Edges))
		}
		return 2 * float64(len(b.Edges))
	}
	work := 0.0
	for _, b := range r.Biases {
		work += edges * heads
		switch b := b.(type) {
		case graphkv.ALiBiBias:
			if b.Paths {
				work += segments * of(b.BiasGraph) // a search from every reader
			}
		case graphkv.ShortestPathBias:
			work += segments * of(b.BiasGraph)
		case graphkv.RandomWalkBias:
			// A step goes along all edges of the graph from every reader, and for an edge of the
			// plan as many numbers may meet as there are segments.
			work += float64(len(b.Weights)) * (segments*(of(b.BiasGraph)+edges) + edges*heads)
		}
	}
	if work > maxBiasWork {
		return tooLarge(param, "biases_too_large", "the biases take too long to compute for %d segments, %d edges between them and %d in the plan; have fewer, or fewer steps", len(r.Segments), len(r.Edges), p.Layout().NumEdges())
	}
	return nil
}

// logPrompt logs what was asked, if the operator wants that.
func (x *exchange) logPrompt(attrs func() []slog.Attr) {
	if x.prompts {
		x.log.LogAttrs(x.ctx, slog.LevelInfo, "prompt", append([]slog.Attr{slog.String("route", x.info.Route), slog.String("namespace", x.info.Namespace)}, attrs()...)...)
	}
}
