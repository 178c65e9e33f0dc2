// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/model/modeltest"
)

// ties counts passes in which two sources matter to a reader so nearly alike that float32 and float64 may put them in
// different orders. They are not compared, and must be few.
type ties struct{ passes, close int }

// clearly is the least relative difference of importances that float32 is trusted to see.
const clearly = 1e-4

// requireClose compares logits with those of one dense pass over the plan's tokens under its mask.
func (c *ties) requireClose(t *rapid.T, ref *modeltest.Model, p *Plan, got []float32) {
	m, err := p.Mask(rapid.IntRange(1, 9).Draw(t, "block"))
	require.NoError(t, err)
	g := modeltest.Graph{Sees: m.Allowed, Distance: readerDistance(p), Score: readerScore(p)}
	gap := math.Inf(1)
	g.Layer = rankedLayer(p, 0, g.Distance, &gap)
	want := lastRow(ref.Logits(allTokens(p), g))
	if c.clear(gap) {
		requireClose(t, want, got)
	}
}

// clear counts a pass and reports whether it can be compared.
func (c *ties) clear(gap float64) bool {
	c.passes++
	if gap < clearly {
		c.close++
	}
	return gap >= clearly
}

func (c *ties) requireFew(t require.TestingT) {
	require.LessOrEqual(t, c.close, 1+c.passes/3, "of %d passes", c.passes) // of random plans 8 in 100 are, of drawn requests 3 in 1000
}

// rankedLayer returns what moves ranked sources from their base to their places in a layer, by the definition in
// [posenc.Seen]; nil for a plan that has none. There are so many tokens of an answer after the plan's, which read what the
// query reads. It leaves the least relative difference of two importances in gap; sources of the same tokens do not count.
func rankedLayer(p *Plan, answer int, distance func(i, j int) int, gap *float64) func(int, func(i, j, head int) float64) func(i, j int) int {
	l := p.layout
	if !l.HasRanked() {
		return nil
	}
	var nodeOf, first []int
	for n := range l.Len() {
		first = append(first, len(nodeOf))
		for range l.Node(n).Len {
			nodeOf = append(nodeOf, n)
		}
	}
	end := len(nodeOf)
	span := func(n int) []int { return ints(first[n], first[n]+l.Node(n).Len) }
	return func(heads int, score func(i, j, head int) float64) func(i, j int) int {
		place := map[[2]int]int{} // of a source for a token: after the ranked sources' base
		for reader := range l.Len() {
			var ranked []int
			for _, s := range l.Sees(reader) {
				if s.Ranked {
					ranked = append(ranked, int(s.Node))
				}
			}
			if len(ranked) == 0 {
				continue
			}
			var together [][]int
			if lo, hi := l.Group(reader); hi-lo > 1 {
				together = [][]int{span(reader)}
			} else {
				for _, i := range span(reader) {
					together = append(together, []int{i})
				}
			}
			if reader == l.Query() {
				for _, i := range ints(end, end+answer) {
					together = append(together, []int{i})
				}
			}
			for _, rows := range together {
				weights := importance(rows, ranked, span, heads, score)
				order := ints(0, len(ranked))
				slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[a], weights[b]) })
				at := 0
				for k, j := range order {
					if k > 0 && !slices.Equal(p.tokens[ranked[j]], p.tokens[ranked[order[k-1]]]) {
						*gap = min(*gap, (weights[j]-weights[order[k-1]])/weights[j])
					}
					for _, i := range rows {
						place[[2]int{i, ranked[j]}] = at
					}
					at += l.Node(ranked[j]).Len
				}
			}
		}
		return func(i, j int) int {
			if j >= end {
				return distance(i, j)
			}
			return distance(i, j) - place[[2]int{i, nodeOf[j]}]
		}
	}
}

// importance returns how much sources matter to rows of their reader.
func importance(rows, sources []int, span func(n int) []int, heads int, score func(i, j, head int) float64) []float64 {
	weights := make([]float64, len(sources))
	for _, i := range rows {
		for h := range heads {
			sum := 0.0
			for _, s := range sources {
				for _, j := range span(s) {
					sum += math.Exp(score(i, j, h))
				}
			}
			for k, s := range sources {
				for _, j := range span(s) {
					weights[k] += math.Exp(score(i, j, h)) / sum / float64(len(span(s)))
				}
			}
		}
	}
	return weights
}

func ints(lo, hi int) []int {
	var out []int
	for i := lo; i < hi; i++ {
		out = append(out, i)
	}
	return out
}

// PINE against the paper (section 3.2), over the text end to end: within a segment and for the query, importance of segment
// j is the mean of softmax(q·k/√d) without positions over all other segments' tokens, per token of j; segments stand in
// ascending importance, their reader after them.
func TestPINEFollowsThePaper(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	var ties ties
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, PINE)
		f := flat(r)
		query, prefix, sum := len(r.Segments), len(r.Prefix.Tokens), 0
		start := map[int]int{}
		for i, s := range f.piece {
			if f.at[i] == 0 {
				start[s] = i
			}
		}
		for _, s := range r.Segments {
			sum += len(s.Tokens)
		}
		span := func(s int) []int { return ints(start[s], start[s]+len(r.Segments[s].Tokens)) }
		gap := math.Inf(1)
		want := lastRow(ref.Logits(f.tokens, modeltest.Graph{
			Sees: func(i, j int) bool {
				switch {
				case f.piece[i] == f.piece[j]:
					return j <= i
				case f.piece[i] == -1:
					return false
				}
				return f.piece[j] != query
			},
			Layer: func(heads int, score func(i, j, head int) float64) func(i, j int) int {
				positions := make([]map[int]int, len(f.tokens)) // per token: where segments start
				for reader := 0; reader <= query; reader++ {
					var others []int
					for s := range r.Segments {
						if s != reader {
							others = append(others, s)
						}
					}
					var groups [][]int
					if reader < query {
						groups = [][]int{span(reader)}
					} else {
						for i := range r.Query.Tokens {
							groups = append(groups, []int{start[query] + i})
						}
					}
					for _, rows := range groups {
						weights := importance(rows, others, span, heads, score)
						at := map[int]int{}
						for a, s := range others {
							// It ends where the more important ones begin.
							end := prefix + sum
							if reader < query {
								end -= len(r.Segments[reader].Tokens)
							}
							for b, other := range others {
								if weights[b] > weights[a] || weights[b] == weights[a] && b < a {
									end -= len(r.Segments[other].Tokens)
								}
								if a != b && !slices.Equal(r.Segments[s].Tokens, r.Segments[other].Tokens) {
									gap = min(gap, math.Abs(weights[a]-weights[b])/weights[a])
								}
							}
							at[s] = end - len(r.Segments[s].Tokens)
						}
						for _, i := range rows {
							positions[i] = at
						}
					}
				}
				own := func(i int) int {
					switch s := f.piece[i]; {
					case s == -1:
						return f.at[i]
					case s == query:
						return prefix + sum + f.at[i]
					default:
						return prefix + sum - len(r.Segments[s].Tokens) + f.at[i]
					}
				}
				return func(i, j int) int {
					if f.piece[i] == f.piece[j] || f.piece[j] == -1 {
						return own(i) - own(j)
					}
					return own(i) - positions[i][f.piece[j]] - f.at[j]
				}
			},
		}))
		got := logits(t, e, compile(t, e, r)).Logits
		if ties.clear(gap) {
			requireClose(t, want, got)
		}
	})
	ties.requireFew(t)
}
