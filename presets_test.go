// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/modeltest"
)

// flatText is a request's tokens end to end: prefix, segments, query.
type flatText struct {
	tokens []int32
	piece  []int // per token: −1 for the prefix, the segment, or len(segments) for the query
	at     []int // per token: place within its piece
}

func flat(r *Request) flatText {
	var f flatText
	add := func(piece int, ids []int32) {
		for i, id := range ids {
			f.tokens, f.piece, f.at = append(f.tokens, id), append(f.piece, piece), append(f.at, i)
		}
	}
	add(-1, r.Prefix.Tokens)
	for i, s := range r.Segments {
		add(i, s.Tokens)
	}
	add(len(r.Segments), r.Query.Tokens)
	return f
}

// APE against the equation of the paper (section 4), as the published code computes it: the query attends to all segments
// at temperature T, multiplies their log-sum-exp by S·T, and joins them by it with the prefix and itself.
func TestAPEFollowsThePaper(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, APE)
		f := flat(r)
		query, longest := len(r.Segments), 0
		for _, s := range r.Segments {
			longest = max(longest, len(s.Tokens))
		}
		position := func(i int) int {
			switch f.piece[i] {
			case -1:
				return f.at[i]
			case query:
				return len(r.Prefix.Tokens) + longest + f.at[i]
			}
			return len(r.Prefix.Tokens) + f.at[i]
		}
		want := lastRow(ref.Logits(f.tokens, modeltest.Graph{
			Sees: func(i, j int) bool {
				switch {
				case f.piece[i] == f.piece[j]:
					return j <= i
				case f.piece[i] == query:
					return true
				}
				return f.piece[j] == -1 && r.APE.SharedPrefix
			},
			Distance: func(i, j int) int { return position(i) - position(j) },
			Score: func(i, j, _ int) (scale, bias, power float64) {
				if f.piece[i] == query && f.piece[j] >= 0 && f.piece[j] < query {
					return 1 / r.APE.Temperature, 0, r.APE.Scale * r.APE.Temperature
				}
				return 1, 0, 1
			},
		}))
		requireClose(t, want, logits(t, e, compile(t, e, r)).Logits)
	})
}

// With a temperature and a scaling factor of 1, APE is PCW to the last bit and shares its cache.
func TestNeutralAPEIsPCW(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := openTiny(t)
		defer e.Close()
		r := drawRequest(t, PCW)
		want := logits(t, e, compile(t, e, r))
		r.Strategy, r.APE = APE, APEParams{Temperature: 1, Scale: 1}
		got := logits(t, e, compile(t, e, r))
		require.Equal(t, want.Logits, got.Logits)
		require.Equal(t, len(r.Query.Tokens), got.Usage.EncodedTokens)
		require.Equal(t, want.Tokens, got.Tokens)
	})
}
