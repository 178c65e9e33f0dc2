// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/posenc"
)

// ids gives every node tokens of its own.
func ids(l *posenc.Layout) [][]int32 {
	out, next := make([][]int32, l.Len()), int32(0)
	for i := range out {
		for range l.Node(i).Len {
			out[i] = append(out[i], next)
			next++
		}
	}
	return out
}

// consecutive draws a layout that llama.cpp can encode: every node begins where the last of its sources ends.
func consecutive(t *rapid.T) *posenc.Layout {
	n := rapid.IntRange(1, 12).Draw(t, "nodes")
	b := posenc.NewLayoutBuilder()
	var ends, bases []int
	for i := range n {
		node := posenc.Node{Segment: i, Len: rapid.IntRange(1, 9).Draw(t, "len"), Base: rapid.IntRange(0, 5).Draw(t, "base")}
		if i == n-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		var sees []posenc.Seen
		end := 0
		for s := range i {
			if rapid.Bool().Draw(t, "sees") {
				sees = append(sees, posenc.Seen{Node: int32(s), Base: int32(bases[s])})
				end = max(end, ends[s])
			}
		}
		if len(sees) > 0 {
			node.Base = end
		}
		ends, bases = append(ends, node.Base+node.Len), append(bases, node.Base)
		_, err := b.Add(node, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

// llama.cpp's rules, applied to the plan, let every token see what the mask lets it see, at the layout's distances.
func TestSequencesAreTheMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := consecutive(t)
		limit := rapid.IntRange(1, 14).Draw(t, "sequences")
		p, err := exchange.PlanSequences(l, ids(l), limit, nil)
		if err != nil {
			require.ErrorContains(t, err, "no more sequences")
			_, err = exchange.PlanSequences(l, ids(l), 0, nil)
			require.NoError(t, err)
			return
		}
		require.LessOrEqual(t, p.Sequences, limit)
		data, err := json.Marshal(p)
		require.NoError(t, err)
		q, err := exchange.ParseSequences(data)
		require.NoError(t, err)
		require.Equal(t, p, q)
		m, err := q.Matrix(exchange.ReadOptions{BlockSize: 8})
		require.NoError(t, err)
		same(t, newMask(t, l, 8), m)
		places, err := exchange.Places(l, nil)
		require.NoError(t, err)
		node := 0
		for _, s := range p.Steps {
			if s.Op == exchange.Decode {
				require.Equal(t, l.Node(node).String(), s.Node)
				require.Equal(t, places[node], s.Position)
				node++
			}
		}
		require.Equal(t, l.Len(), node)
		require.Zero(t, slices.Collect(steps(p, exchange.Decode))[node-1].Sequence, "the answer goes on in sequence 0")
	})
}

func steps(p *exchange.Sequences, op exchange.Op) func(func(exchange.Step) bool) {
	return func(yield func(exchange.Step) bool) {
		for _, s := range p.Steps {
			if s.Op == op && !yield(s) {
				return
			}
		}
	}
}

// A thousand passages need few sequences, since their cells go to the query as they are decoded.
func TestSequencesAreUsedAgain(t *testing.T) {
	l, err := posenc.PCW(3, slices.Repeat([]int{4}, 1000), 2)
	require.NoError(t, err)
	p, err := exchange.PlanSequences(l, ids(l), 0, nil)
	require.NoError(t, err)
	require.Equal(t, exchange.MaxSequences, p.Sequences)
	p, err = exchange.PlanSequences(l, ids(l), 2, nil)
	require.NoError(t, err)
	require.Equal(t, 2, p.Sequences)
	m, err := p.Matrix(exchange.ReadOptions{})
	require.NoError(t, err)
	same(t, newMask(t, l, 128), m)
}

