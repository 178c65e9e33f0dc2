// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/modeltest"
)

const variantsDir = "testdata/variants"

// variant is a tiny random model with the logits that Hugging Face transformers
// computes for every token of a prompt, and its greedy continuation.
type variant struct {
	Name, What, Arch string
	Tokens, Greedy   []int32
	Vocab            int
	// Essential lists groups of keys or tensors without which the model is another.
	Essential [][]string
}

func (v variant) path() string { return filepath.Join(variantsDir, v.Name+".gguf") }

func (v variant) golden(t testing.TB) []float32 {
	return readFloats(t, filepath.Join(variantsDir, v.Name+".f32"), 0, len(v.Tokens)*v.Vocab)
}

func readVariants(t testing.TB) []variant {
	data, err := os.ReadFile(filepath.Join(variantsDir, "variants.json"))
	require.NoError(t, err)
	var all []variant
	require.NoError(t, json.Unmarshal(data, &all))
	require.Len(t, all, 8)
	return all
}

// variantTolerance bounds the difference of two float32 implementations.
const variantTolerance = 1e-4

// Every variant as one causal text, and again cut into nodes that see all nodes
// before them at their places: the keys, rotated at local positions, must then act
// as if they stood further on, whatever the scaling of positions.
func TestVariants(t *testing.T) {
	for _, v := range readVariants(t) {
		golden := v.golden(t)
		for _, cuts := range [][]int{{0}, {0, 3, 11}} {
			t.Run(fmt.Sprintf("%s/%d nodes", v.Name, len(cuts)), func(t *testing.T) {
				m := loadModel(t, v.path())
				require.Equal(t, v.Vocab, m.Config().Vocab)
				tokens, blocks := textNodes(v.Tokens, cuts)
				g := newGraphRun(m, tokens, blocks)
				worst := 0.0
				for i := range g.runs {
					g.runs[i].Logits = make([]float32, len(g.runs[i].Tokens)*v.Vocab)
				}
				var ws model.Workspace
				require.NoError(t, m.Forward(t.Context(), &ws, g.runs))
				for i, r := range g.runs {
					worst = math.Max(worst, maxDiff(r.Logits, golden[cuts[i]*v.Vocab:]))
				}
				t.Logf("max |Δlogit| %.1e (%s)", worst, v.What)
				require.LessOrEqual(t, worst, variantTolerance)
				last := g.last.Logits[len(g.last.Logits)-v.Vocab:]
				require.Equal(t, v.Greedy, g.greedy(t, m, last, len(v.Greedy)))
			})
		}
	}
}

// textNodes cuts a text into nodes that see all nodes before them.
func textNodes(tokens []int32, cuts []int) (map[string][]int32, []block) {
	named := map[string][]int32{}
	var blocks []block
	for i, from := range cuts {
		to := len(tokens)
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		b := block{ID: fmt.Sprint(i), PosStart: from}
		b.Tokens = b.ID
		for _, earlier := range blocks {
			b.Sees = append(b.Sees, struct {
				ID       string
				PosStart int `json:"pos_start"`
			}{earlier.ID, earlier.PosStart})
		}
		named[b.ID] = tokens[from:to]
		blocks = append(blocks, b)
	}
	return named, blocks
}

// The float64 reference agrees with transformers as well, where it knows the
// variant, so the property tests below rest on a reference that was itself checked.
func TestVariantsReference(t *testing.T) {
	for _, v := range readVariants(t) {
		switch v.Name {
		case "qwen2-tied", "llama3", "llama-kquants": // position scaling and free head dimensions are not in the reference
		default:
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			f, err := gguf.Open(v.path())
			require.NoError(t, err)
			defer f.Close()
			ref, err := modeltest.Load(f)
			require.NoError(t, err)
			want := ref.Logits(v.Tokens, modeltest.Causal())
			require.LessOrEqual(t, maxDiff64(v.golden(t), want), variantTolerance, "reference against transformers")
			m, err := model.Load(f, nil)
			require.NoError(t, err)
			worst := maxDiff64(causal(t, m, v.Tokens), want)
			t.Logf("max |Δlogit| %.1e", worst)
			require.LessOrEqual(t, worst, variantTolerance)
		})
	}
}

