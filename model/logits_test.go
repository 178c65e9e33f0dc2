// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// How many rows of logits a run asks for, and who else asks in the same batch, changes no bit of them, nor of the keys and values.
func TestLogitsDoNotDependOnOtherRows(t *testing.T) {
	for _, name := range []string{"llama-kquants", "llama3", "qwen2-tied"} {
		m := loadModel(t, filepath.Join(variantsDir, name+".gguf"))
		c := m.Config()
		lengths := []int{3, 25, 1, 30, 7, 1, 2}
		asked := []int{0, 1, 1, 20, 7, 0, 1} // few of one, more than are computed together, all of one, none
		ids := func(i int) []int32 { return tokens(lengths[i]+i, c.Vocab)[i:] }
		source := kvcache.NewKV(c.KVShape(), 6)
		var ws model.Workspace
		require.NoError(t, m.Forward(background, &ws, []model.Run{{Tokens: tokens(6, c.Vocab), KV: source}}))

		var together, alone []model.Run
		for i, n := range lengths {
			run := model.Run{Tokens: ids(i), Sources: []model.Source{{KV: source, Shift: 6 + i}}}
			run.KV, run.Logits = kvcache.NewKV(c.KVShape(), n), make([]float32, asked[i]*c.Vocab)
			together = append(together, run)
			run.KV, run.Logits = kvcache.NewKV(c.KVShape(), n), make([]float32, n*c.Vocab)
			alone = append(alone, run)
			require.NoError(t, m.Forward(background, &ws, alone[i:]))
		}
		require.NoError(t, m.Forward(background, &ws, together))
		for i, run := range together {
			all := alone[i].Logits
			require.NotZero(t, all[len(all)-1])
			require.Equal(t, all[len(all)-len(run.Logits):], run.Logits, "%s, run %d", name, i)
			require.Equal(t, alone[i].KV, run.KV, "%s, run %d", name, i)
		}
		for i := range together { // nobody asks: only keys and values
			together[i].KV, together[i].Logits = kvcache.NewKV(c.KVShape(), lengths[i]), nil
		}
		require.NoError(t, m.Forward(background, &ws, together))
		for i, run := range together {
			require.Equal(t, alone[i].KV, run.KV, "%s, run %d", name, i)
		}
	}
}
