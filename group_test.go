// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/posenc"
)

// freePlan is a plan before its nodes are put into an order.
type freePlan struct {
	nodes  []posenc.Node
	sees   [][]posenc.Seen // by the indices of nodes
	tokens [][]int32
	groups [][2]int
	scores []posenc.Score // of which edges have the numbers, from 1 on
}

// drawFreePlan draws nodes that see earlier ones and others of their groups. Tokens are few, so that there are nodes that
// only their place in the graph tells apart, or nothing.
func drawFreePlan(t *rapid.T) *freePlan {
	f := &freePlan{}
	n := rapid.IntRange(2, 9).Draw(t, "nodes")
	for lo := 0; lo < n; {
		hi := lo + 1
		if lo < n-1 && rapid.IntRange(0, 3).Draw(t, "together") > 0 {
			hi = rapid.IntRange(lo+1, n-1).Draw(t, "end")
		}
		f.groups = append(f.groups, [2]int{lo, hi})
		for i := lo; i < hi; i++ {
			length := rapid.SampledFrom([]int{1, 2, 3, 15, 16, 17, 33}).Draw(t, "length")
			f.tokens = append(f.tokens, rapid.SliceOfN(rapid.Int32Range(0, 1), length, length).Draw(t, "tokens"))
			node := posenc.Node{Segment: i, Base: rapid.IntRange(0, 3).Draw(t, "base"), Len: length, Bidirectional: rapid.IntRange(0, 3).Draw(t, "bidirectional") == 0}
			if i == n-1 {
				node.Kind, node.Segment = posenc.QueryNode, -1
			}
			f.nodes = append(f.nodes, node)
			var sees []posenc.Seen
			from := int32(rapid.IntRange(0, 5).Draw(t, "ranked from"))
			for s := range hi {
				if s == i || rapid.IntRange(0, 2).Draw(t, "sees") == 0 {
					continue
				}
				seen := posenc.Seen{Node: int32(s), Base: int32(rapid.IntRange(0, 2).Draw(t, "at"))}
				if rapid.IntRange(0, 2).Draw(t, "ranked") == 0 {
					seen.Ranked, seen.Base = true, from
				}
				sees = append(sees, seen)
			}
			f.sees = append(f.sees, sees)
		}
		lo = hi
	}
	return f
}

// shuffled returns the plan with the members of groups, and what nodes see, listed in another order.
func (f *freePlan) shuffled(t *rapid.T) *freePlan {
	to := make([]int, len(f.nodes)) // new index of a node
	for _, g := range f.groups {
		for k, i := range rapid.Permutation(ints(g[0], g[1])).Draw(t, "members") {
			to[i] = g[0] + k
		}
	}
	out := &freePlan{
		nodes: make([]posenc.Node, len(to)), sees: make([][]posenc.Seen, len(to)), tokens: make([][]int32, len(to)),
		groups: f.groups, scores: f.scores,
	}
	for i, k := range to {
		out.nodes[k], out.tokens[k] = f.nodes[i], f.tokens[i]
		for _, s := range rapid.Permutation(f.sees[i]).Draw(t, "sources") {
			s.Node = int32(to[s.Node])
			out.sees[k] = append(out.sees[k], s)
		}
	}
	return out
}