// causal returns the logits of all tokens of a plain text.
func causal(t require.TestingT, m *model.Model, tokens []int32) []float32 {
	logits := make([]float32, len(tokens)*m.Config().Vocab)
	run := model.Run{Tokens: tokens, KV: kvcache.NewKV(m.Config().KVShape(), len(tokens)), Logits: logits}
	var ws model.Workspace
	require.NoError(t, m.Forward(background, &ws, []model.Run{run}))
	return logits
}

func maxDiff64(got []float32, want *mat.Dense) float64 {
	d := 0.0
	_, cols := want.Dims()
	for i, x := range got {
		if diff := math.Abs(float64(x) - want.At(i/cols, i%cols)); !(diff <= d) {
			d = diff // NaN too
		}
	}
	return d
}

// What makes a variant special is read: without it the logits are far off or the
// file is refused. Otherwise the comparisons above would prove nothing.
func TestVariantsEssentials(t *testing.T) {
	for _, v := range readVariants(t) {
		for _, names := range v.Essential {
			t.Run(v.Name+"/"+strings.Join(names, "+"), func(t *testing.T) {
				spec := readSpec(t, v.path())
				for _, name := range names {
					spec.drop(t, name)
				}
				m, err := spec.load(t)
				if err != nil {
					t.Log(err)
					return
				}
				d := maxDiff(causal(t, m, v.Tokens), v.golden(t))
				t.Logf("max |Δlogit| %.2f", d)
				require.Greater(t, d, 100*variantTolerance)
			})
		}
	}
}

// Random decoders of odd sizes against the float64 reference, as a plain text and
// as a random graph of nodes with arbitrary shifts: in one batch whose runs come in
// any order, nodes cut into several runs, and node by node, bit for bit the same.
func TestRandomModels(t *testing.T) {
	one := pool.New(1)
	defer one.Close()
	worst := 0.0
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		f := spec.open(t)
		defer f.Close()
		ref, err := modeltest.Load(f)
		require.NoError(t, err)
		m, err := model.Load(f, nil)
		require.NoError(t, err)
		vocab := m.Config().Vocab

		nodes := drawNodes(t, vocab)
		var text []int32
		for _, n := range nodes {
			text = append(text, n.tokens...)
		}
		compare := func(got []float32, want *mat.Dense) {
			scale := math.Max(1, math.Max(mat.Max(want), -mat.Min(want)))
			d := maxDiff64(got, want) / scale
			if !(d <= 1e-4) {
				t.Fatalf("logits differ by %.1e of their scale", d)
			}
			worst = math.Max(worst, d)
		}
		compare(causal(t, m, text), ref.Logits(text, modeltest.Causal()))

		want := ref.Logits(text, graphOf(nodes))
		runs, logits := batch(m, nodes)
		var ws model.Workspace
		require.NoError(t, m.Forward(background, &ws, shuffled(t, runs)))
		compare(logits, want)

		single, err := model.Load(f, one)
		require.NoError(t, err)
		runs, again := batch(single, nodes)
		at := 0
		for i := range runs { // only some last rows are asked for
			r := &runs[i]
			skip := rapid.IntRange(0, len(r.Tokens)).Draw(t, "tokens without logits") * vocab
			clear(logits[at : at+skip])
			at += len(r.Logits)
			r.Logits = r.Logits[skip:]
			require.NoError(t, single.Forward(background, &ws, runs[i:i+1]))
		}
		require.Equal(t, logits, again, "run by run, with one worker")
	})
	t.Logf("worst difference %.1e of the logits' scale", worst)
}

// randomNode is a node of a random graph.
type randomNode struct {
	tokens []int32
	cuts   []int // starts of its runs
	spare  int   // rows of its KV that hold nothing
	sees   []int // earlier nodes
	shift  []int // position of the node's first token less that of the source's
}

