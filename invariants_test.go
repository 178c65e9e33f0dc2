// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

const (
	tinyFile  = "model/testdata/tiny/tiny-F32.gguf"
	tinyVocab = 320
)

func openTiny(t require.TestingT, options ...Option) *Engine {
	e, err := Open(tinyFile, options...)
	require.NoError(t, err)
	return e
}

func tinyEngine(t testing.TB, options ...Option) *Engine {
	e := openTiny(t, options...)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func drawTokens(t *rapid.T, atMost int, label string) []int32 {
	return rapid.SliceOfN(rapid.Int32Range(0, tinyVocab-1), 1, atMost).Draw(t, label)
}

// drawRequest draws a request over a random graph, under a random preset that can
// run it.
func drawRequest(t *rapid.T, strategies ...Strategy) *Request {
	r := &Request{Strategy: rapid.SampledFrom(strategies).Draw(t, "strategy"), MaxTokens: NoTokens}
	if rapid.Bool().Draw(t, "has prefix") {
		r.Prefix = Tokens(drawTokens(t, 5, "prefix")...)
	}
	r.Query = Tokens(drawTokens(t, 6, "query")...)
	for i := range rapid.IntRange(1, 6).Draw(t, "segments") {
		r.Segments = append(r.Segments, Segment{ID: fmt.Sprint("s", i), Tokens: drawTokens(t, 9, "segment")})
	}
	r.TopK = rapid.IntRange(1, 4).Draw(t, "k")
	r.Positions = rapid.SampledFrom([]Positions{SharedPositions, SequentialPositions}).Draw(t, "positions")
	last := len(r.Segments) - 1
	switch r.Strategy {
	case Ego:
		r.Center = r.Segments[last].ID
	case EgoBatch:
		for i := range last {
			r.Edges = append(r.Edges, [2]string{r.Segments[i].ID, r.Segments[last].ID})
		}
	case APE:
		r.APE = APEParams{
			Temperature: rapid.Float64Range(0.5, 2).Draw(t, "APE temperature"), Scale: rapid.Float64Range(0.5, 2).Draw(t, "APE scale"),
			SharedPrefix: rapid.Bool().Draw(t, "shared prefix"),
		}
	case HDT:
		anchor := func(label string) Piece { return Tokens(drawTokens(t, 2, label)...) }
		r.HDT = HDTParams{Document: anchor("document"), Section: anchor("section"), Sentence: anchor("sentence"), Bidirectional: rapid.Bool().Draw(t, "encoder")}
	case CacheBlend:
		r.Repair.Fraction = new(rapid.Float64Range(0, 1).Draw(t, "repaired fraction"))
	case EPIC:
		r.Repair.First = new(rapid.IntRange(0, 9).Draw(t, "repaired first"))
	case DAG:
		r.Rounds = rapid.IntRange(0, 2).Draw(t, "rounds")
		if rounds := rapid.SliceOfNDistinct(rapid.IntRange(0, r.Rounds), 0, -1, rapid.ID).Draw(t, "visible rounds"); len(rounds) > 0 {
			r.VisibleRounds = rounds
		}
		for i := range r.Segments {
			for j := range r.Segments {
				// With rounds any edge will do; without them only forward ones.
				if (r.Rounds > 0 || i < j) && rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
					r.Edges = append(r.Edges, [2]string{r.Segments[i].ID, r.Segments[j].ID})
				}
			}
		}
	}
	return r
}

func compile(t require.TestingT, e *Engine, r *Request) *Plan {
	p, err := e.Compile(r)
	require.NoError(t, err)
	return p
}

func logits(t require.TestingT, e *Engine, p *Plan) *Result {
	r, err := e.Generate(context.Background(), p, WithLogits())
	require.NoError(t, err)
	return r
}

// nodeKV encodes a plan and returns a copy of every node's KV.
func nodeKV(t require.TestingT, e *Engine, p *Plan) [][]float32 {
	s, err := e.begin(p)
	require.NoError(t, err)
	defer s.release()
	require.NoError(t, s.encode(context.Background(), nil))
	out := make([][]float32, len(s.nodes))
	for i := range s.nodes {
		n := &s.nodes[i]
		kv := n.kv
		if n.twin >= 0 {
			kv = s.nodes[n.twin].kv
		}
		out[i] = flatten(kv, n.from, len(p.tokens[i]))
	}
	return out
}