func (f *freePlan) plan(t require.TestingT) *Plan {
	b := posenc.NewLayoutBuilder()
	for i, s := range f.scores {
		number, err := b.Score(s)
		require.NoError(t, err)
		require.EqualValues(t, i+1, number)
	}
	for _, g := range f.groups {
		_, err := b.AddGroup(f.nodes[g[0]:g[1]], f.sees[g[0]:g[1]])
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	p := &Plan{layout: l, tokens: f.tokens, maxTokens: NoTokens}
	for i := range f.nodes {
		p.ids = append(p.ids, fmt.Sprint("n", i))
	}
	return p
}

// Whatever its groups: the run by parts equals a dense pass, cached, uncached, in narrow batches and after a journey through
// JSON; and the order in which members and sources are listed changes neither a bit nor a key.
func TestGroups(t *testing.T) {
	uncached := tinyEngine(t, WithCacheBytes(0))
	narrow := tinyEngine(t, WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1))
	ref := loadReference(t, tinyFile)
	var ties ties
	grouped := 0
	rapid.Check(t, func(t *rapid.T) {
		f := drawFreePlan(t)
		p := f.plan(t)
		query := len(p.tokens[p.Len()-1])
		e := openTiny(t)
		defer e.Close()
		first := logits(t, e, p)
		require.Equal(t, p.layout.Tokens(), first.Usage.PromptTokens)
		again := logits(t, e, p)
		require.Equal(t, first.Logits, again.Logits)
		require.Equal(t, query, again.Usage.EncodedTokens)
		require.Equal(t, first.Logits, logits(t, uncached, p).Logits)
		require.Equal(t, first.Logits, logits(t, narrow, p).Logits)

		other := f.shuffled(t).plan(t)
		found := logits(t, e, other)
		require.Equal(t, first.Logits, found.Logits)
		require.Equal(t, query, found.Usage.EncodedTokens)
		require.Equal(t, first.Logits, logits(t, uncached, other).Logits)

		data, err := json.Marshal(p)
		require.NoError(t, err)
		read, err := ParsePlan(data)
		require.NoError(t, err)
		for i := range p.Len() {
			lo, hi := p.layout.Group(i)
			a, b := read.layout.Group(i)
			require.Equal(t, [2]int{lo, hi}, [2]int{a, b})
			require.Equal(t, p.layout.Sees(i), read.layout.Sees(i))
			if hi-lo > 1 {
				grouped++
			}
		}
		require.Equal(t, first.Logits, logits(t, e, read).Logits)
		m, err := p.Mask(7)
		require.NoError(t, err)
		require.Equal(t, m.NNZ(), p.Cost().Pairs)
		ties.requireClose(t, ref, p, first.Logits)
	})
	require.NotZero(t, grouped)
	ties.requireFew(t)
}

