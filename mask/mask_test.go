// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/posenc"
)

// layoutOf builds a layout of nodes with the given lengths, the last of which is the query; sees lists pairs (reader, source).
func layoutOf(t require.TestingT, lengths []int, sees ...[2]int) *posenc.Layout {
	return layoutWith(t, lengths, nil, nil, sees)
}

// layoutWith is layoutOf with some nodes bidirectional and some groups of nodes encoded together.
func layoutWith(t require.TestingT, lengths []int, both map[int]bool, groups map[int]int, sees [][2]int) *posenc.Layout {
	rows := make([][]posenc.Seen, len(lengths))
	for _, e := range sees {
		rows[e[0]] = append(rows[e[0]], posenc.Seen{Node: int32(e[1])})
	}
	nodes := make([]posenc.Node, len(lengths))
	for i, n := range lengths {
		nodes[i] = posenc.Node{Segment: i, Len: n, Bidirectional: both[i]}
		if i == len(lengths)-1 {
			nodes[i].Kind, nodes[i].Segment = posenc.QueryNode, -1
		}
	}
	b := posenc.NewLayoutBuilder()
	for i := 0; i < len(nodes); {
		end := max(i+1, groups[i])
		at, err := b.AddGroup(nodes[i:end], rows[i:end])
		require.NoError(t, err)
		require.Equal(t, i, at)
		i = end
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

// anyLayout draws nodes of ragged lengths and sources in any order. Some nodes are encoded together and may see later ones.
func anyLayout(t *rapid.T) *posenc.Layout {
	n := rapid.IntRange(1, 14).Draw(t, "nodes")
	longest := rapid.SampledFrom([]int{1, 5, 40, 100}).Draw(t, "longest")
	lengths := rapid.SliceOfN(rapid.IntRange(1, longest), n, n).Draw(t, "lengths")
	var sees [][2]int
	both, groups := map[int]bool{}, map[int]int{}
	for lo := 0; lo < n; {
		hi := lo + 1
		if lo < n-1 && rapid.IntRange(0, 2).Draw(t, "together") == 0 {
			hi = rapid.IntRange(lo+1, n-1).Draw(t, "group")
		}
		groups[lo] = hi
		for reader := lo; reader < hi; reader++ {
			both[reader] = rapid.IntRange(0, 3).Draw(t, "bidirectional") == 0
			for _, source := range rapid.Permutation(upTo(hi)).Draw(t, "sources") {
				if source != reader && rapid.Bool().Draw(t, "sees") {
					sees = append(sees, [2]int{reader, source})
				}
			}
		}
		lo = hi
	}
	return layoutWith(t, lengths, both, groups, sees)
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// define evaluates the definition of the mask, token by token, from the layout alone.
func define(l *posenc.Layout) [][]bool {
	var node []int
	for i := range l.Len() {
		for range l.Node(i).Len {
			node = append(node, i)
		}
	}
	out := make([][]bool, len(node))
	for q := range out {
		out[q] = make([]bool, len(node))
		for k := range node {
			out[q][k] = node[q] == node[k] && (k <= q || l.Node(node[q]).Bidirectional) ||
				slices.ContainsFunc(l.Sees(node[q]), func(s posenc.Seen) bool { return int(s.Node) == node[k] })
		}
	}
	return out
}

// Tokens that a repair leaves as they are have no row, so there is no mask of it; there is
// one of the lowered layout.
func TestRepairsHaveNoMask(t *testing.T) {
	l, err := posenc.EPIC(2, []int{3, 4}, 1, 2)
	require.NoError(t, err)
	_, err = New(l, 4)
	require.EqualError(t, err, "mask: node 2 (segment 0 round 1) repairs node 1: tokens of it are never computed, see posenc.Layout.Lower")
	low, _, err := l.Lower(nil)
	require.NoError(t, err)
	m, err := New(low, 4)
	require.NoError(t, err)
	require.Equal(t, 2+3+2+4+2+1, m.Tokens())
}

func TestMaskFollowsTheDefinition(t *testing.T) { rapid.Check(t, followsTheDefinition) }

func FuzzMask(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x5a, 0x01, 0xff, 0x80}, 64))
	f.Fuzz(rapid.MakeFuzz(followsTheDefinition))
}

func followsTheDefinition(t *rapid.T) {
	l := anyLayout(t)
	size := rapid.IntRange(1, 130).Draw(t, "block size")
	m, err := New(l, size)
	require.NoError(t, err)
	checkInvariants(t, m)
	want := define(l)
	n := len(want)
	require.Equal(t, n, m.Tokens())
	dense, err := m.Dense(n)
	require.NoError(t, err)
	nnz := int64(0)
	for q := range n {
		for k := range n {
			if want[q][k] != m.Allowed(q, k) || want[q][k] != dense[q*n+k] {
				t.Fatalf("token %d sees %d: want %v, predicate %v, dense %v", q, k, want[q][k], m.Allowed(q, k), dense[q*n+k])
			}
			if want[q][k] {
				nnz++
			}
		}
	}
	require.Equal(t, nnz, m.NNZ())

	var bitmap []uint64
	for i := range m.Side() {
		for j := range m.Side() {
			set, cells := 0, 0
			bitmap = m.Bitmap(bitmap, i, j)
			require.Len(t, bitmap, size*m.Stride())
			for r := range size {
				for c := range m.Stride() * 64 {
					q, k := i*size+r, j*size+c
					inside := c < size && q < n && k < n
					bit := bitmap[r*m.Stride()+c/64]>>(c%64)&1 == 1
					if bit != (inside && want[q][k]) {
						t.Fatalf("block (%d, %d) of %d: bit (%d, %d) is %v", i, j, size, r, c, bit)
					}
					if inside {
						cells++
					}
					if bit {
						set++
					}
				}
			}
			kind := Partial
			switch set {
			case 0:
				kind = Empty
			case cells:
				kind = Full
			}
			if got := m.Block(i, j); got != kind {
				t.Fatalf("block (%d, %d) of %d is %v, want %v: %d of %d pairs", i, j, size, got, kind, set, cells)
			}
		}
	}
}

