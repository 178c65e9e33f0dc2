// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

func TestPermutations(t *testing.T) {
	require.Equal(t, [][]int{{}}, permutations(0, 8, 1))
	require.Equal(t, [][]int{{0}}, permutations(1, 8, 1))
	require.Equal(t, [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}, permutations(3, 6, 1))
	rapid.Check(t, func(t *rapid.T) {
		n, limit, seed := rapid.IntRange(0, 40).Draw(t, "n"), rapid.IntRange(1, 30).Draw(t, "limit"), rapid.Uint64().Draw(t, "seed")
		all := permutations(n, limit, seed)
		require.Equal(t, all, permutations(n, limit, seed))
		count := 1
		for i := 2; i <= n && count < limit; i++ {
			count *= i
		}
		require.Len(t, all, min(count, limit))
		require.True(t, slices.IsSorted(all[0]), "the given order comes first")
		seen := map[string]bool{}
		for _, p := range all {
			seen[fmt.Sprint(p)] = true
			require.ElementsMatch(t, all[0], p)
		}
		require.Len(t, seen, len(all))
	})
}

// The figures are their definitions, which need all logits at once.
func TestLogitSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab, n := rapid.IntRange(2, 6).Draw(t, "vocabulary"), rapid.IntRange(1, 5).Draw(t, "permutations")
		var all [][]float64
		var s logitSpread
		for range n {
			x := rapid.SliceOfN(rapid.Float32Range(-8, 8), vocab, vocab).Draw(t, "logits")
			s.add(x)
			all = append(all, nil)
			for _, v := range x {
				all[len(all)-1] = append(all[len(all)-1], float64(v))
			}
		}
		got := new(OrderSensitivity)
		s.report(got)
		variance, difference := 0.0, 0.0
		mean, distributions := make([]float64, vocab), make([][]float64, n)
		for v := range vocab {
			var column []float64
			for _, x := range all {
				column = append(column, x[v])
			}
			_, one := stat.PopMeanVariance(column, nil)
			variance += one / float64(vocab)
			difference = math.Max(difference, slices.Max(column)-slices.Min(column))
		}
		for i, x := range all {
			sum := 0.0
			for _, v := range x {
				sum += math.Exp(v)
			}
			for v := range x {
				distributions[i] = append(distributions[i], math.Exp(x[v])/sum)
				mean[v] += distributions[i][v] / float64(n)
			}
		}
		divergence := 0.0
		for _, p := range distributions {
			divergence += stat.KullbackLeibler(p, mean) / float64(n)
		}
		require.InDelta(t, variance, got.LogitVariance, 1e-9)
		require.InDelta(t, difference, got.MaxDifference, 1e-9)
		require.InDelta(t, divergence, got.Divergence, 1e-9)
		require.GreaterOrEqual(t, got.TopAgreement, 1/float64(n))
	})
}

func orderRequest() *Request {
	r := rand.New(rand.NewPCG(7, 8))
	q := &Request{Prefix: Tokens(1, 2), Query: Tokens(randomTokens(r, 5)...), MaxTokens: 6, Temperature: 0.8}
	for i := range 5 {
		q.Segments = append(q.Segments, Segment{ID: fmt.Sprint("s", i), Tokens: randomTokens(r, 4+2*i)})
	}
	return q
}