// Members come from where their group does, and those of an equal group from that.
func TestOriginsOfMembers(t *testing.T) {
	f := &freePlan{groups: [][2]int{{0, 2}, {2, 4}, {4, 5}}}
	for i, tokens := range [][]int32{{1}, {2}, {2}, {1}, {3}} {
		node := posenc.Node{Segment: i, Base: 1, Len: 1}
		if i == 4 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		f.nodes, f.tokens = append(f.nodes, node), append(f.tokens, tokens)
	}
	f.sees = [][]posenc.Seen{{{Node: 1}}, {{Node: 0}}, {{Node: 3}}, {{Node: 2}}, {{Node: 0}, {Node: 3, Base: 1}}}
	e := tinyEngine(t)
	for _, want := range [][]Origin{{Encoded, Encoded, Cached, Cached, Encoded}, {Cached, Cached, Cached, Cached, Encoded}} {
		var got []Origin
		_, err := e.Generate(t.Context(), f.plan(t), OnPrepared(func(nodes []NodeOrigin) {
			for _, n := range nodes {
				got = append(got, n.Origin)
			}
		}))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// Keys and values of members depend on what they can reach, and on nothing else but the order in which sources are summed, for
// which the whole group counts.
func TestPerturbingAMember(t *testing.T) {
	e := tinyEngine(t, WithCacheBytes(0))
	rapid.Check(t, func(t *rapid.T) {
		f := drawFreePlan(t)
		if len(f.nodes) < 2 {
			return
		}
		p := f.plan(t)
		victim := rapid.IntRange(0, len(f.nodes)-2).Draw(t, "victim")
		changed := *f
		changed.tokens = slices.Clone(f.tokens)
		changed.tokens[victim] = slices.Clone(f.tokens[victim])
		changed.tokens[victim][0] = 5
		before, after := nodeKV(t, e, p), nodeKV(t, e, changed.plan(t))
		lo, hi := p.layout.Group(victim)
		ofGroup := distances(p.layout, func(i int) bool { return i >= lo && i < hi })
		for i, away := range distances(p.layout, func(i int) bool { return i == victim }) {
			switch {
			case i >= len(before) || away >= 0:
			case ofGroup[i] < 0:
				require.Equal(t, before[i], after[i], "node %d", i)
			default:
				require.InDeltaSlice(t, before[i], after[i], 1e-4, "node %d", i)
			}
		}
		require.NotEqual(t, before[victim], after[victim])
	})
}

// Two triangles and a hexagon of equal texts look alike to every member: colours cannot tell them apart, and neither can
// attention. A chain is told apart from both.
func TestWhatColoursCannotTellApart(t *testing.T) {
	ring := func(next func(i int) int) *freePlan {
		f := &freePlan{groups: [][2]int{{0, 6}, {6, 7}}}
		for i := range 6 {
			f.nodes = append(f.nodes, posenc.Node{Segment: i, Base: 2, Len: 2})
			f.tokens = append(f.tokens, []int32{7, 8})
			f.sees = append(f.sees, []posenc.Seen{{Node: int32(next(i))}})
		}
		f.nodes = append(f.nodes, posenc.Node{Kind: posenc.QueryNode, Segment: -1, Base: 4, Len: 1})
		f.tokens, f.sees = append(f.tokens, []int32{9}), append(f.sees, []posenc.Seen{{Node: 5}})
		return f
	}
	hexagon := ring(func(i int) int { return (i + 1) % 6 }).plan(t)
	triangles := ring(func(i int) int { return i/3*3 + (i+1)%3 }).plan(t)
	chain := ring(func(i int) int { return (i + 1) % 6 })
	chain.sees[5] = nil
	e := tinyEngine(t)
	a := logits(t, e, hexagon)
	b := logits(t, e, triangles)
	require.Equal(t, 1, b.Usage.EncodedTokens)
	require.Equal(t, a.Logits, b.Logits)
	c := logits(t, e, chain.plan(t))
	require.Equal(t, 13, c.Usage.EncodedTokens)
	require.NotEqual(t, a.Logits, c.Logits)
	require.Equal(t, a.Logits, logits(t, tinyEngine(t, WithCacheBytes(0)), triangles).Logits)
}

// longChain is a group of equal texts, each of which sees the one before.
func longChain(n int, order func(i int) int) *freePlan {
	f := &freePlan{
		groups: [][2]int{{0, n}, {n, n + 1}},
		nodes:  make([]posenc.Node, n+1), tokens: make([][]int32, n+1), sees: make([][]posenc.Seen, n+1),
	}
	for i := range n {
		k := order(i)
		f.nodes[k], f.tokens[k] = posenc.Node{Segment: k, Base: 1, Len: 1}, []int32{7}
		if i > 0 {
			f.sees[k] = []posenc.Seen{{Node: int32(order(i - 1))}}
		}
	}
	f.nodes[n] = posenc.Node{Kind: posenc.QueryNode, Segment: -1, Base: 2, Len: 1}
	f.tokens[n], f.sees[n] = []int32{9}, []posenc.Seen{{Node: int32(order(n - 1)), Base: 1}}
	return f
}

// Structures that take more rounds than there are still have keys, which then depend on the order.
func TestManyRounds(t *testing.T) {
	e := tinyEngine(t)
	same := func(i int) int { return i }
	for _, n := range []int{maxRounds / 2, 2 * maxRounds} {
		back := func(i int) int { return n - 1 - i }
		a, b := logits(t, e, longChain(n, same).plan(t)), logits(t, e, longChain(n, back).plan(t))
		require.InDeltaSlice(t, a.Logits, b.Logits, 1e-5)
		want := 1
		if n > maxRounds {
			want += n
		}
		require.Equal(t, want, b.Usage.EncodedTokens)
		require.Equal(t, 1, logits(t, e, longChain(n, back).plan(t)).Usage.EncodedTokens)
	}
}

// Members stand in one KV, each from a whole panel of keys on; what lies between is zero.
func TestGroupIsOneKV(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{
		Strategy: PINE, Query: Tokens(1), MaxTokens: NoTokens,
		Segments: []Segment{{ID: "a", Tokens: make([]int32, 17)}, {ID: "b", Tokens: []int32{3}}, {ID: "c", Tokens: []int32{3}}},
	})
	s, err := e.begin(p)
	require.NoError(t, err)
	defer s.release()
	require.NoError(t, s.encode(t.Context(), nil))
	require.Len(t, s.nodes[0].group, 3)
	require.Equal(t, 17+1+1, s.usage().EncodedTokens)
	kv := s.nodes[0].kv
	used := make([]bool, kv.Tokens())
	for _, i := range s.nodes[0].group {
		n := s.nodes[i]
		require.Zero(t, n.from%attention.PanelKeys)
		for r := range p.tokens[i] {
			require.False(t, used[n.from+r])
			used[n.from+r] = true
		}
	}
	for r, used := range used {
		require.Equal(t, !used, isZero(flatten(kv, r, 1)), "row %d", r)
	}
}

func isZero(x []float32) bool { return !slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) }

// A group is found in a tier below memory, in every format.
func TestGroupsInTiers(t *testing.T) {
	for _, format := range attention.Formats() {
		dir := t.TempDir()
		rapid.Check(t, func(t *rapid.T) {
			f := drawFreePlan(t)
			p := f.plan(t)
			open := func() *Engine { return openTiny(t, WithKVFormat(format), WithDisk(dir, 0)) }
			e := open()
			want := logits(t, e, p)
			require.NoError(t, e.Close())
			e = open()
			defer e.Close()
			got := logits(t, e, f.shuffled(t).plan(t))
			require.Equal(t, want.Logits, got.Logits)
			query := len(p.tokens[p.Len()-1])
			require.Equal(t, query, got.Usage.EncodedTokens)
			_, err := e.Explain(t.Context(), p)
			require.NoError(t, err)
		})
	}
}

