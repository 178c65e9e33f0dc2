// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/modeltest"
	"github.com/graphkv/graphkv/posenc"
)

// repairedText evaluates selective recomputation as the papers describe it, in float64: a segment's tokens, encoded alone, and
// those of them that are encoded again stand in one dense pass, in which a token that is encoded again, or the query, sees
// of every place before it the token that was encoded again if there is one there, and the one of the segment alone
// otherwise.
func repairedText(ref *modeltest.Model, r *Request, chosen [][]int) []float64 {
	type token struct {
		id           int32
		piece, at    int // −1 for the prefix, a segment, or len(segments) for the query
		position     int
		again, alone bool
	}
	query := len(r.Segments)
	var all []token
	position := 0
	add := func(piece int, ids []int32) {
		for at, id := range ids {
			isSegment := piece >= 0 && piece < query
			if isSegment {
				all = append(all, token{id, piece, at, position + at, false, true})
			}
			if !isSegment || slices.Contains(chosen[piece], at) {
				all = append(all, token{id, piece, at, position + at, isSegment, false})
			}
		}
		position += len(ids)
	}
	add(-1, r.Prefix.Tokens)
	for i, s := range r.Segments {
		add(i, s.Tokens)
	}
	add(query, r.Query.Tokens)
	ids := make([]int32, len(all))
	for i, t := range all {
		ids[i] = t.id
	}
	return lastRow(ref.Logits(ids, modeltest.Graph{
		Sees: func(i, j int) bool {
			a, b := all[i], all[j]
			switch {
			case a.position < b.position:
				return false
			case a.piece == -1:
				return b.piece == -1
			case a.alone:
				return b.alone && a.piece == b.piece
			}
			return !b.alone || !slices.Contains(chosen[b.piece], b.at)
		},
		Distance: func(i, j int) int { return all[i].position - all[j].position },
	}))
}

// keysValues runs a plain text and returns every token's keys and values in a layer, side by side.
func keysValues(ref *modeltest.Model, text []int32, layer int) (rows [][]float64) {
	ref.Watched(text, modeltest.Causal(), modeltest.Watch{
		Hidden: func(l int, x *mat.Dense) {
			if l != layer {
				return
			}
			k, v := ref.KeysValues(l, x)
			for i := range text {
				rows = append(rows, append(slices.Clone(k.RawRowView(i)), v.RawRowView(i)...))
			}
		},
		Weight: func(int, int, int, int, float64) {},
	})
	return rows
}

// clearlyMost returns the n tokens of the largest deviations between two encodings, ascending, and whether there is a gap to the
// next that rounding cannot close.
func clearlyMost(a, b [][]float64, n int) (tokens []int, clear bool) {
	deviation := make([]float64, len(a))
	order := make([]int, len(a))
	for i := range a {
		order[i] = i
		deviation[i] = math.Pow(floats.Distance(a[i], b[i], 2), 2)
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(deviation[j], deviation[i]) })
	clear = n == len(a) || deviation[order[n-1]] > deviation[order[n]]*1.001+1e-9
	return slices.Sorted(slices.Values(order[:n])), clear
}

