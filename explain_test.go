// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

func explain(t require.TestingT, e *Engine, p *Plan, options ...ExplainOption) *Explanation {
	x, err := e.Explain(context.Background(), p, options...)
	require.NoError(t, err)
	return x
}

// Masses and residuals are those of one dense float64 pass over the plan and its
// answer, on random graphs with random scores, bidirectional nodes and nodes that see one
// another, whether nodes fit into a batch or not.
func TestExplanationAgreesWithADensePass(t *testing.T) {
	engines := []*Engine{tinyEngine(t), tinyEngine(t, WithBatchTokens(4), WithCacheBytes(0))}
	ref := loadReference(t, tinyFile)
	var ties ties
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, engines[0], drawRequest(t, unrepaired()...))
		p.layout = drawGroups(t, drawScores(t, p.layout))
		answer := rapid.SliceOfN(rapid.Int32Range(0, tinyVocab-1), 0, 6).Draw(t, "answer")
		want, gap := denseExplanation(ref, p, answer)
		if p.Layout().HasRanked() && repeats(p) {
			gap = 0 // of equal sources either may stand first
		}
		if !ties.clear(gap) {
			return
		}
		for _, e := range engines {
			x := explain(t, e, p, ExplainAnswer(answer))
			require.Equal(t, len(want), len(x.Readers))
			for i, r := range x.Readers {
				requireReader(t, want[i], r)
			}
		}
	})
	ties.requireFew(t)
}

// repeats reports whether two nodes have the same tokens.
func repeats(p *Plan) bool {
	for i, a := range p.tokens {
		for _, b := range p.tokens[:i] {
			if slices.Equal(a, b) {
				return true
			}
		}
	}
	return false
}

// drawGroups makes groups of neighbouring nodes, each of which sees some of the others. Groups that there are stay.
func drawGroups(t *rapid.T, l *posenc.Layout) *posenc.Layout {
	b := posenc.NewLayoutBuilder()
	for lo := 0; lo < l.Len(); {
		_, hi := l.Group(lo)
		if wanted := min(lo+rapid.IntRange(1, 3).Draw(t, "group"), l.Query()); hi == lo+1 {
			for hi < wanted {
				if _, end := l.Group(hi); end > hi+1 {
					break
				}
				hi++
			}
		}
		var nodes []posenc.Node
		var sees [][]posenc.Seen
		for i := lo; i < hi; i++ {
			all := slices.Clone(l.Sees(i))
			for j := range all {
				var err error
				all[j].Score, err = b.Score(l.Score(all[j]))
				require.NoError(t, err)
			}
			for j := lo; j < hi; j++ {
				there := slices.ContainsFunc(all, func(s posenc.Seen) bool { return int(s.Node) == j })
				if j != i && !there && rapid.Bool().Draw(t, "sees another of the group") {
					all = append(all, posenc.Seen{Node: int32(j), Base: rapid.Int32Range(0, 40).Draw(t, "base")})
				}
			}
			nodes, sees = append(nodes, l.Node(i)), append(sees, all)
		}
		_, err := b.AddGroup(nodes, sees)
		require.NoError(t, err)
		lo = hi
	}
	out, err := b.Layout()
	require.NoError(t, err)
	return out
}

// unrepaired returns the strategies of which it is known before they run what is encoded.
func unrepaired() []Strategy {
	return slices.DeleteFunc(Strategies(), func(s Strategy) bool { return s == CacheBlend || s == EPIC })
}

// What a query reads of a repaired node is what it reads of its stretches and of what they
// replace, in the plan that has them as nodes.
func TestExplainRepairs(t *testing.T) {
	e := tinyEngine(t)
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, CacheBlend, EPIC))
		repaired, err := e.Repaired(context.Background(), p)
		require.NoError(t, err)
		low, err := p.Lower(repaired)
		require.NoError(t, err)
		total := func(r Reader) (sources, own float64) {
			for _, read := range r.Reads {
				if read.ID == r.ID {
					own += read.Mass
				} else {
					sources += read.Mass
				}
			}
			return sources, own
		}
		whole, parts := explain(t, e, p, ExplainAnswer([]int32{7, 9})).Readers, explain(t, e, low, ExplainAnswer([]int32{7, 9})).Readers
		for k := 1; k <= 2; k++ { // query and answer
			a, b := whole[len(whole)-k], parts[len(parts)-k]
			require.Equal(t, a.ID, b.ID)
			sources, own := total(a)
			lowSources, lowOwn := total(b)
			require.InDelta(t, lowSources, sources, 1e-4)
			require.InDelta(t, lowOwn, own, 1e-4)
		}
		for i := range p.Len() {
			if !p.Layout().Node(i).Repair.IsZero() {
				_, err := e.Explain(context.Background(), p, ExplainNodes(p.ID(i)))
				require.ErrorContains(t, err, "is a repair")
			}
		}
	})
}

