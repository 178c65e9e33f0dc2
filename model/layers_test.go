// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// A run that ends after some layers leaves the keys and values that it would have in
// them, whatever else is in the pass and wherever it stands there, and changes no bit of
// that.
func TestRunsThatEndEarly(t *testing.T) {
	ended := 0
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		f := spec.open(t)
		defer f.Close()
		m, err := model.Load(f, nil)
		require.NoError(t, err)
		c := m.Config()
		nodes := drawNodes(t, c.Vocab)
		plain, want := batch(m, nodes)
		mixed, got := batch(m, nodes)
		kept := map[*kvcache.KV]*kvcache.KV{} // of a node that is run in part, by its own
		var runs []model.Run
		for i, r := range mixed {
			runs = append(runs, r)
			if layers := rapid.IntRange(0, c.Layers).Draw(t, "layers"); layers > 0 && r.At == 0 {
				shape := c.KVShape()
				shape.Layers = rapid.IntRange(layers, c.Layers).Draw(t, "layers of its KV")
				part := kvcache.NewKV(shape, r.KV.Tokens())
				kept[part] = plain[i].KV
				for _, cut := range mixed[i:] {
					if cut.KV != r.KV {
						break
					}
					cut.KV, cut.Logits, cut.Layers = part, nil, layers
					runs = append(runs, cut)
				}
			}
		}
		var ws model.Workspace
		require.NoError(t, m.Forward(background, &ws, plain))
		runs = shuffled(t, runs)
		require.NoError(t, m.Forward(background, &ws, runs))
		require.Equal(t, want, got)
		for i := range plain {
			require.Equal(t, plain[i].KV, mixed[i].KV)
		}
		for _, r := range runs {
			if r.Layers > 0 {
				ended++
				n, err := r.KV.Shape().LayerBytes(r.KV.Tokens())
				require.NoError(t, err)
				done := int(n) * r.Layers
				require.Equal(t, kept[r.KV].Data()[:done], r.KV.Data()[:done])
				require.Empty(t, bytes.Trim(r.KV.Data()[done:], "\x00"), "the layers after those are as they were")
			}
		}
		// And alone, when nothing is left to do half way.
		for part, whole := range kept {
			clear(part.Data())
			var alone []model.Run
			for _, r := range runs {
				if r.KV == part {
					alone = append(alone, r)
				}
			}
			require.NoError(t, m.Forward(background, &ws, alone))
			n, err := part.Shape().LayerBytes(part.Tokens())
			require.NoError(t, err)
			done := int(n) * alone[0].Layers
			require.Equal(t, whole.Data()[:done], part.Data()[:done])
		}
	})
	require.NotZero(t, ended)
}
