// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/draw"
)

func TestGraphOfAPlan(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, sharedRequests()[0])
	g := p.Graph(nil)
	require.False(t, g.Weighted)
	require.Len(t, g.Nodes, p.Len())
	require.Len(t, g.Edges, p.Layout().NumEdges())
	kinds := map[draw.Kind]int{}
	for i, n := range g.Nodes {
		require.Equal(t, p.ID(i), n.Label)
		kinds[n.Kind]++
	}
	require.Equal(t, map[draw.Kind]int{draw.Segment: p.Len() - 2, draw.Prefix: 1, draw.Query: 1}, kinds)

	x := explain(t, e, p, ExplainNodes("kv1.s2"))
	g = p.Graph(x)
	require.True(t, g.Weighted)
	require.Len(t, g.Nodes, p.Len()+1)
	require.Equal(t, draw.Node{Label: "answer", Note: tokenCount(len(x.Answer.Tokens)), Kind: draw.Answer, Own: g.Nodes[p.Len()].Own}, g.Nodes[p.Len()])
	require.Len(t, g.Edges, p.Layout().NumEdges()+len(p.Layout().Sees(p.Layout().Query()))+1)
	in := make([]float64, len(g.Nodes))
	for _, e := range g.Edges {
		in[e.To] += e.Weight
	}
	for i, n := range g.Nodes {
		switch n.Label {
		case "kv1.s2", "query", "answer":
			require.Positive(t, n.Own)
			require.InDelta(t, 1, in[i]+n.Own, 1e-5)
		default:
			require.Zero(t, in[i]+n.Own, n.Label)
		}
	}
	require.Regexp(t, `^kv1\.s2 read \S+ \d+ %, \S+ \d+ %, \S+ \d+ %\. query read .*\. answer read .*\.$`, g.Description)
	_, err := draw.SVG(g)
	require.NoError(t, err)
}
