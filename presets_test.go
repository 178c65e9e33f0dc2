// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
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

// Message passing against its definition: h_r(i) is segment i encoded over h_{r−1} of its sources, which stand on positions
// that they share, round by round, after the prefix; the query attends to the rounds that it asks for.
func TestMessagePassingFollowsItsDefinition(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, DAG)
		r.Positions = SharedPositions
		rounds := rapid.IntRange(1, 3).Draw(t, "rounds")
		visible := rapid.SliceOfNDistinct(rapid.IntRange(0, rounds), 1, -1, rapid.ID).Draw(t, "visible rounds")
		r.Rounds, r.VisibleRounds = rounds, visible
		index := map[string]int{}
		for i, s := range r.Segments {
			index[s.ID] = i
		}
		reads := map[[2]int]bool{}
		for _, x := range r.Edges {
			reads[[2]int{index[x[1]], index[x[0]]}] = true
		}
		// Of every round there are those that the query sees or that are read in the next.
		needed := make([][]bool, rounds+1)
		start := make([]int, rounds+2) // where each round stands, and the query
		for k := rounds; k >= 0; k-- {
			needed[k] = make([]bool, len(r.Segments))
			for i, s := range r.Segments {
				needed[k][i] = slices.Contains(visible, k)
				for j := range r.Segments {
					needed[k][i] = needed[k][i] || k < rounds && needed[k+1][j] && reads[[2]int{j, i}]
				}
				if needed[k][i] {
					start[k+1] = max(start[k+1], len(s.Tokens))
				}
			}
		}
		start[0] = len(r.Prefix.Tokens)
		for k := range rounds + 1 {
			start[k+1] += start[k]
		}
		type place struct{ segment, round, position int } // segment −1: the prefix; round beyond the last: the query
		var tokens []int32
		var places []place
		add := func(segment, round, base int, ids []int32) {
			for i, id := range ids {
				tokens, places = append(tokens, id), append(places, place{segment, round, base + i})
			}
		}
		add(-1, 0, 0, r.Prefix.Tokens)
		for k := range needed {
			for i, s := range r.Segments {
				if needed[k][i] {
					add(i, k, start[k], s.Tokens)
				}
			}
		}
		add(0, rounds+1, start[rounds+1], r.Query.Tokens)
		want := lastRow(ref.Logits(tokens, modeltest.Graph{
			Sees: func(i, j int) bool {
				a, b := places[i], places[j]
				switch {
				case a.segment == b.segment && a.round == b.round:
					return j <= i
				case a.round > rounds:
					return b.segment < 0 || slices.Contains(visible, b.round)
				case a.segment < 0 || b.segment < 0:
					return false
				}
				return b.round == a.round-1 && reads[[2]int{a.segment, b.segment}]
			},
			Distance: func(i, j int) int { return places[i].position - places[j].position },
		}))
		requireClose(t, want, logits(t, e, compile(t, e, r)).Logits)
	})
}

// Bidirectional segments agree with a dense pass in which their tokens see one another, are keyed apart from causal ones, and
// survive JSON. What is repaired in parts cannot be bidirectional.
func TestBidirectionalSegments(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, slices.DeleteFunc(unrepaired(), func(s Strategy) bool { return s == PINE })...)
		r.HDT.Bidirectional = false
		causal := planKeys(t, e, compile(t, e, r))
		r.Bidirectional = true
		data, err := json.Marshal(r)
		require.NoError(t, err)
		read, err := ParseRequest(data)
		require.NoError(t, err)
		p := compile(t, e, read)
		requireClose(t, densePass(t, ref, p, readerDistance(p)), logits(t, e, p).Logits)
		for i, key := range planKeys(t, e, p) {
			segment := p.Layout().Node(i).Kind == posenc.SegmentNode
			require.Equal(t, segment, p.Layout().Node(i).Bidirectional)
			if lo, _ := p.Layout().Group(i); lo == i { // which has the key of its group
				require.Equal(t, segment, key != causal[i], "node %d", i)
			}
		}
	})
	_, err := e.Compile(&Request{
		Strategy: EPIC, Bidirectional: true, Query: Tokens(1), Repair: RepairParams{First: new(1)},
		Segments: []Segment{{ID: "a", Tokens: []int32{1, 2}}, {ID: "b", Tokens: []int32{3, 4}}},
	})
	require.ErrorContains(t, err, "of a bidirectional node every token is encoded again")
}