// lowered returns a plan without repairs that computes what e does for p.
func lowered(t require.TestingT, e *Engine, p *Plan) *Plan {
	repaired, err := e.Repaired(context.Background(), p)
	require.NoError(t, err)
	low, err := p.Lower(repaired)
	require.NoError(t, err)
	return low
}

func flatten(kv *kvcache.KV, from, tokens int) []float32 {
	var out []float32
	n := kv.Shape().KVHeads * kv.Shape().HeadDim
	k, v := make([]float32, n), make([]float32, n)
	for l := range kv.Shape().Layers {
		for i := from; i < from+tokens; i++ {
			kv.Layer(l).Load(i, k, v)
			out = append(append(out, k...), v...)
		}
	}
	return out
}

// Invariant 1: what a node is made of depends on its ancestors only. The perturbed
// segment keeps its length, so that positions stay.
func TestPerturbingAStrangerChangesNothing(t *testing.T) {
	e := tinyEngine(t, WithCacheBytes(0))
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, Strategies()...)
		victim := rapid.IntRange(0, len(r.Segments)-1).Draw(t, "victim")
		changed := *r
		changed.Segments = slices.Clone(r.Segments)
		tokens := slices.Clone(r.Segments[victim].Tokens)
		at := rapid.IntRange(0, len(tokens)-1).Draw(t, "at")
		tokens[at] = (tokens[at] + rapid.Int32Range(1, tinyVocab-1).Draw(t, "token")) % tinyVocab
		changed.Segments[victim].Tokens = tokens

		p, q := compile(t, e, r), compile(t, e, &changed)
		before, after := nodeKV(t, e, p), nodeKV(t, e, q)
		away := distances(p.Layout(), func(i int) bool { return !slices.Equal(p.Tokens(i), q.Tokens(i)) })
		for i := range before {
			switch {
			case away[i] < 0:
				require.Equal(t, before[i], after[i], "node %s", p.ID(i))
			case away[i] < e.Model().Config().Layers: // each layer reads what is one edge farther
				require.NotEqual(t, before[i], after[i], "node %s", p.ID(i))
			}
		}
	})
}

// distances returns how many edges nodes are away from the nearest that they read, directly or through others, for which is holds; −1 if
// there is none.
func distances(l *posenc.Layout, is func(i int) bool) []int {
	out := make([]int, l.Len())
	for i := range out {
		if !is(i) {
			out[i] = -1
		}
	}
	for round, changed := 0, true; changed; round++ {
		changed = false
		for i := range out {
			if out[i] < 0 && slices.ContainsFunc(l.Sees(i), func(s posenc.Seen) bool { return out[s.Node] == round }) {
				out[i], changed = round+1, true
			}
		}
	}
	return out
}

// Invariant 2: sources that share positions form a set.
func TestOrderOfSharedSourcesChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, PCW, APE, PINE, Ego, DAG)
		r.Positions = SharedPositions
		shuffled := *r
		shuffled.Segments = rapid.Permutation(r.Segments).Draw(t, "segments")
		if len(r.Edges) > 0 {
			shuffled.Edges = rapid.Permutation(r.Edges).Draw(t, "edges")
		}
		a, b := openTiny(t), openTiny(t)
		defer a.Close()
		defer b.Close()
		p, q := compile(t, a, r), compile(t, b, &shuffled)
		require.Equal(t, logits(t, a, p).Logits, logits(t, b, q).Logits)
		// And the keys: what one order has encoded the other finds.
		require.Equal(t, len(q.Tokens(q.Len()-1)), logits(t, a, q).Usage.EncodedTokens)
	})
}