// Where segments share positions their order has no effect at all; elsewhere it has,
// and what is measured is a function of the seed.
func TestOrderSensitivity(t *testing.T) {
	e := tinyEngine(t)
	q := orderRequest()
	for strategy, sensitive := range map[Strategy]bool{PCW: false, APE: false, Block: true, Sequential: true, GraphKV: true} {
		q.Strategy = strategy
		q.MaxTokens = 6
		o := OrderOptions{Permutations: 10, Seed: 5}
		s, err := e.OrderSensitivity(t.Context(), q, o)
		require.NoError(t, err)
		require.Equal(t, 10, s.Permutations)
		count := 0
		for _, a := range s.Answers {
			require.Len(t, a.Order, 5)
			count += a.Count
		}
		require.Equal(t, 10, count)
		if !sensitive {
			greedy := *q
			greedy.Temperature = 0
			r, err := e.Generate(t.Context(), compile(t, e, &greedy))
			require.NoError(t, err)
			require.Equal(t, &OrderSensitivity{Permutations: 10, TopAgreement: 1, AnswerAgreement: 1, Answers: []OrderedAnswer{
				{Text: r.Text, Count: 10, Order: []string{"s0", "s1", "s2", "s3", "s4"}, tokens: r.Tokens},
			}}, s, strategy)
			continue
		}
		require.Positive(t, s.MaxDifference, strategy)
		require.Positive(t, s.LogitVariance)
		require.Positive(t, s.Divergence)
		again, err := e.OrderSensitivity(t.Context(), q, o)
		require.NoError(t, err)
		require.Equal(t, s, again)
		o.Seed++
		other, err := e.OrderSensitivity(t.Context(), q, o)
		require.NoError(t, err)
		require.NotEqual(t, s.LogitVariance, other.LogitVariance)
		q.MaxTokens = NoTokens
		unanswered, err := e.OrderSensitivity(t.Context(), q, OrderOptions{})
		require.NoError(t, err)
		require.Equal(t, 8, unanswered.Permutations)
		require.Nil(t, unanswered.Answers)
	}
}

func TestOrderSensitivityRefuses(t *testing.T) {
	e := tinyEngine(t)
	_, err := e.OrderSensitivity(t.Context(), nil, OrderOptions{})
	require.ErrorIs(t, err, errNilRequest)
	for _, n := range []int{-1, maxPermutations + 1} {
		_, err = e.OrderSensitivity(t.Context(), orderRequest(), OrderOptions{Permutations: n})
		require.ErrorContains(t, err, "want at most 10000")
	}
	_, err = e.OrderSensitivity(t.Context(), &Request{}, OrderOptions{})
	require.ErrorContains(t, err, "the query is empty")
}

// Biases that go by the places of segments stay with the segments in any order of them.
func TestBiasesFollowSegments(t *testing.T) {
	e := tinyEngine(t)
	q := orderRequest()
	q.Strategy, q.MaxTokens = PCW, NoTokens
	loud := FuncBias(func(dst []float64, reader, source posenc.Node) error {
		if reader.Kind == posenc.QueryNode && source.Kind == posenc.SegmentNode {
			for h := range dst {
				dst[h] += float64(source.Segment)
			}
		}
		return nil
	})
	var segments []graph.Segment
	for _, s := range slices.Backward(q.Segments) {
		segments = append(segments, graph.Segment{ID: s.ID, Tokens: s.Tokens})
	}
	backwards, err := graph.FromEdges(segments, nil)
	require.NoError(t, err)
	for _, b := range []Bias{RelevanceBias{Scores: []float64{0, 1, 2, 3, 4}}, &RelevanceBias{Scores: []float64{0, 1, 2, 3, 4}}, loud} {
		q.Biases = Biases{b}
		s, err := e.OrderSensitivity(t.Context(), q, OrderOptions{Permutations: 6})
		require.NoError(t, err)
		require.Zero(t, s.MaxDifference)
		want := logits(t, e, compile(t, e, q)).Logits
		require.Equal(t, want, logits(t, e, compile(t, e, q.WithGraph(backwards))).Logits)
		q.Biases = nil
		require.NotEqual(t, want, logits(t, e, compile(t, e, q)).Logits)
	}
	q.Biases = Biases{RelevanceBias{Scores: []float64{1}}}
	_, err = e.OrderSensitivity(t.Context(), q, OrderOptions{})
	require.ErrorContains(t, err, "1 scores for 5 segments")
	q.Biases = Biases{RelevanceBias{Scores: make([]float64, 6)}}
	_, err = e.OrderSensitivity(t.Context(), q, OrderOptions{})
	require.ErrorContains(t, err, "6 scores for 5 segments")
	q.Biases = Biases{nil, FuncBias(nil)}
	_, err = e.OrderSensitivity(t.Context(), q, OrderOptions{})
	require.ErrorContains(t, err, "bias 0 is nil")
}