func requireReader(t require.TestingT, want, got Reader) {
	require.Equal(t, want.ID, got.ID)
	require.Equal(t, want.Node, got.Node)
	require.Equal(t, want.Tokens, got.Tokens)
	require.Equal(t, len(want.Reads), len(got.Reads), got.ID)
	sum := 0.0
	for j, r := range got.Reads {
		w := want.Reads[j]
		require.Equal(t, w.ID, r.ID)
		require.Equal(t, w.Node, r.Node)
		require.Equal(t, w.Tokens, r.Tokens)
		require.InDelta(t, w.Mass, r.Mass, 1e-4, "%s reads %s", got.ID, r.ID)
		for l, heads := range r.Heads {
			for h, m := range heads {
				require.InDelta(t, w.Heads[l][h], m, 1e-4, "%s reads %s", got.ID, r.ID)
			}
		}
		sum += r.Mass
	}
	require.InDelta(t, 1, sum, 1e-5)
	require.InDeltaSlice(t, want.Residual, got.Residual, 1e-4)
}

// denseExplanation is what Explain should say, from one pass of the reference, and how clear the order of ranked sources is.
func denseExplanation(ref *modeltest.Model, p *Plan, answer []int32) (readers []Reader, gap float64) {
	const layers, heads = 3, 4
	l := p.Layout()
	text := append(allTokens(p), answer...)
	query := l.Query()
	var owner, first []int
	for n := range p.Len() {
		first = append(first, len(owner))
		for range l.Node(n).Len {
			owner = append(owner, n)
		}
	}
	end := len(owner)
	for range answer {
		owner = append(owner, p.Len())
	}
	distance, score := readerDistance(p), readerScore(p)
	// A token of the answer sees what the query's last token sees, as many tokens
	// further on, the query, and the answer before it.
	asQuery := func(i int) (token, further int) { return min(i, end-1), max(0, i-end+1) }
	g := modeltest.Graph{
		Sees: func(i, j int) bool {
			if owner[j] == owner[i] {
				return j <= i || owner[i] < p.Len() && l.Node(owner[i]).Bidirectional
			}
			reader := owner[i]
			if reader == p.Len() {
				if owner[j] == query {
					return true
				}
				reader = query
			}
			for _, s := range l.Sees(reader) {
				if int(s.Node) == owner[j] {
					return true
				}
			}
			return false
		},
		Distance: func(i, j int) int {
			if owner[i] == p.Len() && owner[j] >= query {
				return i - j
			}
			token, further := asQuery(i)
			return distance(token, j) + further
		},
		Score: func(i, j, head int) (float64, float64, float64) {
			if owner[i] == p.Len() && owner[j] >= query {
				return 1, 0, 1
			}
			token, _ := asQuery(i)
			return score(token, j, head)
		},
	}
	gap = math.Inf(1)
	g.Layer = rankedLayer(p, len(answer), g.Distance, &gap)
	hidden := make([]*mat.Dense, layers+1)
	weights := map[[4]int]float64{} // layer, head, reader's token, source
	ref.Watched(text, g, modeltest.Watch{
		Hidden: func(layer int, x *mat.Dense) { hidden[layer] = mat.DenseCopyOf(x) },
		Weight: func(layer, head, i, j int, softmax float64) { weights[[4]int{layer, head, i, owner[j]}] += softmax },
	})
	read := func(node, tokens, from, to int) Read {
		r := Read{Node: node, Tokens: tokens, ID: "answer"}
		if node < p.Len() {
			r.ID = p.ID(node)
		}
		for layer := range layers {
			r.Heads = append(r.Heads, make([]float32, heads))
			for head := range heads {
				sum := 0.0
				for i := from; i < to; i++ {
					sum += weights[[4]int{layer, head, i, node}]
				}
				sum /= float64(to - from)
				r.Heads[layer][head] = float32(sum)
				r.Mass += sum / (layers * heads)
			}
		}
		return r
	}
	reader := func(n, reads, from, to int) Reader {
		r := Reader{Node: n, ID: "answer", Tokens: to - from}
		for _, s := range l.Sees(reads) {
			r.Reads = append(r.Reads, read(int(s.Node), l.Node(int(s.Node)).Len, from, to))
		}
		return r
	}
	for n := range p.Len() {
		if n < query && len(l.Sees(n)) == 0 {
			continue
		}
		from, to := first[n], first[n]+l.Node(n).Len
		r := reader(n, n, from, to)
		r.ID = p.ID(n)
		r.Reads = append(r.Reads, read(n, l.Node(n).Len, from, to))
		for layer := range hidden {
			rows := hidden[layer].Slice(from, to, 0, hidden[layer].RawMatrix().Cols)
			r.Residual = append(r.Residual, relativeResidual(mat.DenseCopyOf(rows)))
		}
		readers = append(readers, r)
	}
	if len(answer) > 0 {
		from, to := end-1, end-1+len(answer)
		r := reader(p.Len(), query, from, to)
		r.Reads = append(r.Reads, read(query, l.Node(query).Len, from, to), read(p.Len(), len(answer)-1, from, to))
		readers = append(readers, r)
	}
	return readers, gap
}