// checkInvariants checks what a reader of the rows relies on.
func checkInvariants(t require.TestingT, m *Mask) {
	require.Equal(t, (m.Tokens()+m.BlockSize()-1)/m.BlockSize(), m.Side())
	require.Len(t, m.RowPtr(), m.Side()+1)
	require.Zero(t, m.RowPtr()[0])
	require.Equal(t, len(m.Cols()), m.RowPtr()[m.Side()])
	require.Len(t, m.Kinds(), len(m.Cols()))
	all := slices.Collect(m.All())
	full, at := 0, 0
	for i := range m.Side() {
		cols, kinds := m.Row(i)
		if _, ok := slices.BinarySearch(cols, int32(i)); !ok {
			require.FailNow(t, "a row must have the diagonal", "row %d: %v", i, cols)
		}
		for k, col := range cols {
			if k > 0 && cols[k-1] >= col {
				require.FailNow(t, "columns must ascend", "row %d: %v", i, cols)
			}
			if kinds[k] == Full {
				full++
			}
			if kinds[k] != Full && kinds[k] != Partial || all[at] != (Block{i, int(col), kinds[k]}) {
				require.FailNow(t, "bad block", "%v", all[at])
			}
			at++
		}
	}
	require.Len(t, all, at)
	require.Equal(t, full, m.NumFull())
	require.Equal(t, at-full, m.NumPartial())
	require.InDelta(t, float64(m.NNZ())/float64(m.Tokens())/float64(m.Tokens()), m.Density(), 1e-12)
	for node := range m.Layout().Len() {
		from, to := m.Span(node)
		require.Equal(t, m.Layout().Node(node).Len, to-from)
		require.Equal(t, node, m.Node(from))
		require.Equal(t, node, m.Node(to-1))
	}
}

func TestOutsideTheMask(t *testing.T) {
	m, err := New(layoutOf(t, []int{3, 2}, [2]int{1, 0}), 2)
	require.NoError(t, err)
	for _, p := range [][2]int{{-1, -1}, {0, -1}, {5, 0}, {5, 5}, {0, 5}, {1, 2}} {
		assert.False(t, m.Allowed(p[0], p[1]), p)
	}
	assert.True(t, m.Allowed(4, 4))
	assert.Panics(t, func() { m.Block(0, 3) })
	assert.Panics(t, func() { m.Block(3, 0) })
	assert.PanicsWithValue(t, "mask: block (0, 3) of 3×3", func() { m.Bitmap(nil, 0, 3) })
}

func TestKindString(t *testing.T) {
	assert.Equal(t, "empty partial full Kind(9)", fmt.Sprint(Empty, Partial, Full, Kind(9)))
}

func TestAllStopsEarly(t *testing.T) {
	m, err := New(layoutOf(t, []int{4, 4}, [2]int{1, 0}), 2)
	require.NoError(t, err)
	seen := 0
	for range m.All() {
		if seen++; seen == 2 {
			break
		}
	}
	assert.Equal(t, 2, seen)
}

// The structures for which the attention kernel has reference results, with their independently counted pairs.
func TestPairsOfTheAttentionReference(t *testing.T) {
	raw, err := os.ReadFile("testdata/attention.json")
	require.NoError(t, err)
	var cases []struct {
		Name     string
		QLen     int `json:"q_len"`
		KLen     int `json:"k_len"`
		Pairs    int64
		Segments []struct {
			Q0, Q1, Self0 int
			Src           [][2]int
		}
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.Len(t, cases, 7)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			// Keys that are no query's own are the first round's: a segment of the same length for each of the second.
			shift := c.KLen - c.QLen
			var lengths []int
			if shift > 0 {
				require.Equal(t, 2*c.QLen, c.KLen)
				for _, s := range c.Segments {
					lengths = append(lengths, s.Q1-s.Q0)
				}
			}
			first := int64(0) // pairs within the first round
			for _, n := range lengths {
				first += int64(n) * int64(n+1) / 2
			}
			skip := len(lengths)
			for _, s := range c.Segments {
				require.Equal(t, s.Q0+shift, s.Self0)
				lengths = append(lengths, s.Q1-s.Q0)
			}
			var sees [][2]int
			for i, s := range c.Segments {
				for _, src := range s.Src { // a source range may span several nodes
					from := 0
					for node, n := range lengths {
						if src[0] <= from && from < src[1] {
							sees = append(sees, [2]int{skip + i, node})
						}
						from += n
					}
				}
			}
			l := layoutOf(t, lengths, sees...)
			for _, size := range []int{1, 16, 64, 128} {
				m, err := New(l, size)
				require.NoError(t, err)
				assert.Equal(t, c.Pairs+first, m.NNZ())
				set := int64(0)
				for b := range m.All() {
					for _, w := range m.Bitmap(nil, b.Row, b.Col) {
						set += int64(bits.OnesCount64(w))
					}
				}
				assert.Equal(t, c.Pairs+first, set, "bits at block size %d", size)
			}
		})
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	m, err := New(citations(t, 200, 100, true), 64)
	require.NoError(t, err)
	bitmap := m.Bitmap(nil, 0, 0)
	ok := 0
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		for b := range m.All() {
			bitmap = m.Bitmap(bitmap, b.Row, b.Col)
			if m.Allowed(b.Row*64, b.Col*64) && m.Block(b.Row, b.Col) == Full {
				ok++
			}
		}
	}))
	assert.NotZero(t, ok)
}
