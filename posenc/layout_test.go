// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLayoutBuilder(t *testing.T) {
	b := NewLayoutBuilder()
	for i, n := range []Node{
		{Kind: PrefixNode, Segment: -1, Len: 3},
		{Segment: 4, Base: 10, Len: 2},
		{Segment: 4, Round: 1, Base: 7, Len: 2},
		{Kind: QueryNode, Segment: -1, Base: 5, Len: 1},
	} {
		sees := [][]Seen{nil, {{Node: 0, Base: 30}}, {{Node: 1, Base: 3}, {Node: 0, Base: 0}}, {{Node: 2, Base: 0}, {Node: 0, Base: 9}, {Node: 1, Base: 4}}}[i]
		at, err := b.Add(n, sees...)
		require.NoError(t, err)
		assert.Equal(t, i, at)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[1,-1,0,0,3]",
		"[0,4,0,10,2,[0,30]]",
		"[0,4,1,7,2,[1,3],[0,0]]",
		"[2,-1,0,5,1,[2,0],[0,9],[1,4]]",
	}, dump(t, l))
	assert.Equal(t, 4, l.Len())
	assert.Equal(t, 3, l.Query())
	assert.Equal(t, 8, l.Tokens())
	assert.Equal(t, 6, l.NumEdges())
	assert.Equal(t, 33, l.End(), "a source may stand beyond every node")
	assert.Empty(t, l.Sees(0))

	// A view cannot be used to write into the next row.
	_ = append(l.Sees(1), Seen{Node: 9, Base: 9})
	assert.Equal(t, []Seen{{Node: 1, Base: 3}, {Node: 0, Base: 0}}, l.Sees(2))

	_, err = b.Add(Node{Segment: 1, Len: 1})
	require.EqualError(t, err, "posenc: node 4 (segment 1): the query must be the last node")
	again, err := b.Layout()
	require.NoError(t, err)
	assert.Equal(t, dump(t, l), dump(t, again))
}

func TestLayoutBuilderErrors(t *testing.T) {
	for _, c := range []struct {
		node Node
		sees []Seen
		want string
	}{
		{Node{Kind: 3, Len: 1}, nil, "posenc: node 2 (Kind(3)): unknown kind"},
		{Node{Segment: -1, Len: 1}, nil, "posenc: node 2 (segment -1): segment index -1"},
		{Node{Round: -1, Len: 1}, nil, "posenc: node 2 (segment 0): round -1"},
		{Node{Kind: QueryNode, Len: 1}, nil, "posenc: node 2 (query): segment index 0 and round 0, want -1 and 0"},
		{Node{Kind: PrefixNode, Segment: -1, Round: 1, Len: 1}, nil, "posenc: node 2 (prefix): segment index -1 and round 1, want -1 and 0"},
		{Node{Segment: 7, Round: 2}, nil, "posenc: node 2 (segment 7 round 2): length 0, want at least 1"},
		{Node{Len: 1, Base: -1}, nil, "posenc: node 2 (segment 0): base -1, want at least 0"},
		{Node{Len: 2, Base: MaxPosition - 1}, nil, "posenc: node 2 (segment 0): base 2147483645 and length 2 reach beyond position 2147483646"},
		{Node{Len: 1}, []Seen{{Node: 0, Base: 0}, {Node: 2, Base: 0}}, "posenc: node 2 (segment 0): source 2 does not come earlier"},
		{Node{Len: 1}, []Seen{{Node: -1, Base: 0}}, "posenc: node 2 (segment 0): source -1 does not come earlier"},
		{Node{Len: 1}, []Seen{{Node: 1, Base: 0}, {Node: 0, Base: 0}, {Node: 1, Base: 5}}, "posenc: node 2 (segment 0): source 1 (segment 6) is listed twice"},
		{Node{Len: 1}, []Seen{{Node: 1, Base: -5}}, "posenc: node 2 (segment 0): source 1 (segment 6): base -5, want at least 0"},
		{Node{Len: 1}, []Seen{{Node: 1, Base: MaxPosition - 3}}, "posenc: node 2 (segment 0): source 1 (segment 6): base 2147483643 and length 4 reach beyond position 2147483646"},
	} {
		b := NewLayoutBuilder()
		for i := range 2 {
			_, err := b.Add(Node{Segment: 5 + i, Len: 4})
			require.NoError(t, err)
		}
		_, err := b.Add(c.node, c.sees...)
		require.EqualError(t, err, c.want)
		_, err = b.Layout()
		require.EqualError(t, err, "posenc: the layout has no query")

		// Nothing of the failed attempt is left.
		at, err := b.Add(Node{Kind: QueryNode, Segment: -1, Len: 1}, Seen{Node: 1, Base: 0}, Seen{Node: 0, Base: 0})
		require.NoError(t, err)
		assert.Equal(t, 2, at)
		l, err := b.Layout()
		require.NoError(t, err)
		assert.Equal(t, []string{"[0,5,0,0,4]", "[0,6,0,0,4]", "[2,-1,0,0,1,[1,0],[0,0]]"}, dump(t, l))
		assert.Equal(t, 4, l.End())
		assert.Equal(t, 9, l.Tokens())
	}
}