// CacheBlend against the description in the paper (sections 4.2 and 4.3): the deviation of a token is that of its keys and
// values in the second layer from those of a full prefill.
func TestCacheBlendFollowsThePaper(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	near, repaired := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, CacheBlend)
		r.Repair.Fraction = new(rapid.Float64Range(0.05, 0.95).Draw(t, "fraction"))
		p := compile(t, e, r)
		repairs, err := e.Repaired(t.Context(), p)
		require.NoError(t, err)
		text := slices.Clone(r.Prefix.Tokens)
		for _, s := range r.Segments {
			text = append(text, s.Tokens...)
		}
		full := keysValues(ref, append(text, r.Query.Tokens...), 1)
		chosen := make([][]int, len(r.Segments))
		at := len(r.Prefix.Tokens)
		for i, s := range r.Segments {
			n := int(math.Ceil(*r.Repair.Fraction * float64(len(s.Tokens))))
			var clear bool
			chosen[i], clear = clearlyMost(keysValues(ref, s.Tokens, 1), full[at:at+len(s.Tokens)], n)
			at += len(s.Tokens)
			node := slices.IndexFunc(p.ids, func(id string) bool { return id == "kv1."+s.ID })
			if node < 0 { // nothing before it, or all of it
				require.True(t, n == len(s.Tokens) || i == 0 && len(r.Prefix.Tokens) == 0)
				continue
			}
			repaired++
			if !clear {
				near++
				chosen[i] = repairs[node]
			}
			require.Equal(t, chosen[i], repairs[node])
		}
		requireClose(t, repairedText(ref, r, chosen), logits(t, e, p).Logits)
	})
	require.NotZero(t, repaired)
	require.Less(t, near, 3+repaired/20, "near-ties are rare")
}

// EPIC's LegoLink encodes the first k tokens of every segment but the first of all again.
func TestEPICFollowsThePaper(t *testing.T) {
	e := tinyEngine(t)
	ref := loadReference(t, tinyFile)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t, EPIC)
		chosen := make([][]int, len(r.Segments))
		for i, s := range r.Segments {
			if i > 0 || len(r.Prefix.Tokens) > 0 {
				chosen[i] = firstTokens(min(*r.Repair.First, len(s.Tokens)))
			}
		}
		requireClose(t, repairedText(ref, r, chosen), logits(t, e, compile(t, e, r)).Logits)
	})
}

// Repairing nothing is block and repairing all is sequential, to the last bit and in the cache.
func TestRepairAtItsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := openTiny(t)
		defer e.Close()
		r := drawRequest(t, Block)
		r.MaxTokens = 3
		for _, c := range []struct {
			strategy, like Strategy
			repair         RepairParams
		}{
			{CacheBlend, Block, RepairParams{Fraction: new(0.0)}},
			{EPIC, Block, RepairParams{First: new(0)}},
			{CacheBlend, Sequential, RepairParams{Fraction: new(1.0)}},
			{EPIC, Sequential, RepairParams{First: new(9)}},
		} {
			r.Strategy = c.like
			want := logits(t, e, compile(t, e, r))
			r.Strategy, r.Repair = c.strategy, c.repair
			got := logits(t, e, compile(t, e, r))
			require.Equal(t, want.Logits, got.Logits)
			require.Equal(t, want.Tokens, got.Tokens)
			require.Equal(t, len(r.Query.Tokens), got.Usage.EncodedTokens)
		}
	})
}

// repairAll is a sequential plan whose nodes are all encoded alone first and then repaired as a whole, in the given way.
func repairAll(t require.TestingT, p *Plan, how func(n int) posenc.Repair) *Plan {
	b := posenc.NewLayoutBuilder()
	q := &Plan{maxTokens: p.maxTokens}
	add := func(id string, tokens []int32, n posenc.Node, sees ...posenc.Seen) int32 {
		i, err := b.Add(n, sees...)
		require.NoError(t, err)
		q.ids, q.tokens = append(q.ids, id), append(q.tokens, tokens)
		return int32(i)
	}
	place := make([]int32, p.Len())
	for i := range p.Len() {
		n := p.layout.Node(i)
		var sees []posenc.Seen
		for _, s := range p.layout.Sees(i) {
			sees = append(sees, posenc.Seen{Node: place[s.Node], Base: s.Base})
		}
		if n.Kind == posenc.SegmentNode {
			alone := n
			alone.Base = 0
			n.Repair = how(n.Len)
			n.Repair.Of = int(add("alone "+p.ids[i], p.tokens[i], alone))
		}
		place[i] = add(p.ids[i], p.tokens[i], n, sees...)
	}
	var err error
	q.layout, err = b.Layout()
	require.NoError(t, err)
	return q
}