// Invariants 3 and 4: a second request encodes its query only, and cached, uncached
// and evicted-then-encoded runs agree to the last bit, however batches are cut.
func TestReuse(t *testing.T) {
	cached := tinyEngine(t)
	uncached := tinyEngine(t, WithCacheBytes(0))
	narrow := tinyEngine(t, WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1))
	tight := tinyEngine(t, WithCacheBytes(20<<10)) // a few segments fit
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, Strategies()...)
		p := compile(t, cached, r)
		query := len(p.Tokens(p.Len() - 1))
		first, second := logits(t, cached, p), logits(t, cached, p)
		require.Equal(t, query, second.Usage.EncodedTokens)
		require.Equal(t, p.Layout().Tokens(), second.Usage.PromptTokens)
		require.Equal(t, p.Layout().Tokens()-query, second.Usage.CachedTokens)
		require.Equal(t, first.Logits, second.Logits)
		require.Equal(t, first.Logits, logits(t, uncached, p).Logits)
		require.Equal(t, first.Logits, logits(t, narrow, p).Logits)
		require.Equal(t, first.Logits, logits(t, tight, p).Logits)
		require.Equal(t, first.Logits, logits(t, tight, p).Logits)
	})
	require.NotZero(t, tight.Stats().Cache.Evictions)
	for _, e := range []*Engine{cached, uncached, narrow, tight} {
		s := e.Stats().Cache
		require.Zero(t, s.PinnedBytes)
		require.Zero(t, s.OrphanedBytes)
	}
}

// Invariant 5: the cached, part-by-part run equals one dense float64 pass over all
// tokens under the exported mask. Where every node stands at one base the positions
// are one per token; elsewhere, as in graphkv, they are one per reader.
func TestDensePassAgrees(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	onePosition := 0
	var ties ties
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Strategies()...))
		got := logits(t, e, p).Logits
		p = lowered(t, e, p)
		ties.requireClose(t, ref, p, got)
		if positions, ok := tokenPositions(p); ok {
			onePosition++
			distance := func(i, j int) int { return positions[i] - positions[j] }
			requireClose(t, densePass(t, ref, p, distance), got)
		}
	})
	require.NotZero(t, onePosition)
	ties.requireFew(t)
}

// The same holds for edges with scales, biases and powers, and for nodes that see
// themselves in both directions; and neither the cache nor the cut of batches changes a bit.
func TestScoresAndBidirectionalNodesAgreeWithADensePass(t *testing.T) {
	e := tinyEngine(t)
	uncached := tinyEngine(t, WithCacheBytes(0))
	narrow := tinyEngine(t, WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1))
	ref := loadReference(t, tinyFile)
	var ties ties
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Strategies()...))
		p.layout = drawScores(t, p.layout)
		low := lowered(t, e, p)
		got := logits(t, e, p).Logits
		ties.requireClose(t, ref, low, got)
		again := logits(t, e, p)
		require.Equal(t, got, again.Logits)
		require.Equal(t, len(p.Tokens(p.Len()-1)), again.Usage.EncodedTokens)
		require.Equal(t, got, logits(t, uncached, p).Logits)
		require.Equal(t, got, logits(t, narrow, p).Logits)

		data, err := json.Marshal(p)
		require.NoError(t, err)
		read, err := ParsePlan(data)
		require.NoError(t, err)
		require.Equal(t, got, logits(t, e, read).Logits)
	})
	ties.requireFew(t)
}

// drawScores makes some nodes bidirectional and gives edges random scores.
func drawScores(t *rapid.T, l *posenc.Layout) *posenc.Layout {
	heads := 4
	number := func(lo, hi float64, label string) float32 { return float32(rapid.Float64Range(lo, hi).Draw(t, label)) }
	var table []posenc.Score
	for range 3 {
		s := posenc.Score{Scale: number(0.5, 2, "scale"), Power: rapid.SampledFrom([]float32{0, 1, 0.8, 1.5}).Draw(t, "power")}
		if rapid.Bool().Draw(t, "biased") {
			for range heads {
				s.Bias = append(s.Bias, number(-2, 2, "bias"))
			}
			if rapid.IntRange(0, 3).Draw(t, "hides") == 0 {
				s.Bias[rapid.IntRange(0, heads-1).Draw(t, "head")] = float32(math.Inf(-1))
			}
		}
		table = append(table, s)
	}
	causal := make([]bool, l.Len())
	for i := range l.Len() {
		if r := l.Node(i).Repair; !r.IsZero() {
			causal[i], causal[r.Of] = true, true
		}
	}
	b := posenc.NewLayoutBuilder()
	for lo := 0; lo < l.Len(); {
		_, hi := l.Group(lo)
		nodes, rows := make([]posenc.Node, hi-lo), make([][]posenc.Seen, hi-lo)
		for i := lo; i < hi; i++ {
			n := l.Node(i)
			n.Bidirectional = !causal[i] && rapid.IntRange(0, 3).Draw(t, "bidirectional") == 0
			sees := slices.Clone(l.Sees(i))
			for j := range sees {
				sees[j].Score = 0 // it counted another layout's
				if k := rapid.IntRange(0, len(table)).Draw(t, "score"); k > 0 {
					var err error
					sees[j].Score, err = b.Score(table[k-1])
					require.NoError(t, err)
				}
			}
			nodes[i-lo], rows[i-lo] = n, sees
		}
		_, err := b.AddGroup(nodes, rows)
		require.NoError(t, err)
		lo = hi
	}
	out, err := b.Layout()
	require.NoError(t, err)
	return out
}

