// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

// A continuation scores what one dense float64 pass over the text that ends with it
// gives its tokens.
func TestScoreAgreesWithDensePass(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	// Presets whose query attends to its sources in the same way however long it is.
	presets := []Strategy{Sequential, Block, PCW, GraphKV, GraphKVTopK, Ego, EgoBatch, DAG}
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, presets...)
		c := drawTokens(t, 5, "continuation")
		got, err := e.Score(context.Background(), compile(t, e, r), c)
		require.NoError(t, err)

		longer := *r
		longer.Query = Tokens(append(slices.Clone(r.Query.Tokens), c...)...)
		p := compile(t, e, &longer)
		m, err := p.Mask(4)
		require.NoError(t, err)
		all := ref.Logits(allTokens(p), modeltest.Graph{Sees: m.Allowed, Distance: readerDistance(p)})
		rows, _ := all.Dims()
		require.Len(t, got.LogProbs[0], len(c))
		sum := 0.0
		for k, id := range c {
			row := all.RawRowView(rows - len(c) + k - 1)
			want := 0.0
			for _, x := range row {
				want += math.Exp(x)
			}
			want = row[id] - math.Log(want)
			sum += want
			require.InDelta(t, want, got.LogProbs[0][k], 1e-4)
		}
		require.InDelta(t, sum, got.Sum(0), 1e-3)
	})
}

// Whatever scores are allowed, attention stays a number: clients choose them.
func TestLargestScoresGiveNumbers(t *testing.T) {
	e := tinyEngine(t)
	largest := rapid.SampledFrom([]float64{posenc.MaxScale, -posenc.MaxScale, 1e-30, -1})
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Strategies()...)).WithMaxTokens(3)
		layout, err := p.layout.WithScores(func(int, posenc.Seen) (posenc.Score, error) {
			s := posenc.Score{Scale: float32(largest.Draw(t, "scale")), Power: float32(math.Abs(largest.Draw(t, "power")))}
			for range tinyHeads {
				s.Bias = append(s.Bias, rapid.SampledFrom([]float32{posenc.MaxBias, -posenc.MaxBias, float32(math.Inf(-1)), 0}).Draw(t, "bias"))
			}
			return s, nil
		})
		if err != nil {
			t.Skip(err)
		}
		q := *p
		q.layout = layout
		_, err = e.Generate(context.Background(), &q)
		require.NoError(t, err)
		_, err = e.Explain(context.Background(), &q)
		require.NoError(t, err)
	})
}

// Under every preset, no token scores higher than the one that a greedy answer takes.
func TestScoreAgreesWithGenerate(t *testing.T) {
	e := tinyEngine(t)
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Strategies()...)).WithMaxTokens(4)
		answer, err := e.Generate(context.Background(), p, WithLogits())
		require.NoError(t, err)
		greedy := answer.Tokens
		at := rapid.IntRange(0, len(greedy)-1).Draw(t, "at")
		other := append(slices.Clone(greedy[:at]), rapid.Int32Range(0, tinyVocab-1).Draw(t, "other"))
		got, err := e.Score(context.Background(), p, greedy, other)
		require.NoError(t, err)
		require.Equal(t, got.LogProbs[0][:at], got.LogProbs[1][:at], "the same tokens after the same tokens")
		require.LessOrEqual(t, got.LogProbs[1][at], got.LogProbs[0][at]+1e-4)
		require.InDelta(t, logProb(answer.Logits, greedy[0]), got.LogProbs[0][0], 1e-4)
	})
}

// How continuations are batched, and which others there are, changes no bit. Nothing
// is encoded twice.
func TestScoreOfManyAndOfLong(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	q := &Request{Strategy: Block, Segments: []Segment{{ID: "a", Tokens: randomTokens(r, 9)}, {ID: "b", Tokens: randomTokens(r, 7)}},
		Query: Tokens(randomTokens(r, 5)...)}
	var continuations [][]int32
	scored := 0
	for _, n := range []int{1, 3, scoreRows, 2*scoreRows + 9, 2, 1} {
		continuations = append(continuations, randomTokens(r, n))
		scored += n
	}
	var want *Scores
	for _, batch := range []int{512, 7, 1} {
		e := tinyEngine(t, WithBatchTokens(batch))
		p := compile(t, e, q)
		got, err := e.Score(t.Context(), p, continuations...)
		require.NoError(t, err)
		require.Equal(t, Usage{PromptTokens: 21, EncodedTokens: 21, CompletionTokens: scored}, got.Usage)
		for i, c := range continuations {
			require.Len(t, got.LogProbs[i], len(c))
		}
		if want == nil {
			want = got
		}
		require.Equal(t, want.LogProbs, got.LogProbs, "batches of %d", batch)
		alone, err := e.Score(t.Context(), p, continuations[3])
		require.NoError(t, err)
		require.Equal(t, want.LogProbs[3], alone.LogProbs[0])
		require.Equal(t, 5, alone.Usage.EncodedTokens, "only the query")
	}
}

// The probabilities of all tokens after one text make 1.
func TestScoreIsADistribution(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(5, 6, 7)})
	all := make([][]int32, tinyVocab)
	for i := range all {
		all[i] = []int32{9, int32(i)}
	}
	got, err := e.Score(t.Context(), p, all...)
	require.NoError(t, err)
	sum := 0.0
	for i := range all {
		sum += math.Exp(got.LogProbs[i][1])
	}
	require.InDelta(t, 1, sum, 1e-9)
}

func TestScoreRefuses(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(5, 6, 7)})
	_, err := e.Score(t.Context(), p, []int32{1}, nil)
	require.ErrorContains(t, err, "continuation 1 is empty")
	var bad *TokenError
	_, err = e.Score(t.Context(), p, []int32{1, tinyVocab})
	require.ErrorAs(t, err, &bad)
	require.Equal(t, TokenError{Node: "continuation 0", Token: tinyVocab, Vocab: tinyVocab}, *bad)
	_, err = e.Score(t.Context(), nil, []int32{1})
	require.ErrorIs(t, err, errNoPlan)

	room := e.Model().Config().Context - 3
	long := make([]int32, room+2)
	_, err = e.Score(t.Context(), p, long)
	require.ErrorContains(t, err, fmt.Sprintf("room for %d after the query", room+1))
	_, err = tinyEngine(t, WithLongContext()).Score(t.Context(), p, long)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Score(ctx, p, []int32{1, 2})
	require.ErrorIs(t, err, ctx.Err())
	require.Zero(t, e.Stats().Cache.Flights)
}
