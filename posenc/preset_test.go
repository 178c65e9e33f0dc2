// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goldenPlan is a plan written down by the published Graph-KV code while it ran on a real or a tiny model. A row of Nodes is
// [kind, segment, round, base, length, then [source, base] for everything the node attends to].
type goldenPlan struct {
	Name, Preset  string
	Prefix, Query int
	Segments      []int
	K             int
	Egos          []EgoGraph
	Nodes         [][]json.RawMessage
}

func goldenPlans(t testing.TB) []goldenPlan {
	raw, err := os.ReadFile("testdata/plans.json")
	require.NoError(t, err)
	var plans []goldenPlan
	require.NoError(t, json.Unmarshal(raw, &plans))
	return plans
}

func (g goldenPlan) layout() (*Layout, error) {
	switch g.Preset {
	case "sequential":
		return Sequential(g.Prefix, g.Segments, g.Query)
	case "block":
		return Block(g.Prefix, g.Segments, g.Query)
	case "graphkv":
		return GraphKV(g.Prefix, g.Segments, g.Query)
	case "graphkv-topk":
		return GraphKVTopK(g.Prefix, g.Segments, g.Query, g.K)
	case "ego":
		return Ego(g.Prefix, g.Segments, g.Egos[0].Center, g.Query)
	case "ego-batch":
		return EgoBatch(g.Prefix, g.Segments, g.Egos, g.Query)
	}
	return nil, fmt.Errorf("unknown preset %q", g.Preset)
}

// dump writes a layout in the rows of goldenPlan.
func dump(t testing.TB, l *Layout) []string {
	rows := make([]string, l.Len())
	for i := range rows {
		n := l.Node(i)
		row := []any{n.Kind, n.Segment, n.Round, n.Base, n.Len}
		for _, s := range l.Sees(i) {
			row = append(row, []int32{s.Node, s.Base})
		}
		b, err := json.Marshal(row)
		require.NoError(t, err)
		rows[i] = string(b)
	}
	return rows
}

func TestPresetsMatchThePublishedPlans(t *testing.T) {
	plans := goldenPlans(t)
	seen := map[string]int{}
	for _, g := range plans {
		t.Run(g.Name, func(t *testing.T) {
			l, err := g.layout()
			require.NoError(t, err)
			want := make([]string, len(g.Nodes))
			tokens := 0
			for i, row := range g.Nodes {
				b, err := json.Marshal(row)
				require.NoError(t, err)
				want[i] = string(b)
				var n int
				require.NoError(t, json.Unmarshal(row[4], &n))
				tokens += n
			}
			assert.Equal(t, want, dump(t, l))
			assert.Equal(t, tokens, l.Tokens())
			q := l.Node(l.Query())
			assert.Equal(t, QueryNode, q.Kind)
			assert.Equal(t, q.Base+q.Len, l.End(), "the query reaches farthest in every preset")
		})
		seen[g.Preset]++
	}
	for _, p := range []string{"sequential", "block", "graphkv", "graphkv-topk", "ego", "ego-batch"} {
		assert.NotZero(t, seen[p], "no golden plan for %s", p)
	}
}

// A chain of pieces stands exactly where one text stands: every node sees all tokens before it at their own positions.
func TestSequentialIsOneText(t *testing.T) {
	l, err := Sequential(5, []int{3, 4, 2}, 6)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[1,-1,0,0,5]",
		"[0,0,0,5,3,[0,0]]",
		"[0,1,0,8,4,[0,0],[1,5]]",
		"[0,2,0,12,2,[0,0],[1,5],[2,8]]",
		"[2,-1,0,14,6,[0,0],[1,5],[2,8],[3,12]]",
	}, dump(t, l))
	assert.Equal(t, 20, l.End())
	assert.Equal(t, 20, l.Tokens())
	assert.Equal(t, 10, l.NumEdges())
}

func TestPCW(t *testing.T) {
	l, err := PCW(5, []int{3, 4, 2}, 6)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[1,-1,0,0,5]",
		"[0,0,0,5,3]",
		"[0,1,0,5,4]",
		"[0,2,0,5,2]",
		"[2,-1,0,9,6,[0,0],[1,5],[2,5],[3,5]]",
	}, dump(t, l))
	assert.Equal(t, 15, l.End())
}

func TestPresetsWithoutPrefixOrSegments(t *testing.T) {
	for name, build := range map[string]func(int, []int) (*Layout, error){
		"sequential":   func(p int, s []int) (*Layout, error) { return Sequential(p, s, 4) },
		"block":        func(p int, s []int) (*Layout, error) { return Block(p, s, 4) },
		"pcw":          func(p int, s []int) (*Layout, error) { return PCW(p, s, 4) },
		"graphkv":      func(p int, s []int) (*Layout, error) { return GraphKV(p, s, 4) },
		"graphkv-topk": func(p int, s []int) (*Layout, error) { return GraphKVTopK(p, s, 4, 2) },
		"ego-batch":    func(p int, s []int) (*Layout, error) { return EgoBatch(p, s, nil, 4) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := build(0, nil)
			require.NoError(t, err)
			assert.Equal(t, []string{"[2,-1,0,0,4]"}, dump(t, l))
			l, err = build(3, nil)
			require.NoError(t, err)
			assert.Equal(t, []string{"[1,-1,0,0,3]", "[2,-1,0,3,4,[0,0]]"}, dump(t, l))
		})
	}
}

