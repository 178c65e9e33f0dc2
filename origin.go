// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

// Origin says where a request got a node's keys and values from.
type Origin string

const (
	Encoded Origin = "encoded" // computed for this request
	Fetched Origin = "fetched" // from a tier below memory
	// Cached ones were in memory, or computed for another request meanwhile; or are only
	// there to be repaired, and what repairs them was at hand.
	Cached Origin = "cached"
)

// NodeOrigin is a node of a plan and where it came from.
type NodeOrigin struct {
	ID     string `json:"id"`
	Tokens int    `json:"tokens"`
	Origin Origin `json:"origin"`
}

// OnPrepared calls f when all of the plan's nodes are at hand and the query is encoded,
// before the first token of the answer: with every node in encoding order, the query
// last. f must return soon.
func OnPrepared(f func([]NodeOrigin)) GenerateOption {
	return generateOption(func(g *generation) { g.prepared = f })
}

// origins says where the nodes came from.
func (s *session) origins() []NodeOrigin {
	out := make([]NodeOrigin, s.plan.Len())
	for i := range out {
		out[i] = NodeOrigin{ID: s.plan.ids[i], Tokens: len(s.plan.tokens[i]), Origin: Encoded}
		if i == len(s.nodes) {
			break
		}
		lo, _ := s.plan.layout.Group(i)
		n := &s.nodes[lo] // stands for all that are encoded together
		if n.twin >= 0 {  // the same keys and values are in the plan already
			out[i].Origin = Cached
			continue
		}
		switch {
		case n.encoded:
		case n.fetched:
			out[i].Origin = Fetched
		default:
			out[i].Origin = Cached
		}
	}
	return out
}
