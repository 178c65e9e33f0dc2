// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScoresOfEdges(t *testing.T) {
	l, err := PCW(2, []int{3, 4}, 1)
	require.NoError(t, err)
	require.Zero(t, l.Heads())
	bias := make([]float32, 2) // f may reuse it
	biased, err := l.WithScores(func(reader int, s Seen) (Score, error) {
		assert.Equal(t, 3, reader)
		bias[0], bias[1] = -float32(s.Node), float32(math.Copysign(0, -1))
		return Score{Bias: bias, Power: 1}, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, biased.Heads())
	seen := biased.Sees(3)
	require.Equal(t, []int32{0, 1, 2}, []int32{seen[0].Score, seen[1].Score, seen[2].Score}, "a bias of zeros is neutral")
	require.Equal(t, Score{}, biased.Score(seen[0]))
	require.Equal(t, Score{Scale: 1, Bias: []float32{-1, 0}, Power: 1}, biased.Score(seen[1]))
	require.Equal(t, Score{Scale: 1, Bias: []float32{-2, 0}, Power: 1}, biased.Score(seen[2]))
	require.Zero(t, l.Sees(3)[1].Score, "the layout itself is as it was")
	require.Equal(t, l.Tokens(), biased.Tokens())

	plain, err := biased.WithScores(func(int, Seen) (Score, error) { return Score{Scale: 1}, nil })
	require.NoError(t, err)
	require.Equal(t, l, plain)
}

func TestScoresThatCannotBeUsed(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	l, err := PCW(0, []int{3}, 1)
	require.NoError(t, err)
	for _, c := range []struct {
		score Score
		want  string
	}{
		{Score{Scale: nan}, "scale is NaN, must be from -1000 to 1000"},
		{Score{Scale: -inf}, "scale is -Inf, must be from -1000 to 1000"},
		{Score{Power: -1}, "power is -1, must be above 0 and at most 1000"},
		{Score{Power: inf}, "power is +Inf, must be above 0 and at most 1000"},
		{Score{Bias: []float32{0, inf}}, "bias of head 1 is +Inf, must be from -100000 to 100000, or -Inf"},
		{Score{Bias: []float32{nan}}, "bias of head 0 is NaN, must be from -100000 to 100000, or -Inf"},
	} {
		_, err := l.WithScores(func(int, Seen) (Score, error) { return c.score, nil })
		require.EqualError(t, err, "posenc: node 1 (query): source 0 (segment 0): "+c.want)
		_, err = NewLayoutBuilder().Score(c.score)
		require.EqualError(t, err, "posenc: "+c.want)
	}
	mine := errors.New("no relation")
	_, err = l.WithScores(func(int, Seen) (Score, error) { return Score{}, mine })
	require.ErrorIs(t, err, mine)

	b := NewLayoutBuilder()
	first, err := b.Score(Score{Bias: []float32{1, 2}})
	require.NoError(t, err)
	again, err := b.Score(Score{Scale: 1, Bias: []float32{1, 2}})
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = b.Score(Score{Bias: []float32{1}})
	require.EqualError(t, err, "posenc: bias for 1 heads, others are for 2")
	_, err = b.Add(Node{Len: 1})
	require.NoError(t, err)
	_, err = b.Add(Node{Len: 1}, Seen{Score: 2})
	require.EqualError(t, err, "posenc: node 1 (segment 0): source 0 (segment 0): unknown score 2")
}

func TestAPE(t *testing.T) {
	pcw, err := PCW(5, []int{3, 4}, 6)
	require.NoError(t, err)
	plain, err := APE(5, []int{3, 4}, APEOptions{Temperature: 1, Scale: 1}, 6)
	require.NoError(t, err)
	require.Equal(t, pcw, plain)

	l, err := APE(5, []int{3, 4}, APEOptions{Temperature: 0.8, Scale: 0.5, SharedPrefix: true}, 6)
	require.NoError(t, err)
	require.Equal(t, []string{
		"[1,-1,0,0,5]",
		"[0,0,0,5,3,[0,0]]",
		"[0,1,0,5,4,[0,0]]",
		"[2,-1,0,9,6,[0,0],[1,5],[2,5]]",
	}, dump(t, l))
	for i := range l.Len() {
		for _, s := range l.Sees(i) {
			want := Score{}
			if i == l.Query() && s.Node > 0 {
				want = Score{Scale: 1.25, Power: 0.4}
			}
			require.Equal(t, want, l.Score(s))
		}
	}
	for _, o := range []APEOptions{{}, {Temperature: 1}, {Temperature: math.NaN(), Scale: 1}, {Temperature: 1, Scale: math.Inf(1)}, {Temperature: -1, Scale: 1}} {
		_, err := APE(5, []int{3}, o, 6)
		require.ErrorContains(t, err, "want a finite number above 0")
	}
}