// readerScore returns the scores of a plan's edges for the reference.
func readerScore(p *Plan) func(i, j, head int) (scale, bias, power float64) {
	l := p.Layout()
	var nodeOf []int
	for n := range l.Len() {
		for range l.Node(n).Len {
			nodeOf = append(nodeOf, n)
		}
	}
	return func(i, j, head int) (scale, bias, power float64) {
		for _, s := range l.Sees(nodeOf[i]) {
			if int(s.Node) != nodeOf[j] || s.Score == 0 {
				continue
			}
			score := l.Score(s)
			if score.Bias != nil {
				bias = float64(score.Bias[head])
			}
			return float64(score.Scale), bias, float64(score.Power)
		}
		return 1, 0, 1
	}
}

// Invariant 6: sequential is a plain causal model over the concatenated text, with
// or without cuts between its pieces.
func TestSequentialIsPlainCausal(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		p := compile(t, e, drawRequest(t, Sequential))
		text := allTokens(p)
		got := logits(t, e, p).Logits
		requireClose(t, lastRow(ref.Logits(text, modeltest.Causal())), got)
		whole := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(text...), MaxTokens: NoTokens})
		requireClose(t, lastRow(ref.Logits(text, modeltest.Causal())), logits(t, e, whole).Logits)
	})
}

func loadReference(t testing.TB, path string) *modeltest.Model {
	f, err := gguf.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	m, err := modeltest.Load(f)
	require.NoError(t, err)
	return m
}

func allTokens(p *Plan) []int32 {
	var tokens []int32
	for i := range p.Len() {
		tokens = append(tokens, p.Tokens(i)...)
	}
	return tokens
}

// densePass runs a plan's tokens end to end under its exported mask and returns the
// logits of the last.
func densePass(t *rapid.T, ref *modeltest.Model, p *Plan, distance func(i, j int) int) []float64 {
	m, err := p.Mask(rapid.IntRange(1, 9).Draw(t, "block"))
	require.NoError(t, err)
	return lastRow(ref.Logits(allTokens(p), modeltest.Graph{Sees: m.Allowed, Distance: distance, Score: readerScore(p)}))
}

// readerDistance returns the distance between tokens as the reader's node sees it.
func readerDistance(p *Plan) func(i, j int) int {
	l := p.Layout()
	var nodeOf, offset []int
	for n := range l.Len() {
		for k := range l.Node(n).Len {
			nodeOf, offset = append(nodeOf, n), append(offset, k)
		}
	}
	return func(i, j int) int {
		reader := nodeOf[i]
		base := l.Node(reader).Base
		for _, s := range l.Sees(reader) {
			if int(s.Node) == nodeOf[j] {
				return base + offset[i] - int(s.Base) - offset[j]
			}
		}
		return offset[i] - offset[j]
	}
}

// tokenPositions returns one position per token if every node stands at its own
// base for all its readers.
func tokenPositions(p *Plan) ([]int, bool) {
	l := p.Layout()
	var positions []int
	for i := range l.Len() {
		for _, s := range l.Sees(i) {
			if int(s.Base) != l.Node(int(s.Node)).Base {
				return nil, false
			}
		}
		for k := range l.Node(i).Len {
			positions = append(positions, l.Node(i).Base+k)
		}
	}
	return positions, true
}

func lastRow(m *mat.Dense) []float64 {
	rows, _ := m.Dims()
	return m.RawRowView(rows - 1)
}

func requireClose(t require.TestingT, want []float64, got []float32) {
	worst := 0.0
	for i := range want {
		worst = math.Max(worst, math.Abs(want[i]-float64(got[i])))
	}
	require.Less(t, worst, 1e-4)
}