// Whoever encoded the nodes, in whatever batches, in whichever tier they are: an
// explanation says the same.
func TestExplanationDoesNotDependOnTheCache(t *testing.T) {
	for _, format := range attention.Formats() {
		options := []Option{WithKVFormat(format)}
		fresh := openTiny(t, append(options, WithCacheBytes(0), WithBatchTokens(16))...)
		medium := filled(t, options...)
		from := newRemote(medium)
		fetching := openPatient(t, append(options, WithCacheBytes(1<<20), from.layered(time.Minute))...)
		for _, q := range sharedRequests() {
			p := compile(t, fresh, q)
			want := explain(t, fresh, p)
			for range 2 {
				x := explain(t, fetching, p)
				require.Equal(t, want.Answer.Tokens, x.Answer.Tokens)
				for i := range want.Readers {
					for j, r := range want.Readers[i].Reads {
						require.Equal(t, r.Heads, x.Readers[i].Reads[j].Heads)
					}
					require.InDeltaSlice(t, want.Readers[i].Residual, x.Readers[i].Residual, 1e-12)
				}
			}
		}
		require.NotZero(t, fetching.Stats().Cache.Tiers[1].Hits)
		requireIdle(t, fetching)
		require.NoError(t, fresh.Close())
		require.NoError(t, fetching.Close())
	}
}

// The answer that is explained is the one that Generate gives, and a given one is taken
// as it is.
func TestExplainedAnswer(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, sharedRequests()[1])
	want, err := e.Generate(t.Context(), p)
	require.NoError(t, err)
	x := explain(t, e, p)
	require.Equal(t, want.Tokens, x.Answer.Tokens)
	y := explain(t, e, p, ExplainAnswer(want.Tokens))
	require.Nil(t, y.Answer)
	require.Equal(t, x.Readers, y.Readers)

	last := func(x *Explanation) string { return x.Readers[len(x.Readers)-1].ID }
	require.Equal(t, "answer", last(x))
	require.Equal(t, "query", last(explain(t, e, p, ExplainAnswer(nil))))
	require.Equal(t, "query", last(explain(t, e, p.WithMaxTokens(NoTokens))))
	one := explain(t, e, p, ExplainAnswer(want.Tokens[:1])).Readers
	own := one[len(one)-1].Reads
	require.Equal(t, Read{ID: "answer", Node: p.Len(), Heads: [][]float32{{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}}, own[len(own)-1], "nothing to read of yet")
}

func TestExplainNodes(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, sharedRequests()[1])
	ids := func(options ...ExplainOption) (ids []string) {
		for _, r := range explain(t, e, p, append(options, ExplainAnswer([]int32{1}), nil)...).Readers {
			ids = append(ids, r.ID)
		}
		return ids
	}
	require.Equal(t, []string{"kv0.s1", "kv0.s2", "kv0.s3", "kv0.s4", "kv0.s5", "query", "answer"}, ids())
	require.Equal(t, []string{"query", "answer"}, ids(ExplainNodes()))
	require.Equal(t, []string{"kv0.s0", "kv0.s3", "query", "answer"}, ids(ExplainNodes("kv0.s3", "kv0.s0", "query")))
	for _, r := range explain(t, e, p, ExplainNodes("kv0.s0")).Readers[:1] {
		require.Len(t, r.Reads, 1)
		require.Equal(t, 1.0, r.Reads[0].Mass)
	}
}

// The size of an explanation is that of the one that is made, but for an answer that there is not.
func TestExplanationSize(t *testing.T) {
	e := tinyEngine(t)
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Strategies()...)).WithMaxTokens(2)
		size, err := e.ExplanationSize(p)
		require.NoError(t, err)
		x, err := e.Explain(context.Background(), p)
		require.NoError(t, err)
		numbers := 0
		for _, r := range x.Readers {
			numbers += len(r.Reads) * x.Layers * x.Heads
		}
		require.InDelta(t, numbers, size, float64(x.Layers*x.Heads)) // room for the answer's own
	})
}