func TestPresetsThatLlamaCanEncode(t *testing.T) {
	lengths := []int{3, 5, 4}
	can := map[string]bool{"sequential": true, "block": true, "pcw": true, "ego": true}
	for name, build := range map[string]func() (*posenc.Layout, error){
		"sequential":   func() (*posenc.Layout, error) { return posenc.Sequential(2, lengths, 3) },
		"block":        func() (*posenc.Layout, error) { return posenc.Block(2, lengths, 3) },
		"pcw":          func() (*posenc.Layout, error) { return posenc.PCW(2, lengths, 3) },
		"ego":          func() (*posenc.Layout, error) { return posenc.Ego(2, lengths, 2, 3) },
		"graphkv":      func() (*posenc.Layout, error) { return posenc.GraphKV(2, lengths, 3) },
		"graphkv-topk": func() (*posenc.Layout, error) { return posenc.GraphKVTopK(2, lengths, 3, 2) },
	} {
		l, err := build()
		require.NoError(t, err, name)
		p, err := exchange.PlanSequences(l, ids(l), 0, nil)
		if !can[name] {
			require.ErrorContains(t, err, "one position per token cannot say both", name)
			continue
		}
		require.NoError(t, err, name)
		m, err := p.Matrix(exchange.ReadOptions{BlockSize: 4})
		require.NoError(t, err, name)
		same(t, newMask(t, l, 4), m)
	}
}

func TestWhatLlamaCannotEncode(t *testing.T) {
	type node struct {
		base, length  int
		bidirectional bool
		sees          []posenc.Seen
	}
	build := func(nodes ...node) *posenc.Layout {
		b := posenc.NewLayoutBuilder()
		for i, n := range nodes {
			x := posenc.Node{Segment: i, Base: n.base, Len: n.length, Bidirectional: n.bidirectional}
			if i == len(nodes)-1 {
				x.Kind, x.Segment = posenc.QueryNode, -1
			}
			_, err := b.Add(x, n.sees...)
			require.NoError(t, err)
		}
		l, err := b.Layout()
		require.NoError(t, err)
		return l
	}
	name := func(i int) string { return string(rune('a' + i)) }
	for want, l := range map[string]*posenc.Layout{
		"llama.cpp cannot encode b: it begins at position 5, and a sequence goes on where its last source, a, ends: at 3": build(
			node{0, 3, false, nil}, node{5, 1, false, []posenc.Seen{{Node: 0}}}),
		"llama.cpp cannot encode b: it begins at position 2, and a sequence goes on where its last source, a, ends: at 3": build(
			node{0, 3, false, nil}, node{2, 1, false, []posenc.Seen{{Node: 0}}}),
		"llama.cpp cannot encode a: its tokens see those after them, and its attention is causal": build(
			node{0, 3, true, nil}, node{3, 1, false, []posenc.Seen{{Node: 0}}}),
		"c sees a at 4, but by the other edges that join them it stands at 0": build(
			node{0, 3, false, nil}, node{3, 1, false, []posenc.Seen{{Node: 0}}}, node{4, 1, false, []posenc.Seen{{Node: 1, Base: 3}, {Node: 0, Base: 4}}}),
	} {
		_, err := exchange.PlanSequences(l, ids(l), 0, name)
		require.ErrorContains(t, err, want)
	}

	b := posenc.NewLayoutBuilder()
	_, err := b.AddGroup([]posenc.Node{{Len: 2}, {Segment: 1, Base: 2, Len: 1}}, [][]posenc.Seen{{{Node: 1, Base: 2}}, nil})
	require.NoError(t, err)
	_, err = b.Add(posenc.Node{Kind: posenc.QueryNode, Segment: -1, Base: 3, Len: 1}, posenc.Seen{Node: 0}, posenc.Seen{Node: 1, Base: 2, Ranked: true})
	require.NoError(t, err)
	l, err := b.Layout()
	require.NoError(t, err)
	_, err = exchange.PlanSequences(l, ids(l), 0, name)
	require.ErrorContains(t, err, "c lays its sources out anew in every layer, so b has no place")
	b = posenc.NewLayoutBuilder()
	_, err = b.AddGroup([]posenc.Node{{Len: 2}, {Segment: 1, Base: 2, Len: 1}}, [][]posenc.Seen{{{Node: 1, Base: 2}}, nil})
	require.NoError(t, err)
	_, err = b.Add(posenc.Node{Kind: posenc.QueryNode, Segment: -1, Base: 3, Len: 1}, posenc.Seen{Node: 0})
	require.NoError(t, err)
	l, err = b.Layout()
	require.NoError(t, err)
	_, err = exchange.PlanSequences(l, ids(l), 0, name)
	require.ErrorContains(t, err, "llama.cpp cannot encode a: it sees b, which is not encoded before it")

	l, err = posenc.PCW(0, []int{3}, 1)
	require.NoError(t, err)
	_, err = exchange.PlanSequences(l, ids(l)[:1], 0, nil)
	require.ErrorContains(t, err, "tokens of 1 nodes, the layout has 2")
	_, err = exchange.PlanSequences(l, [][]int32{{1, 2}, {3}}, 0, nil)
	require.ErrorContains(t, err, "2 tokens of segment 0, the layout has 3")
	_, err = exchange.PlanSequences(l, ids(l), 1000, nil)
	require.ErrorContains(t, err, "1000 sequences, want 1 to 256")
	l, err = l.WithScores(func(int, posenc.Seen) (posenc.Score, error) { return posenc.Score{Scale: 2}, nil })
	require.NoError(t, err)
	_, err = exchange.PlanSequences(l, ids(l), 0, nil)
	require.ErrorContains(t, err, "cannot encode query: it sees segment 0 with a scale, bias or power of its own")
}