func TestCheckContext(t *testing.T) {
	l, err := GraphKV(10, []int{30, 40}, 5) // round 1 reaches 110, the query 155
	require.NoError(t, err)
	assert.NoError(t, l.CheckContext(155, nil))
	for _, c := range []struct {
		limit int
		want  ContextError
	}{
		{154, ContextError{Node: 5, Name: "query", End: 155, Limit: 154}},
		{105, ContextError{Node: 3, Name: "segment 1 round 1", End: 110, Limit: 105}},
		{99, ContextError{Node: 2, Name: "segment 0 round 1", End: 100, Limit: 99}},
		{0, ContextError{Node: 0, Name: "segment 0", End: 30, Limit: 0}},
	} {
		err := l.CheckContext(c.limit, nil)
		var ce *ContextError
		require.ErrorAs(t, err, &ce)
		assert.Equal(t, c.want, *ce)
	}
	err = l.CheckContext(105, func(node int) string { return fmt.Sprintf("node number %d", node) })
	assert.EqualError(t, err, "posenc: node number 3 needs 110 positions, the limit is 105")

	// The source counts as well: here it stands beyond its reader.
	b := NewLayoutBuilder()
	_, err = b.Add(Node{Len: 4})
	require.NoError(t, err)
	_, err = b.Add(Node{Kind: QueryNode, Segment: -1, Len: 1}, Seen{Node: 0, Base: 20})
	require.NoError(t, err)
	l, err = b.Layout()
	require.NoError(t, err)
	assert.Equal(t, 24, l.End())
	assert.EqualError(t, l.CheckContext(23, nil), "posenc: query needs 24 positions, the limit is 23")
}

// Whatever is added, the accepted nodes are what the layout holds, and its sums are theirs.
func TestLayoutHoldsWhatWasAdded(t *testing.T) { rapid.Check(t, layoutHoldsWhatWasAdded) }

func FuzzLayoutBuilder(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x0b, 0x00, 0x13, 0xfe}, 64))
	f.Fuzz(rapid.MakeFuzz(layoutHoldsWhatWasAdded))
}

func layoutHoldsWhatWasAdded(t *rapid.T) {
	b := NewLayoutBuilder()
	var nodes []Node
	var rows [][]Seen
	tokens, edges, end := 0, 0, 0
	for step := range rapid.IntRange(0, 20).Draw(t, "nodes") {
		n := Node{Segment: step, Base: rapid.IntRange(-1, 50).Draw(t, "base"), Len: rapid.IntRange(0, 9).Draw(t, "length")}
		row := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Seen {
			return Seen{Node: int32(rapid.IntRange(0, 12).Draw(t, "source")), Base: int32(rapid.IntRange(-1, 50).Draw(t, "at"))}
		}), 0, 4).Draw(t, "sees")
		valid := n.Base >= 0 && n.Len > 0
		listed := map[int32]bool{}
		for _, s := range row {
			valid = valid && int(s.Node) < len(nodes) && s.Base >= 0 && !listed[s.Node]
			listed[s.Node] = true
		}
		_, err := b.Add(n, row...)
		require.Equal(t, valid, err == nil, "%v sees %v: %v", n, row, err)
		if !valid {
			continue
		}
		nodes, rows = append(nodes, n), append(rows, row)
		tokens, edges, end = tokens+n.Len, edges+len(row), max(end, n.Base+n.Len)
		for _, s := range row {
			end = max(end, int(s.Base)+nodes[s.Node].Len)
		}
	}
	q := Node{Kind: QueryNode, Segment: -1, Len: 1}
	nodes, rows = append(nodes, q), append(rows, nil)
	_, err := b.Add(q)
	require.NoError(t, err)
	l, err := b.Layout()
	require.NoError(t, err)
	require.Equal(t, len(nodes), l.Len())
	require.Equal(t, len(nodes)-1, l.Query())
	require.Equal(t, tokens+1, l.Tokens())
	require.Equal(t, edges, l.NumEdges())
	require.Equal(t, max(end, 1), l.End())
	for i, n := range nodes {
		require.Equal(t, n, l.Node(i))
		require.ElementsMatch(t, rows[i], l.Sees(i))
		for k, s := range l.Sees(i) {
			require.Equal(t, rows[i][k], s)
		}
	}
	require.NoError(t, l.CheckContext(l.End(), nil))
	require.Error(t, l.CheckContext(l.End()-1, nil))
}

func TestKindString(t *testing.T) {
	assert.Equal(t, "segment prefix query Kind(9)", fmt.Sprint(SegmentNode, PrefixNode, QueryNode, Kind(9)))
	assert.Equal(t, "interleaved half-split Pairing(9)", fmt.Sprint(Interleaved, HalfSplit, Pairing(9)))
}