func TestGraphKVTopKOfAllIsGraphKV(t *testing.T) {
	segments := []int{7, 3, 9}
	full, err := GraphKV(2, segments, 5)
	require.NoError(t, err)
	for _, k := range []int{3, 4, 100} {
		top, err := GraphKVTopK(2, segments, 5, k)
		require.NoError(t, err)
		assert.Equal(t, dump(t, full), dump(t, top))
	}
}

func TestEgoAnywhere(t *testing.T) {
	l, err := Ego(0, []int{4, 6, 5}, 1, 2)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[0,0,0,0,4]",
		"[0,2,0,0,5]",
		"[0,1,0,5,6,[0,0],[1,0]]",
		"[2,-1,0,11,2,[0,0],[1,0],[2,5]]",
	}, dump(t, l))

	alone, err := Ego(3, []int{4}, 0, 2)
	require.NoError(t, err)
	assert.Equal(t, []string{"[0,0,0,3,4]", "[1,-1,0,0,3]", "[2,-1,0,7,2,[1,0],[0,3]]"}, dump(t, alone))
}

func TestEgoBatchSharesSegments(t *testing.T) {
	l, err := EgoBatch(1, []int{4, 6, 5}, []EgoGraph{{Center: 0, Neighbours: []int{2}}, {Center: 2, Neighbours: []int{1, 0}}}, 2)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[0,2,0,1,5]",
		"[0,0,0,6,4,[0,1]]",
		"[0,1,0,1,6]",
		"[0,0,0,1,4]",
		"[0,2,0,7,5,[2,1],[3,1]]",
		"[1,-1,0,0,1]",
		"[2,-1,0,12,2,[5,0],[0,1],[1,6],[2,1],[3,1],[4,7]]",
	}, dump(t, l))
}

func TestPresetErrors(t *testing.T) {
	two := []int{4, 5}
	for _, c := range []struct {
		name  string
		build func() (*Layout, error)
		want  string
	}{
		{"empty segment", func() (*Layout, error) { return Block(1, []int{3, 0}, 1) }, "posenc: segment 1 of 0 tokens, want 1 to 2147483646"},
		{"negative segment", func() (*Layout, error) { return PCW(1, []int{-3}, 1) }, "posenc: segment 0 of -3 tokens, want 1 to 2147483646"},
		{"negative prefix", func() (*Layout, error) { return GraphKV(-1, two, 1) }, "posenc: prefix of -1 tokens, want 0 to 2147483646"},
		{"empty query", func() (*Layout, error) { return Sequential(1, two, 0) }, "posenc: query of 0 tokens, want 1 to 2147483646"},
		{"top 0", func() (*Layout, error) { return GraphKVTopK(1, two, 1, 0) }, "posenc: top k of 0, want at least 1"},
		{"center", func() (*Layout, error) { return Ego(1, two, 2, 1) }, "posenc: center 2 of 2 segments"},
		{"no center", func() (*Layout, error) { return Ego(1, nil, 0, 1) }, "posenc: center 0 of 0 segments"},
		{"neighbour", func() (*Layout, error) { return EgoBatch(1, two, []EgoGraph{{1, []int{-1}}}, 1) }, "posenc: ego graph 0: neighbour -1 of 2 segments"},
		{"own neighbour", func() (*Layout, error) { return EgoBatch(1, two, []EgoGraph{{1, []int{0}}, {0, []int{1, 0}}}, 1) }, "posenc: ego graph 1: neighbour 0 is listed twice"},
		{"left out", func() (*Layout, error) { return EgoBatch(1, two, []EgoGraph{{Center: 0}}, 1) }, "posenc: segment 1 belongs to no ego graph"},
		{"APE's float32", func() (*Layout, error) { return APE(1, two, APEOptions{Temperature: 1e-30, Scale: 1e-30}, 1) }, "posenc: APE's temperature is 1e-30 and its scale 1e-30, which float32 has no numbers for"},
		{"APE's scale", func() (*Layout, error) { return APE(1, two, APEOptions{Temperature: 1e50, Scale: 1e-50}, 1) }, "posenc: APE's temperature is 1e+50 and its scale 1e-50, which float32 has no numbers for"},
		{"too long", func() (*Layout, error) { return GraphKV(0, []int{MaxPosition/2 + 1}, 1) }, "posenc: the layout needs 2147483649 positions, the limit is 2147483646"},
		{"too long for block", func() (*Layout, error) { return Block(1, []int{MaxPosition / 2, MaxPosition / 2}, 1) }, "posenc: the layout needs 2147483648 positions, the limit is 2147483646"},
		{"too long for pcw", func() (*Layout, error) { return PCW(1, []int{MaxPosition}, 1) }, "posenc: the layout needs 2147483648 positions, the limit is 2147483646"},
		{"too long for ego", func() (*Layout, error) { return Ego(1, []int{MaxPosition, 1}, 1, 1) }, "posenc: the layout needs 2147483649 positions, the limit is 2147483646"},
		{"too many edges", func() (*Layout, error) { return Sequential(0, repeat(1, 20000), 1) }, "posenc: the layout of 20000 segments needs 200030001 edges, the limit is 134217728"},
		{"too many edges in two rounds", func() (*Layout, error) { return GraphKV(0, repeat(1, 20000), 1) }, "posenc: the layout of 20000 segments needs 400040001 edges, the limit is 134217728"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := c.build()
			require.EqualError(t, err, c.want)
			assert.Nil(t, l)
		})
	}
}

func repeat(length, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = length
	}
	return s
}