func TestStepsAgainstTheRules(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                             "unexpected EOF",
		`{"sequences": 1, "x": 1}`:      "unknown field",
		`{"sequences": 1} {}`:           "something follows",
		`{"sequences": 0}`:              "0 sequences",
		`{"sequences": 1000000000000}`:  "1000000000000 sequences",
		`{"sequences": 1, "steps": []}`: "decodes nothing",
		`{"sequences": 1, "cells": 2, "steps": [{"op": "decode", "tokens": [1]}]}`:                                                 "2 cells for 1 tokens",
		`{"sequences": 1, "cells": 1, "steps": [{"op": "decode", "sequence": 1, "tokens": [1]}]}`:                                  "step 0 (decode): sequence 1",
		`{"sequences": 1, "cells": 1, "steps": [{"op": "decode", "position": -1, "tokens": [1]}]}`:                                 "1 tokens at position -1",
		`{"sequences": 1, "cells": 1, "steps": [{"op": "jump"}, {"op": "decode", "tokens": [1]}]}`:                                 "step 0 (jump): unknown",
		`{"sequences": 1, "cells": 2, "steps": [{"op": "decode", "tokens": [1]}, {"op": "decode", "position": 5, "tokens": [1]}]}`: "which ends at 1",
		`{"sequences": 2, "cells": 1, "steps": [{"op": "copy", "to": 1, "first": 3, "end": 3}, {"op": "decode", "tokens": [1]}]}`:  "positions 3 to 3",
	} {
		p, err := exchange.ParseSequences([]byte(text))
		if err == nil {
			_, err = p.Matrix(exchange.ReadOptions{})
		}
		require.ErrorContains(t, err, want, text)
	}
}

func FuzzSequences(f *testing.F) {
	l, err := posenc.Ego(2, []int{3, 5, 4}, 2, 3)
	require.NoError(f, err)
	p, err := exchange.PlanSequences(l, ids(l), 0, nil)
	require.NoError(f, err)
	data, err := json.Marshal(p)
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := exchange.ParseSequences(data)
		if err != nil {
			return
		}
		m, err := p.Matrix(exchange.ReadOptions{MaxBytes: 1 << 20})
		if err == nil && m.NNZ() < int64(m.Tokens()) {
			t.Fatalf("%d tokens see %d", m.Tokens(), m.NNZ())
		}
	})
}