// Members of a group may see one another and what is before the group.
func TestAddGroup(t *testing.T) {
	b := NewLayoutBuilder()
	_, err := b.Add(Node{Segment: 3, Len: 2})
	require.NoError(t, err)
	nodes := []Node{{Segment: 0, Base: 9, Len: 2}, {Segment: 1, Base: 4, Len: 5}}
	for _, c := range []struct {
		nodes []Node
		sees  [][]Seen
		want  string
	}{
		{nil, nil, "posenc: a group of 0 nodes with lists of sources for 0"},
		{nodes, [][]Seen{nil}, "posenc: a group of 2 nodes with lists of sources for 1"},
		{nodes, [][]Seen{{{Node: 3}}, nil}, "posenc: node 1 (segment 0): source 3 does not come earlier and is no other node of the group"},
		{nodes, [][]Seen{nil, {{Node: 2}}}, "posenc: node 2 (segment 1): source 2 does not come earlier and is no other node of the group"},
		{nodes, [][]Seen{{{Node: 2}, {Node: 0}, {Node: 2}}, nil}, "posenc: node 1 (segment 0): source 2 (segment 1) is listed twice"},
		{nodes, [][]Seen{{{Node: 2, Base: MaxPosition - 4}}, nil}, "posenc: node 1 (segment 0): source 2 (segment 1): base 2147483642 and length 5 reach beyond position 2147483646"},
		{nodes, [][]Seen{{{Node: 2, Ranked: true}, {Node: 0, Base: 1, Ranked: true}}, nil}, "posenc: node 1 (segment 0): source 0 (segment 3): base 1, other ranked sources have 0"},
		{nodes, [][]Seen{{{Node: 2, Base: MaxPosition - 6, Ranked: true}, {Node: 0, Base: MaxPosition - 6, Ranked: true}}, nil}, ""},
		{nodes, [][]Seen{{{Node: 2, Base: MaxPosition - 5, Ranked: true}, {Node: 0, Base: MaxPosition - 5, Ranked: true}}, nil}, "posenc: node 1 (segment 0): its ranked sources reach beyond position 2147483646"},
		{[]Node{nodes[0], {Segment: 1}}, [][]Seen{nil, nil}, "posenc: node 2 (segment 1): length 0, want at least 1"},
		{[]Node{nodes[0], {Kind: QueryNode, Segment: -1, Len: 1}}, [][]Seen{nil, nil}, "posenc: node 2 (query): the query cannot be encoded together with others"},
	} {
		try := *b
		try.readers = append([]int32(nil), b.readers...)
		_, err := try.AddGroup(c.nodes, c.sees)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, c.want)
		require.Equal(t, b.l, try.l)
		require.Equal(t, b.readers, try.readers, "nothing of the failed attempt is left")
	}
	at, err := b.AddGroup(nodes, [][]Seen{{{Node: 2, Base: 1, Ranked: true}, {Node: 0, Base: 1, Ranked: true}}, {{Node: 1, Base: 7}}})
	require.NoError(t, err)
	require.Equal(t, 1, at)
	at, err = b.AddGroup([]Node{{Kind: QueryNode, Segment: -1, Len: 1}}, [][]Seen{{{Node: 1}}}) // one alone is no group
	require.NoError(t, err)
	require.Equal(t, 3, at)
	l, err := b.Layout()
	require.NoError(t, err)
	assert.Equal(t, []string{"[0,3,0,0,2]", "[0,0,0,9,2,[2,1],[0,1]]", "[0,1,0,4,5,[1,7]]", "[2,-1,0,0,1,[1,0]]"}, dump(t, l))
	for i, want := range [][2]int{{0, 1}, {1, 3}, {1, 3}, {3, 4}} {
		lo, hi := l.Group(i)
		assert.Equal(t, want, [2]int{lo, hi})
	}
	assert.True(t, l.HasRanked())
	assert.Equal(t, 11, l.End())
	assert.NoError(t, l.CheckContext(11, nil))
	assert.EqualError(t, l.CheckContext(8, nil), "posenc: segment 0 needs 11 positions, the limit is 8")
}

func TestPINE(t *testing.T) {
	l, err := PINE(5, []int{3, 4, 2}, 6)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"[1,-1,0,0,5]",
		"[0,0,0,11,3,[0,0],[2,5],[3,5]]",
		"[0,1,0,10,4,[0,0],[1,5],[3,5]]",
		"[0,2,0,12,2,[0,0],[1,5],[2,5]]",
		"[2,-1,0,14,6,[0,0],[1,5],[2,5],[3,5]]",
	}, dump(t, l))
	for i := range l.Len() {
		for _, s := range l.Sees(i) {
			assert.Equal(t, s.Node != 0, s.Ranked)
		}
	}
	assert.Equal(t, 20, l.End())
	lo, hi := l.Group(2)
	assert.Equal(t, [2]int{1, 4}, [2]int{lo, hi})

	one, err := PINE(0, []int{3}, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"[0,0,0,0,3]", "[2,-1,0,3,1,[0,0]]"}, dump(t, one))
	none, err := PINE(2, nil, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"[1,-1,0,0,2]", "[2,-1,0,2,1,[0,0]]"}, dump(t, none))
	_, err = PINE(0, make([]int, 3), 1)
	assert.EqualError(t, err, "posenc: segment 0 of 0 tokens, want 1 to 2147483646")
}
