// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
	"github.com/graphkv/graphkv/mask/exchange"
)

// sequenceRequests are graphs that llama.cpp can encode, of tokens below vocab.
func sequenceRequests(r *rand.Rand, vocab int) map[string]*graphkv.Request {
	piece := func(n int) []int32 {
		x := make([]int32, n)
		for i := range x {
			x[i] = int32(64 + r.IntN(vocab-64))
		}
		return x
	}
	segments := func(n int) (all []graphkv.Segment) {
		for i := range n {
			all = append(all, graphkv.Segment{ID: fmt.Sprint(i), Tokens: piece(1 + r.IntN(60))})
		}
		return all
	}
	request := func(s graphkv.Strategy, all []graphkv.Segment) *graphkv.Request {
		return &graphkv.Request{Strategy: s, Prefix: graphkv.Tokens(piece(1 + r.IntN(9))...), Segments: all,
			Query: graphkv.Tokens(piece(1 + r.IntN(30))...), MaxTokens: 1}
	}
	out := map[string]*graphkv.Request{
		"sequential": request(graphkv.Sequential, segments(4)),
		"block":      request(graphkv.Block, segments(6)),
		"pcw":        request(graphkv.PCW, segments(7)),
	}
	for i := range 3 {
		ego := request(graphkv.Ego, segments(3+2*i))
		ego.Center = "1"
		out[fmt.Sprintf("ego %d", i)] = ego
		// All nodes of a depth are of one length, so each begins where the last of its sources ends.
		dag := request(graphkv.DAG, nil)
		for depth, n := range []int{3, 4, 2, 2} {
			length := 5 + r.IntN(30)
			for k := range n {
				dag.Segments = append(dag.Segments, graphkv.Segment{ID: fmt.Sprintf("%d.%d", depth, k), Tokens: piece(length)})
				for source := range []int{0, 3, 4, 2}[depth] {
					if source == 0 || r.IntN(2) == 0 {
						dag.Edges = append(dag.Edges, graphkv.Edge{fmt.Sprintf("%d.%d", depth-1, source), fmt.Sprintf("%d.%d", depth, k)})
					}
				}
			}
		}
		out[fmt.Sprintf("dag %d", i)] = dag
	}
	return out
}

// llama.cpp, which knows nothing of graphs, executes plans of sequences, and its logits are ours.
func TestSequencesInLlama(t *testing.T) {
	interpreter := python(t, "llama")
	folder := t.TempDir()
	models := []struct {
		name, path string
		tolerance  float64
	}{{"tiny", "../model/testdata/tiny/tiny-F32.gguf", 1e-4}}
	if smol, err := hub.Locate(t.Context(), "smollm2-135m-instruct", hub.Options{}); err == nil {
		// Its weights are quantised, with which llama.cpp rounds activations to 8 bits, and we do not: widen them.
		var wide string
		script(t, interpreter, &wide, "peers/sequences.py", "--float32", smol)
		models = append(models, struct {
			name, path string
			tolerance  float64
		}{"SmolLM2 with weights widened", wide, 1e-3})
	} else {
		t.Logf("SmolLM2 is missing: %v", err)
	}
	for _, c := range models {
		e, err := graphkv.Open(c.path)
		require.NoError(t, err)
		defer e.Close()
		var want [][]float32
		var names []string
		args := []string{"peers/sequences.py", c.path}
		for name, r := range sequenceRequests(rand.New(rand.NewPCG(7, 7)), e.Model().Config().Vocab) {
			plan, err := e.Compile(r)
			require.NoError(t, err, name)
			tokens := make([][]int32, plan.Len())
			for i := range tokens {
				tokens[i] = plan.Tokens(i)
			}
			steps, err := exchange.PlanSequences(plan.Layout(), tokens, 0, plan.ID)
			require.NoError(t, err, name)
			data, err := json.Marshal(steps)
			require.NoError(t, err)
			file := filepath.Join(folder, fmt.Sprintf("%s %s.json", c.name, name))
			require.NoError(t, os.WriteFile(file, data, 0o644))
			args, names = append(args, file), append(names, name)
			result, err := e.Generate(t.Context(), plan, graphkv.WithLogits())
			require.NoError(t, err)
			want = append(want, result.Logits)
		}
		var got [][]float32
		script(t, interpreter, &got, args...)
		require.Len(t, got, len(want))
		worst := 0.0
		for i := range want {
			d := largest(t, want[i], got[i])
			require.LessOrEqual(t, d, c.tolerance, "%s: %s", c.name, names[i])
			worst = max(worst, d)
		}
		t.Logf("%s: %d graphs, logits differ by at most %.1e", c.name, len(want), worst)
	}
}