func drawNodes(t *rapid.T, vocab int) []randomNode {
	nodes := make([]randomNode, rapid.IntRange(1, 5).Draw(t, "nodes"))
	for i := range nodes {
		n := &nodes[i]
		n.tokens = rapid.SliceOfN(rapid.Int32Range(0, int32(vocab-1)), 1, 7).Draw(t, "tokens")
		n.cuts = []int{0}
		for at := 1; at < len(n.tokens); at++ {
			if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				n.cuts = append(n.cuts, at)
			}
		}
		n.spare = rapid.IntRange(0, 2).Draw(t, "spare")
		for j := range i {
			if rapid.Bool().Draw(t, "sees") {
				n.sees = append(n.sees, j)
				n.shift = append(n.shift, rapid.IntRange(-20, 300).Draw(t, "shift"))
			}
		}
	}
	return nodes
}

// graphOf is the dense form of the nodes, laid end to end.
func graphOf(nodes []randomNode) modeltest.Graph {
	var node, local []int
	for i, n := range nodes {
		for p := range n.tokens {
			node, local = append(node, i), append(local, p)
		}
	}
	shift := func(i, j int) (int, bool) {
		if node[i] == node[j] {
			return 0, local[j] <= local[i]
		}
		for k, s := range nodes[node[i]].sees {
			if s == node[j] {
				return nodes[node[i]].shift[k], true
			}
		}
		return 0, false
	}
	return modeltest.Graph{
		Sees: func(i, j int) bool { _, ok := shift(i, j); return ok },
		Distance: func(i, j int) int {
			d, _ := shift(i, j)
			return d + local[i] - local[j]
		},
	}
}

// batch returns the nodes' runs and the logits they will fill, in the order of the text.
func batch(m *model.Model, nodes []randomNode) ([]model.Run, []float32) {
	vocab, total := m.Config().Vocab, 0
	for _, n := range nodes {
		total += len(n.tokens)
	}
	logits := make([]float32, total*vocab)
	rest := logits
	var runs []model.Run
	kvs := make([]*kvcache.KV, len(nodes))
	for i, n := range nodes {
		kvs[i] = kvcache.NewKV(m.Config().KVShape(), len(n.tokens)+n.spare)
		for c, at := range n.cuts {
			end := len(n.tokens)
			if c+1 < len(n.cuts) {
				end = n.cuts[c+1]
			}
			r := model.Run{Tokens: n.tokens[at:end], KV: kvs[i], At: at, Logits: rest[:(end-at)*vocab]}
			rest = rest[len(r.Logits):]
			for k, s := range n.sees {
				r.Sources = append(r.Sources, model.Source{KV: kvs[s], Len: len(nodes[s].tokens), Shift: n.shift[k] + at})
			}
			runs = append(runs, r)
		}
	}
	return runs, logits
}

func shuffled(t *rapid.T, runs []model.Run) []model.Run {
	return rapid.Permutation(runs).Draw(t, "order of runs")
}

// drawSpec draws a decoder's dimensions; the weights follow from a seed.
func drawSpec(t *rapid.T) *spec {
	d := dims{
		arch:    rapid.SampledFrom([]string{"llama", "qwen2"}).Draw(t, "arch"),
		layers:  rapid.IntRange(1, 3).Draw(t, "layers"),
		kvHeads: rapid.IntRange(1, 3).Draw(t, "KV heads"),
		headDim: 2 * rapid.IntRange(1, 20).Draw(t, "half the head dimension"),
		ffn:     rapid.IntRange(1, 40).Draw(t, "FFN"),
		vocab:   rapid.IntRange(2, 40).Draw(t, "vocabulary"),
		base:    rapid.SampledFrom([]float32{2, 1e3, 1e4, 1e6}).Draw(t, "base"),
		eps:     rapid.SampledFrom([]float32{1e-6, 1e-5, 1e-2}).Draw(t, "eps"),
		tied:    rapid.Bool().Draw(t, "tied"),
		factors: rapid.Bool().Draw(t, "frequency factors"),
		biases:  rapid.Bool().Draw(t, "biases"),
	}
	d.heads = d.kvHeads * rapid.IntRange(1, 3).Draw(t, "group")
	return d.spec(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
}