func TestPlansWithBadGroups(t *testing.T) {
	node := func(id string, group int, sees ...string) string {
		for i, s := range sees {
			sees[i] = fmt.Sprintf(`{"id": %q, "base": 0}`, s)
		}
		return fmt.Sprintf(`{"id": %q, "base": 0, "tokens": [1], "group": %d, "sees": [%s]}`, id, group, strings.Join(sees, ","))
	}
	query := node("q", 0, "a")
	for _, c := range []struct {
		nodes []string
		want  string
	}{
		{[]string{node("a", 1, "b"), node("b", 2), query}, `node "a" sees "b", which is not a node before it`},
		{[]string{node("a", 1, "a"), node("b", 1), query}, `node "a" sees "a", which is neither a node before it nor another of its group`},
		{[]string{node("a", 1), node("b", 1, "q"), query}, `node "b" sees "q", which is neither`},
		{[]string{node("a", 1), node("b", 2), node("c", 1), query}, `node "c" is of group 1, which`},
		{[]string{node("a", -1), query}, `node "a" is of group -1, which`},
		{[]string{node("a", 1, "b"), node("b", 1), node("a", 1), query}, `node "a" is listed twice`},
		{[]string{node("a", 1, "b"), node("b", 1, "a", "a"), query}, "listed twice"},
		{[]string{node("a", 1, "q"), node("q", 1, "a")}, "the query cannot be encoded together with others"},
	} {
		_, err := ParsePlan([]byte(`{"nodes": [` + strings.Join(c.nodes, ",") + `]}`))
		require.ErrorContains(t, err, c.want)
	}
	p, err := ParsePlan([]byte(`{"nodes": [` + strings.Join([]string{node("a", 4, "b"), node("b", 4, "a"), query}, ",") + `]}`))
	require.NoError(t, err)
	lo, hi := p.Layout().Group(1)
	require.Equal(t, [2]int{0, 2}, [2]int{lo, hi})
}

// What members are called by their readers tells groups, members and plain nodes apart.
func TestNamesAreDistinct(t *testing.T) {
	e := tinyEngine(t)
	rapid.Check(t, func(t *rapid.T) {
		p := drawFreePlan(t).plan(t)
		s, err := e.keyed(p)
		require.NoError(t, err)
		kind := map[kvcache.Key]string{}
		note := func(k kvcache.Key, what string) {
			if was, ok := kind[k]; ok {
				require.Equal(t, was, what)
			}
			kind[k] = what
		}
		for i := range s.nodes {
			n := &s.nodes[i]
			if lo, hi := p.layout.Group(i); hi-lo == 1 {
				note(n.name, "node")
				continue
			} else if lo == i {
				note(n.key, "group")
			}
			note(n.name, "member")
		}
	})
}

// Requests that list a group in different orders at the same time encode it once.
func TestGroupsAreEncodedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFreePlan(t)
		e := openTiny(t)
		defer e.Close()
		plans := make([]*Plan, 6)
		for i := range plans {
			plans[i] = f.shuffled(t).plan(t)
		}
		results := make([]*Result, len(plans))
		var all sync.WaitGroup
		for i, p := range plans {
			all.Go(func() { results[i], _ = e.Generate(context.Background(), p, WithLogits()) })
		}
		all.Wait()
		encoded, query := 0, len(f.tokens[len(f.tokens)-1])
		for _, r := range results {
			require.NotNil(t, r)
			require.Equal(t, results[0].Logits, r.Logits)
			encoded += r.Usage.EncodedTokens - query
		}
		require.LessOrEqual(t, encoded, plans[0].layout.Tokens()-query)
		require.EqualValues(t, encoded+len(plans)*query, e.Stats().Tokens)
	})
}

// An order that changes nothing cannot be felt in an answer.
func TestPINEFeelsNoOrder(t *testing.T) {
	e := tinyEngine(t)
	r := &Request{Strategy: PINE, Query: Tokens(5, 6), MaxTokens: 3}
	for i := range 5 {
		r.Segments = append(r.Segments, Segment{ID: fmt.Sprint(i), Tokens: []int32{int32(10 + i), 7, int32(i * i)}})
	}
	s, err := e.OrderSensitivity(t.Context(), r, OrderOptions{Permutations: 20})
	require.NoError(t, err)
	require.Zero(t, s.MaxDifference)
	require.EqualValues(t, 1, s.AnswerAgreement)
}
