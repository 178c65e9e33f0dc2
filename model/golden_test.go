// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
)

const tinyDir = "testdata/tiny"

// manifest describes the reference results of a tiny random Llama: logits that the
// published Graph-KV code computed in float32 (see testdata/tiny).
type manifest struct {
	Modes map[string]struct {
		Tokens map[string][]int32
		Blocks []block
	}
	Formats map[string]struct {
		GGUF, File string
		Modes      map[string]struct {
			Offset, Rows, Vocab int
			RowTokenIndex       []int `json:"row_token_index"`
			Greedy              []int32
		}
	}
	GreedyTokens int `json:"greedy_tokens"`
}

type block struct {
	ID, Tokens string
	PosStart   int `json:"pos_start"`
	Sees       []struct {
		ID       string
		PosStart int `json:"pos_start"`
	}
}

func readManifest(t testing.TB) manifest {
	data, err := os.ReadFile(filepath.Join(tinyDir, "manifest.json"))
	require.NoError(t, err)
	var m manifest
	require.NoError(t, json.Unmarshal(data, &m))
	require.Len(t, m.Modes, 7)
	require.Len(t, m.Formats, 5)
	return m
}

func readFloats(t testing.TB, path string, offset, n int) []float32 {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	out := make([]float32, n)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(offset+i):]))
	}
	return out
}

func loadModel(t testing.TB, path string) *model.Model {
	f, err := gguf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	m, err := model.Load(f, nil)
	require.NoError(t, err)
	return m
}

// graphRun holds the nodes of one mode and the runs that encode them.
type graphRun struct {
	runs []model.Run
	last *model.Run
}

func newGraphRun(m *model.Model, tokens map[string][]int32, blocks []block) *graphRun {
	g := &graphRun{runs: make([]model.Run, len(blocks))}
	index := map[string]int{}
	for i, b := range blocks {
		ids := tokens[b.Tokens]
		r := model.Run{Tokens: ids, KV: kvcache.NewKV(m.Config().KVShape(), len(ids))}
		for _, s := range b.Sees {
			r.Sources = append(r.Sources, model.Source{KV: g.runs[index[s.ID]].KV, Shift: b.PosStart - s.PosStart})
		}
		g.runs[i], index[b.ID] = r, i
	}
	g.last = &g.runs[len(blocks)-1]
	return g
}

// greedy continues the last node and returns n tokens, the first of which follows
// from logits.
func (g *graphRun) greedy(t testing.TB, m *model.Model, logits []float32, n int) []int32 {
	var ws model.Workspace
	sources := append([]model.Source(nil), g.last.Sources...)
	length := len(g.last.Tokens)
	for i := range sources {
		sources[i].Shift += length
	}
	sources = append(sources, model.Source{KV: g.last.KV, Shift: length})
	page := kvcache.NewKV(m.Config().KVShape(), n)
	out := []int32{argmax(logits)}
	for at := 0; len(out) < n; at++ {
		r := model.Run{Tokens: out[at:], KV: page, At: at, Sources: sources, Logits: logits}
		require.NoError(t, m.Forward(t.Context(), &ws, []model.Run{r}))
		out = append(out, argmax(logits))
		for i := range sources {
			sources[i].Shift++
		}
	}
	return out
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

func maxDiff(a, b []float32) float64 {
	d := 0.0
	for i := range a {
		d = math.Max(d, math.Abs(float64(a[i])-float64(b[i])))
	}
	return d
}

// Every weight type and every mode of the published code, in one batch over the
// whole graph and again node by node, within the tolerance of a float32
// implementation.
func TestGolden(t *testing.T) {
	man := readManifest(t)
	for format, f := range man.Formats {
		m := loadModel(t, filepath.Join(tinyDir, f.GGUF))
		for mode, want := range f.Modes {
			t.Run(format+"/"+mode, func(t *testing.T) {
				vocab := m.Config().Vocab
				require.Equal(t, vocab, want.Vocab)
				golden := readFloats(t, filepath.Join(tinyDir, f.File), want.Offset, want.Rows*vocab)

				g := newGraphRun(m, man.Modes[mode].Tokens, man.Modes[mode].Blocks)
				n := len(g.last.Tokens)
				all := make([]float32, n*vocab)
				g.last.Logits = all
				var ws model.Workspace
				require.NoError(t, m.Forward(t.Context(), &ws, g.runs))
				worst := 0.0
				for r, row := range want.RowTokenIndex {
					worst = math.Max(worst, maxDiff(all[row*vocab:(row+1)*vocab], golden[r*vocab:(r+1)*vocab]))
				}
				require.Less(t, worst, 2e-4)
				t.Logf("max |Δlogit| %.1e", worst)

				h := newGraphRun(m, man.Modes[mode].Tokens, man.Modes[mode].Blocks)
				one := make([]float32, vocab)
				h.last.Logits = one
				for i := range h.runs {
					require.NoError(t, m.Forward(t.Context(), &ws, h.runs[i:i+1]))
				}
				require.Equal(t, all[(n-1)*vocab:], one, "node by node differs in a bit from one batch")
				require.Equal(t, want.Greedy, h.greedy(t, m, one, man.GreedyTokens))
			})
		}
	}
}
