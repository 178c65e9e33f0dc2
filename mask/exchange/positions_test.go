// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/posenc"
)

// Every node is encoded at a base of its own, at which its sources stand where they should. Places finds positions again
// that keep all distances, unless one edge contradicts the others.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 14).Draw(t, "nodes")
		b := posenc.NewLayoutBuilder()
		var places []int
		wrong := rapid.IntRange(0, 20).Draw(t, "wrong edge")
		edges := 0
		for i := range n {
			place, moved := rapid.IntRange(0, 99).Draw(t, "place"), rapid.IntRange(0, 99).Draw(t, "moved")
			node := posenc.Node{Segment: i, Base: place + moved, Len: rapid.IntRange(1, 3).Draw(t, "len")}
			if i == n-1 {
				node.Kind, node.Segment = posenc.QueryNode, -1
			}
			var sees []posenc.Seen
			for s := range i {
				if rapid.IntRange(0, 2).Draw(t, "sees") > 0 {
					continue
				}
				at := places[s] + moved
				if edges == wrong {
					at++
				}
				edges++
				sees = append(sees, posenc.Seen{Node: int32(s), Base: int32(at)})
			}
			places = append(places, place)
			_, err := b.Add(node, sees...)
			require.NoError(t, err)
		}
		l, err := b.Layout()
		require.NoError(t, err)
		got, err := exchange.Places(l, nil)
		if err != nil {
			require.Less(t, wrong, edges, "nothing is wrong")
			var position *exchange.PositionError
			require.True(t, errors.As(err, &position))
			require.NotEqual(t, position.Base, position.Other)
			require.True(t, slices.ContainsFunc(l.Sees(position.Reader), func(s posenc.Seen) bool {
				return int(s.Node) == position.Node && int(s.Base) == position.Base
			}), "it names an edge")
			return
		}
		for i := range n {
			for _, s := range l.Sees(i) {
				require.Equal(t, l.Node(i).Base-int(s.Base), got[i]-got[s.Node], "edge %d → %d", s.Node, i)
			}
		}
		require.GreaterOrEqual(t, slices.Min(got), 0)
		if slices.Min(got) > 0 {
			require.Equal(t, l.Node(l.Query()).Base, got[l.Query()], "the query stays")
		}
	})
}