// The work that repairs take on the way to sequential's answer changes no bit of it, in any format and however it is cut.
func TestRepairOfEverythingIsExact(t *testing.T) {
	for _, f := range attention.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			e := tinyEngine(t, WithKVFormat(f))
			narrow := tinyEngine(t, WithKVFormat(f), WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1))
			rapid.Check(t, func(t *rapid.T) {
				p := compile(t, e, drawRequest(t, Sequential))
				want := logits(t, e, p).Logits
				for _, q := range []*Plan{
					repairAll(t, p, func(n int) posenc.Repair { return posenc.Repair{First: n} }),
					repairAll(t, p, func(int) posenc.Repair { return posenc.Repair{Fraction: 1} }),
				} {
					require.Equal(t, want, logits(t, e, q).Logits)
					require.Equal(t, want, logits(t, narrow, q).Logits)
				}
			})
		})
	}
}

// What a repair leaves is its origin's bit for bit; of what it encodes something differs.
func TestRepairsKeepTheRest(t *testing.T) {
	for _, f := range attention.Formats() {
		e := tinyEngine(t, WithKVFormat(f))
		changed := 0
		rapid.Check(t, func(t *rapid.T) {
			r := drawRequest(t, CacheBlend, EPIC)
			p := compile(t, e, r)
			repaired, err := e.Repaired(t.Context(), p)
			require.NoError(t, err)
			s, err := e.keyed(p)
			require.NoError(t, err)
			s.claimAll(func(int) bool { return true })
			defer s.release()
			require.NoError(t, s.encode(t.Context(), nil))
			for i := range s.nodes {
				n := &s.nodes[i]
				if n.origin < 0 {
					require.Nil(t, repaired[i])
					continue
				}
				require.Len(t, repaired[i], p.layout.Encodes(i))
				kv, origin := s.node(int32(i)).kv, s.node(n.origin).kv
				require.Equal(t, tokenData(kv, 0, nil), tokenData(origin, 0, nil), "the first layer")
				for l := range kv.Shape().Layers {
					require.Equal(t, tokenData(kv, l, repaired[i]), tokenData(origin, l, repaired[i]))
				}
				if !bytes.Equal(kv.Data(), origin.Data()) { // or all tokens that it sees are the same
					changed++
				}
			}
		})
		require.NotZero(t, changed)
	}
}

// tokenData returns the keys and values of a layer, token by token, without some of them.
func tokenData(kv *kvcache.KV, layer int, without []int) (rows [][]float32) {
	width := kv.Shape().KVHeads * kv.Shape().HeadDim
	for i := range kv.Tokens() {
		if slices.Contains(without, i) {
			continue
		}
		row := make([]float32, 2*width)
		kv.Layer(layer).Load(i, row[:width], row[width:])
		rows = append(rows, row)
	}
	return rows
}

// Repairs of any nodes at any place of a plan, twins among them: cached or not, in one pass or in many, the bits are the
// same; and they are what the lowered plan computes in one dense pass.
func TestRepairsInAnyPlan(t *testing.T) {
	cached := tinyEngine(t)
	uncached := tinyEngine(t, WithCacheBytes(0))
	narrow := tinyEngine(t, WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1))
	ref := loadReference(t, tinyFile)
	stages, dense := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawRepairs(t)
		want := logits(t, uncached, p)
		require.LessOrEqual(t, want.Usage.EncodedTokens, p.Cost().Tokens)
		require.Equal(t, want.Logits, logits(t, narrow, p).Logits)
		require.Equal(t, want.Logits, logits(t, cached, p).Logits)
		again := logits(t, cached, p)
		require.Equal(t, want.Logits, again.Logits)
		require.Equal(t, len(p.tokens[p.layout.Query()]), again.Usage.EncodedTokens)
		require.Equal(t, p.layout.Tokens(), again.Usage.PromptTokens)

		data, err := json.Marshal(p)
		require.NoError(t, err)
		read, err := ParsePlan(data)
		require.NoError(t, err)
		require.Equal(t, want.Logits, logits(t, cached, read).Logits)

		s, err := uncached.keyed(p)
		require.NoError(t, err)
		s.claimAll(func(int) bool { return true })
		stages = max(stages, len(s.stages(newFrontier(s.nodes, false).take())))
		s.release()

		repaired, err := cached.Repaired(t.Context(), p)
		require.NoError(t, err)
		low, err := p.Lower(repaired)
		if err != nil {
			require.ErrorContains(t, err, "is listed twice")
			return
		}
		dense++
		requireClose(t, densePass(t, ref, low, readerDistance(low)), want.Logits)
		requireClose(t, lastRow(mat.NewDense(1, len(want.Logits), doubles(logits(t, cached, low).Logits))), want.Logits)
	})
	require.Greater(t, stages, 1)
	require.NotZero(t, dense)
}

