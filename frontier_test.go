// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/kvcache"
)

// After every foreign flight the nodes that can be encoded are those that a walk over all nodes finds, less those that were taken before.
func TestFrontierAgainstWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		handle := kvcache.NewHandle(kvcache.NewKV(kvcache.Shape{Layers: 1, KVHeads: 1, HeadDim: 1}, 0), nil)
		nodes := make([]node, rapid.IntRange(0, 20).Draw(t, "nodes"))
		var foreign []int32
		for i := range nodes {
			n := &nodes[i]
			n.twin, n.origin = -1, -1
			if i > 0 && rapid.IntRange(0, 5).Draw(t, "repairs") == 0 {
				n.origin = int32(rapid.IntRange(0, i-1).Draw(t, "origin"))
			}
			if i > 0 && rapid.IntRange(0, 5).Draw(t, "twin") == 0 {
				n.twin = int32(rapid.IntRange(0, i-1).Draw(t, "of"))
				for nodes[n.twin].twin >= 0 {
					n.twin = nodes[n.twin].twin
				}
				continue
			}
			for range rapid.IntRange(0, min(i, 3)).Draw(t, "sources") {
				n.sources = append(n.sources, source{node: int32(rapid.IntRange(0, i-1).Draw(t, "source"))})
			}
			switch rapid.IntRange(0, 2).Draw(t, "state") {
			case 0:
				n.handle = handle
			case 1:
				n.own = true
			default:
				foreign = append(foreign, int32(i))
			}
		}
		taken := make([]bool, len(nodes))
		walk := func() (list []int32) {
			able := make([]bool, len(nodes))
			for i := range nodes {
				n := &nodes[i]
				switch {
				case n.twin >= 0:
					able[i] = able[n.twin]
				case n.handle != nil:
					able[i] = true
				default:
					able[i] = n.own && (n.origin < 0 || able[n.origin]) && !slices.ContainsFunc(n.sources, func(s source) bool { return !able[s.node] })
				}
				if able[i] && n.own && !taken[i] {
					list = append(list, int32(i))
				}
			}
			return list
		}
		f := newFrontier(nodes, true)
		for {
			ready := f.take()
			require.Equal(t, walk(), ready)
			for _, i := range ready {
				taken[i] = true
				if rapid.Bool().Draw(t, "encoded") { // those that are not yet are able all the same
					nodes[i].handle, nodes[i].own = handle, false
				}
			}
			if len(foreign) == 0 {
				break
			}
			i := foreign[0]
			foreign = foreign[1:]
			if rapid.Bool().Draw(t, "own now") {
				nodes[i].own = true
			} else {
				nodes[i].handle = handle
			}
			f.update(i)
		}
		for i := range nodes {
			require.True(t, taken[i] || nodes[i].handle != nil || nodes[i].twin >= 0)
		}
	})
}
