// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"slices"
)

// WithBidirectional returns the layout with the nodes that f chooses bidirectional, and the others as they are. A repair
// and what it repairs cannot be.
func (l *Layout) WithBidirectional(f func(node int) bool) (*Layout, error) {
	out := *l
	out.nodes = slices.Clone(l.nodes)
	for i := range out.nodes {
		if f(i) {
			out.nodes[i].Bidirectional = true
		}
	}
	for i, n := range out.nodes {
		if r := n.Repair; !r.IsZero() && (n.Bidirectional || out.nodes[r.Of].Bidirectional) {
			return nil, fmt.Errorf("posenc: node %d (%s) repairs node %d (%s): of a bidirectional node every token is encoded again",
				i, n, r.Of, out.nodes[r.Of])
		}
	}
	return &out, nil
}