// Repairs wait for their origins and for sources that are encoded as a whole, but not for one another.
func TestStages(t *testing.T) {
	e := tinyEngine(t)
	b := posenc.NewLayoutBuilder()
	p := new(Plan)
	add := func(repair posenc.Repair, sees ...int32) {
		n := posenc.Node{Segment: b.Len(), Len: 3, Repair: repair}
		list := make([]posenc.Seen, len(sees))
		for j, s := range sees {
			list[j].Node = s
		}
		_, err := b.Add(n, list...)
		require.NoError(t, err)
		p.ids, p.tokens = append(p.ids, fmt.Sprint(b.Len())), append(p.tokens, []int32{1, 2, 3})
	}
	add(posenc.Repair{})                      // 0
	add(posenc.Repair{}, 0)                   // 1
	add(posenc.Repair{Of: 0, First: 1}, 1)    // 2: after its origin
	add(posenc.Repair{Of: 1, First: 2}, 2)    // 3: with the repair that it sees
	add(posenc.Repair{}, 3)                   // 4: and after it
	add(posenc.Repair{Of: 4, First: 1}, 2)    // 5: after its origin
	add(posenc.Repair{Of: 0, First: 2}, 4)    // 6: after what it sees
	add(posenc.Repair{}, 0, 1)                // 7: as early as that
	add(posenc.Repair{Of: 7, Fraction: 1}, 6) // 8: with the repair that it sees
	_, err := b.Add(posenc.Node{Kind: posenc.QueryNode, Segment: -1, Len: 1})
	require.NoError(t, err)
	p.ids, p.tokens = append(p.ids, "q"), append(p.tokens, []int32{1})
	p.layout, err = b.Layout()
	require.NoError(t, err)
	s, err := e.keyed(p)
	require.NoError(t, err)
	require.Equal(t, []stage{
		{whole: []int32{0, 1, 7}}, {repairs: []int32{2, 3}, whole: []int32{4}}, {repairs: []int32{5, 6, 8}},
	}, s.stages([]int32{0, 1, 2, 3, 4, 5, 6, 7, 8}))
	// What is at hand already is no reason to wait.
	require.Equal(t, []stage{{repairs: []int32{2, 3}, whole: []int32{4}}, {repairs: []int32{6}}}, s.stages([]int32{2, 3, 4, 6}))
}

