// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"math"
	"slices"
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

// What a probe says is what a dense float64 pass does, on random decoders and graphs
// of nodes cut into runs; and asking changes no bit of keys, values and logits.
func TestProbeAgreesWithDensePass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		f := spec.open(t)
		defer f.Close()
		ref, err := modeltest.Load(f)
		require.NoError(t, err)
		m, err := model.Load(f, nil)
		require.NoError(t, err)
		c := m.Config()
		nodes := drawNodes(t, c.Vocab)
		plain, want := batch(m, nodes)
		probed, got := batch(m, nodes)
		for i := range plain { // some ask for logits, all or only the last
			rows := rapid.SampledFrom([]int{0, 1, len(plain[i].Tokens)}).Draw(t, "rows of logits")
			for _, r := range []*model.Run{&plain[i], &probed[i]} {
				r.Logits = r.Logits[len(r.Logits)-rows*c.Vocab:]
			}
		}
		for i := range probed {
			r := &probed[i]
			p := new(model.Probe)
			if rapid.Bool().Draw(t, "mass") { // whatever was there is overwritten
				p.Mass = slices.Repeat([]float64{math.NaN()}, c.Layers*c.Heads*(len(r.Sources)+1))
			}
			if rapid.Bool().Draw(t, "hidden") {
				p.Hidden = make([]float32, (c.Layers+1)*len(r.Tokens)*c.Hidden)
			}
			if rapid.IntRange(0, 3).Draw(t, "probe") > 0 {
				r.Probe = p
			}
		}
		var ws model.Workspace
		require.NoError(t, m.Forward(background, &ws, plain))
		require.NoError(t, m.Forward(background, &ws, shuffled(t, probed)))
		require.Equal(t, want, got)
		for i := range plain {
			require.Equal(t, plain[i].KV, probed[i].KV)
		}
		compareProbes(t, ref, c, nodes, probed)
	})
}

func compareProbes(t *rapid.T, ref *modeltest.Model, c model.Config, nodes []randomNode, runs []model.Run) {
	var text []int32
	var owner, first []int
	for i, n := range nodes {
		first = append(first, len(text))
		text = append(text, n.tokens...)
		for range n.tokens {
			owner = append(owner, i)
		}
	}
	hidden := make([]*mat.Dense, c.Layers+1)
	weights := map[[4]int]float64{} // layer, head, reader's token, source node
	ref.Watched(text, graphOf(nodes), modeltest.Watch{
		Hidden: func(layer int, x *mat.Dense) { hidden[layer] = mat.DenseCopyOf(x) },
		Weight: func(layer, head, i, j int, softmax float64) { weights[[4]int{layer, head, i, owner[j]}] += softmax },
	})
	node := -1
	for _, r := range runs {
		if r.At == 0 {
			node++
		}
		if r.Probe == nil {
			continue
		}
		from, parts := first[node]+r.At, len(r.Sources)+1
		sources := append(slices.Clone(nodes[node].sees), node)
		for layer := 0; r.Probe.Mass != nil && layer < c.Layers; layer++ {
			for head := range c.Heads {
				sum := 0.0
				for j, source := range sources {
					want := 0.0
					for row := range r.Tokens {
						want += weights[[4]int{layer, head, from + row, source}]
					}
					got := r.Probe.Mass[(layer*c.Heads+head)*parts+j]
					require.InDelta(t, want, got, 1e-4*float64(len(r.Tokens)))
					sum += got
				}
				require.InDelta(t, len(r.Tokens), sum, 1e-5*float64(len(r.Tokens)))
			}
		}
		for layer := 0; r.Probe.Hidden != nil && layer <= c.Layers; layer++ {
			scale := math.Max(1, math.Max(mat.Max(hidden[layer]), -mat.Min(hidden[layer])))
			for row := range r.Tokens {
				got := r.Probe.Hidden[(layer*len(r.Tokens)+row)*c.Hidden:][:c.Hidden]
				for k, want := range hidden[layer].RawRowView(from + row) {
					require.InDelta(t, want, got[k], 1e-4*scale)
				}
			}
		}
	}
}

// A step of generation can be asked too, also with more sources than the scratch
// memory holds at once.
func TestProbeOfManySources(t *testing.T) {
	m := loadModel(t, "testdata/tiny/tiny-F32.gguf")
	c := m.Config()
	var ws model.Workspace
	var sources []model.Source
	for i := range 700 {
		kv := kvcache.NewKV(c.KVShape(), 2)
		require.NoError(t, m.Forward(background, &ws, []model.Run{{Tokens: []int32{int32(i % c.Vocab), 7}, KV: kv}}))
		sources = append(sources, model.Source{KV: kv, Shift: 2 * i})
	}
	for _, decode := range []bool{false, true} {
		run := model.Run{Tokens: []int32{9}, KV: kvcache.NewKV(c.KVShape(), 1), Sources: sources, Decode: decode}
		run.Probe = &model.Probe{Mass: make([]float64, c.Layers*c.Heads*701)}
		require.NoError(t, m.Forward(background, &ws, []model.Run{run}))
		for i := range c.Layers * c.Heads {
			sum := 0.0
			for _, x := range run.Probe.Mass[i*701 : (i+1)*701] {
				require.Positive(t, x)
				sum += x
			}
			require.InDelta(t, 1, sum, 1e-5)
		}
	}
}

// Who asks for nothing pays nothing, and who asks again needs no more memory.
func TestProbeAllocations(t *testing.T) {
	p := pool.New(1)
	defer p.Close()
	f, err := gguf.Open("testdata/tiny/tiny-F32.gguf")
	require.NoError(t, err)
	defer f.Close()
	m, err := model.Load(f, p)
	require.NoError(t, err)
	c := m.Config()
	source := kvcache.NewKV(c.KVShape(), 6)
	var plain, ws model.Workspace
	require.NoError(t, m.Forward(background, &plain, []model.Run{{Tokens: tokens(6, c.Vocab), KV: source}}))
	runs := []model.Run{{Tokens: tokens(9, c.Vocab), KV: kvcache.NewKV(c.KVShape(), 9), Sources: []model.Source{{KV: source, Shift: 6}}, Logits: make([]float32, c.Vocab)}}
	require.Zero(t, testing.AllocsPerRun(5, func() { require.NoError(t, m.Forward(background, &plain, runs)) }))
	runs[0].Probe = &model.Probe{Mass: make([]float64, c.Layers*c.Heads*2), Hidden: make([]float32, (c.Layers+1)*9*c.Hidden)}
	require.Zero(t, testing.AllocsPerRun(5, func() { require.NoError(t, m.Forward(background, &ws, runs)) }))
	require.Greater(t, model.ProbeMemory(&ws), 0)
	require.Zero(t, model.ProbeMemory(&plain), "scratch memory that nobody asked for")
}

func TestProbeSizes(t *testing.T) {
	m := loadModel(t, "testdata/tiny/tiny-F32.gguf")
	c := m.Config()
	for want, p := range map[string]model.Probe{
		"room for 3 masses":                   {Mass: make([]float64, 3)},
		"room for 0 masses":                   {Mass: []float64{}},
		"room for 5 numbers of hidden states": {Hidden: make([]float32, 5)},
	} {
		run := model.Run{Tokens: []int32{1, 2}, KV: kvcache.NewKV(c.KVShape(), 2), Probe: &p}
		require.ErrorContains(t, m.Forward(background, &model.Workspace{}, []model.Run{run}), want)
	}
}
