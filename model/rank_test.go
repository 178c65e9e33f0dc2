// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// everyOther is three nodes in one KV, of which each sees the others, and a query that sees all.
func everyOther(m *model.Model) []model.Run {
	kv := kvcache.NewKV(m.Config().KVShape(), 16+32+3)
	ids := [][]int32{{1, 2, 3, 4}, {5, 6, 7, 8, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {1, 3, 5}}
	from := []int{0, 16, 48}
	var runs []model.Run
	source := func(i, shift int) model.Source {
		return model.Source{KV: kv, From: from[i], Len: len(ids[i]), Shift: shift, Ranked: true}
	}
	for i := range ids {
		r := model.Run{Tokens: ids[i], KV: kv, From: from[i], Whole: true}
		for j := range ids {
			if j != i {
				r.Sources = append(r.Sources, source(j, 25-len(ids[i])))
			}
		}
		runs = append(runs, r)
	}
	query := model.Run{Tokens: []int32{2, 4, 6, 8}, KV: kvcache.NewKV(m.Config().KVShape(), 4), Logits: make([]float32, m.Config().Vocab)}
	for i := range ids {
		query.Sources = append(query.Sources, source(i, 25))
	}
	return append(runs, query)
}

func TestRankingDoesNotAllocate(t *testing.T) {
	f := small().open(t)
	p := pool.New(2)
	defer p.Close()
	m, err := model.Load(f, p)
	require.NoError(t, err)
	runs := everyOther(m)
	step := []model.Run{runs[3]}
	step[0].Tokens, step[0].At, step[0].Decode = []int32{3}, 3, true
	var ws model.Workspace
	for _, r := range [][]model.Run{runs, step, runs} {
		require.NoError(t, m.Forward(background, &ws, r))
		require.Zero(t, testing.AllocsPerRun(8, func() {
			if err := m.Forward(background, &ws, r); err != nil {
				t.Fatal(err)
			}
		}))
	}
}

// A query's tokens are ranked for one by one: in one run, in runs of one token, and beside others, to the same bits. Where
// ranked sources stand matters, so their number and order do not go unnoticed.
func TestRankingOfRows(t *testing.T) {
	m, err := small().load(t)
	require.NoError(t, err)
	var ws model.Workspace
	runs := everyOther(m)
	require.NoError(t, m.Forward(background, &ws, runs))
	want := runs[3].Logits

	again := everyOther(m)
	require.NoError(t, m.Forward(background, &ws, again[:3]))
	query := again[3]
	for i, id := range query.Tokens {
		one := query
		one.Tokens, one.At = []int32{id}, i
		one.Sources = append([]model.Source(nil), query.Sources...)
		for j := range one.Sources {
			one.Sources[j].Shift += i
		}
		require.NoError(t, m.Forward(background, &ws, []model.Run{one}))
	}
	require.Equal(t, want, query.Logits)

	fixed := query
	fixed.Logits = make([]float32, len(want))
	fixed.Sources = append([]model.Source(nil), query.Sources...)
	for j := range fixed.Sources {
		fixed.Sources[j].Ranked = false
	}
	require.NoError(t, m.Forward(background, &ws, []model.Run{fixed}))
	require.NotEqual(t, want, fixed.Logits)
}

// The workspace has room for the keys of all sources together, whichever of them is the longest.
func TestRankingMemoryDoesNotDependOnOrder(t *testing.T) {
	m, err := small().load(t)
	require.NoError(t, err)
	var ws model.Workspace
	query := everyOther(m)[3]
	require.NoError(t, m.Forward(background, &ws, []model.Run{query}))
	sources := query.Sources
	for _, order := range [][3]int{{1, 0, 2}, {2, 0, 1}, {0, 2, 1}} {
		query.Sources = []model.Source{sources[order[0]], sources[order[1]], sources[order[2]]}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, m.Forward(background, &ws, []model.Run{query}))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1024))
	}
}