func doubles(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// drawRepairs draws a plan of few texts, in which nodes see and repair others; some are encoded together.
func drawRepairs(t *rapid.T) *Plan {
	texts := [][]int32{drawTokens(t, 6, "text"), drawTokens(t, 6, "text"), drawTokens(t, 6, "text")}
	b := posenc.NewLayoutBuilder()
	p := &Plan{maxTokens: NoTokens}
	n := rapid.IntRange(2, 10).Draw(t, "nodes")
	for i := 0; i < n; i++ {
		text := rapid.SampledFrom(texts).Draw(t, "its text")
		if i+2 < n && rapid.IntRange(0, 7).Draw(t, "together") == 0 {
			pair, sees := make([]posenc.Node, 2), make([][]posenc.Seen, 2)
			for k := range pair {
				pair[k] = posenc.Node{Segment: i + k, Base: 6 * k, Len: len(text)}
				for s := range i + 2 {
					if s == i+1-k || s < i && rapid.Bool().Draw(t, "sees") {
						sees[k] = append(sees[k], posenc.Seen{Node: int32(s), Base: 12})
					}
				}
				p.ids, p.tokens = append(p.ids, fmt.Sprint("n", i+k)), append(p.tokens, text)
			}
			_, err := b.AddGroup(pair, sees)
			require.NoError(t, err)
			i++
			continue
		}
		node := posenc.Node{Segment: i, Base: 6 * rapid.IntRange(0, 3).Draw(t, "base")}
		if i == n-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		} else if i > 0 && rapid.IntRange(0, 2).Draw(t, "repairs") > 0 {
			of := rapid.IntRange(0, i-1).Draw(t, "of")
			if node.Repair = (posenc.Repair{Of: of, Fraction: rapid.SampledFrom([]float64{0.1, 0.5, 1}).Draw(t, "fraction")}); rapid.Bool().Draw(t, "first") {
				node.Repair = posenc.Repair{Of: of, First: rapid.IntRange(1, len(p.tokens[of])).Draw(t, "first tokens")}
			}
			text = p.tokens[of]
		}
		node.Len = len(text)
		var sees []posenc.Seen
		for s := range i {
			if rapid.IntRange(0, 3).Draw(t, "sees") == 0 {
				sees = append(sees, posenc.Seen{Node: int32(s), Base: int32(6 * rapid.IntRange(0, 3).Draw(t, "at"))})
			}
		}
		if _, err := b.Add(node, sees...); err != nil { // a repair of a repair, or of one of a group
			node.Repair = posenc.Repair{}
			_, err = b.Add(node, sees...)
			require.NoError(t, err)
		}
		p.ids, p.tokens = append(p.ids, fmt.Sprint("n", i)), append(p.tokens, text)
	}
	var err error
	p.layout, err = b.Layout()
	require.NoError(t, err)
	return p
}

// In a model of one layer keys and values depend on nothing but their token: there is nothing to compare, and every strategy
// that lays segments end to end gives the same answer.
func TestRepairInASingleLayer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "single.gguf")
	require.NoError(t, os.WriteFile(path, singleLayer(t), 0o600))
	e, err := Open(path)
	require.NoError(t, err)
	defer e.Close()
	r := tenPassages(rand.New(rand.NewPCG(64, 1)))
	var want []float32
	for _, s := range []Strategy{Sequential, Block, CacheBlend, EPIC} {
		r.Strategy = s
		p := compile(t, e, r)
		got := logits(t, e, p).Logits
		if want == nil {
			want = got
		}
		require.Equal(t, want, got, s)
		repaired, err := e.Repaired(t.Context(), p)
		require.NoError(t, err)
		for i, tokens := range repaired {
			if tokens != nil {
				require.Equal(t, firstTokens(p.layout.Encodes(i)), tokens)
			}
		}
	}
}

// singleLayer is the tiny model without all layers but the first.
func singleLayer(t *testing.T) []byte {
	f, err := gguf.Open(tinyFile)
	require.NoError(t, err)
	defer f.Close()
	var b gguf.Builder
	for _, key := range f.Keys() {
		value, _ := f.Value(key)
		if strings.HasSuffix(key, ".block_count") {
			require.NoError(t, b.Set(key, uint32(1)))
			continue
		}
		require.NoError(t, b.Set(key, value))
	}
	for _, x := range f.Tensors() {
		if strings.HasPrefix(x.Name, "blk.") && !strings.HasPrefix(x.Name, "blk.0.") {
			continue
		}
		require.NoError(t, b.Add(x.Name, x.Type, x.Shape, x.Data))
	}
	var out bytes.Buffer
	_, err = b.WriteTo(&out)
	require.NoError(t, err)
	return out.Bytes()
}