func TestExplainRefuses(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, sharedRequests()[1])
	for want, o := range map[string]ExplainOption{
		`"kv1.s0" is not a node`:         ExplainNodes("kv1.s0"),
		"token 320 is not in the":        ExplainAnswer([]int32{tinyVocab}),
		"token -1 is not in the":         ExplainAnswer([]int32{-1}),
		"the answer reaches position 30": ExplainAnswer(make([]int32, 30000)),
	} {
		_, err := e.Explain(t.Context(), p, o)
		require.ErrorContains(t, err, want)
	}
	_, err := e.Explain(t.Context(), nil)
	require.ErrorIs(t, err, errNoPlan)
	_, err = e.Explain(t.Context(), &Plan{})
	require.ErrorIs(t, err, errNoPlan)

	b := posenc.NewLayoutBuilder()
	wide := &Plan{}
	var sees []posenc.Seen
	for i := range 2500 {
		_, err := b.Add(posenc.Node{Segment: i, Len: 1}, sees...)
		require.NoError(t, err)
		sees = append(sees, posenc.Seen{Node: int32(i)})
		wide.ids, wide.tokens = append(wide.ids, ""), append(wide.tokens, []int32{1})
	}
	_, err = b.Add(posenc.Node{Kind: posenc.QueryNode, Segment: -1, Len: 1}, sees...)
	require.NoError(t, err)
	wide.layout, err = b.Layout()
	require.NoError(t, err)
	wide.ids, wide.tokens = append(wide.ids, "query"), append(wide.tokens, []int32{1})
	_, _, err = e.toExplain(wide, &explained{})
	_, sizeErr := e.ExplanationSize(wide)
	require.EqualError(t, sizeErr, err.Error())
	require.ErrorContains(t, err, "3131253 edges in 3 layers of 4 heads are more than the 33554432 numbers")
	nodes, _, err := e.toExplain(wide, &explained{chosen: true})
	require.NoError(t, err)
	require.Empty(t, nodes)

	require.NoError(t, e.Close())
	_, err = e.Explain(t.Context(), p)
	require.ErrorIs(t, err, ErrClosed)
}

// Explanations among other requests: neither changes the other, and what is cancelled
// leaves nothing behind.
func TestExplainAmongOthers(t *testing.T) {
	requests := overlapping(8)
	alone := tinyEngine(t)
	e := tinyEngine(t, WithBatchTokens(16))
	var wg sync.WaitGroup
	for i, q := range requests {
		p := compile(t, e, q)
		want := explain(t, alone, p)
		wg.Go(func() {
			r, err := e.Generate(t.Context(), p)
			if assert.NoError(t, err) {
				assert.Equal(t, want.Answer.Tokens, r.Tokens)
			}
		})
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				time.AfterFunc(time.Duration(i)*300*time.Microsecond, cancel)
			}
			x, err := e.Explain(ctx, p)
			if i%3 == 0 && errors.Is(err, context.Canceled) {
				return
			}
			if assert.NoError(t, err) {
				for k := range want.Readers {
					assert.Equal(t, want.Readers[k].Reads, x.Readers[k].Reads)
				}
			}
		})
	}
	wg.Wait()
	requireIdle(t, e)
}

// Explaining is not encoding: the rate by which fetching is weighed is not touched.
func TestExplainLeavesTheRateAlone(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, sharedRequests()[0])
	explain(t, e, p)
	r := e.scheduler.rate.work
	require.NotZero(t, r)
	explain(t, e, p, ExplainAnswer([]int32{1, 2, 3}))
	require.Equal(t, r, e.scheduler.rate.work)
}

func TestExplanationJSON(t *testing.T) {
	e := tinyEngine(t)
	x := explain(t, e, compile(t, e, sharedRequests()[2]))
	data, err := json.Marshal(x)
	require.NoError(t, err)
	var y Explanation
	require.NoError(t, json.Unmarshal(data, &y))
	require.Equal(t, x.Readers, y.Readers)
	require.Equal(t, x.Answer.Text, y.Answer.Text)
	require.Contains(t, string(data), `{"layers":3,"heads":4,"readers":[{"id":"kv0.s5","node":5,"tokens":40,"reads":[{"id":"kv0.s0","node":0,"tokens":5,"mass":0.`)
}

func TestReadByLayers(t *testing.T) {
	r := Read{Heads: [][]float32{{0, 0.5}, {0.25, 0.25}, {1, 0}}}
	require.Equal(t, 0.25, r.Within(0, 1))
	require.Equal(t, 0.375, r.Within(1, 3))
	layer, head := r.Top()
	require.Equal(t, [2]int{2, 0}, [2]int{layer, head})
}
