// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

func TestNewErrors(t *testing.T) {
	l := layoutOf(t, []int{3, 2})
	for want, build := range map[string]func() (*Mask, error){
		"mask: no layout":                         func() (*Mask, error) { return New(nil, 1) },
		"mask: block size 0, want 1 to 32768":     func() (*Mask, error) { return New(l, 0) },
		"mask: block size -64, want 1 to 32768":   func() (*Mask, error) { return New(l, -64) },
		"mask: block size 32769, want 1 to 32768": func() (*Mask, error) { return New(l, MaxBlockSize+1) },
		"mask: 2147483648 tokens, the limit is 2147483647": func() (*Mask, error) {
			return New(layoutOf(t, []int{1 << 30, 1 << 30}), 1<<15)
		},
		"mask: blocks of 2 tokens make more than 5 blocks, use larger ones": func() (*Mask, error) {
			m, _, err := build(layoutOf(t, []int{3, 3}, [2]int{1, 0}), 2, 5) // has 6, though only 21/4 pairs
			return m, err
		},
		"mask: blocks of 1 tokens make more than 268435456 blocks, use larger ones": func() (*Mask, error) {
			return New(layoutOf(t, []int{1 << 20}), 1)
		},
	} {
		m, err := build()
		assert.EqualError(t, err, want)
		assert.Nil(t, m)
	}
	m, err := New(l, 2)
	require.NoError(t, err)
	_, err = m.Dense(4)
	assert.EqualError(t, err, "mask: 5 tokens are too many for a dense mask, the limit is 4")
}

// citations is a layout of n segments of about the given length, each of which sees up to four earlier ones.
func citations(t testing.TB, n, length int, ragged bool) *posenc.Layout {
	b := posenc.NewLayoutBuilder()
	for i := range n {
		var sees []posenc.Seen
		for k := 1; k <= min(4, i); k++ {
			s := posenc.Seen{Node: int32(i - k - (i*k*k*7919)%(i-k+1))}
			if !slices.Contains(sees, s) {
				sees = append(sees, s)
			}
		}
		size := length
		if ragged {
			size += i*i%length - length/2
		}
		node := posenc.Node{Segment: i, Len: size}
		if i == n-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		_, err := b.Add(node, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

func TestCostGrowsWithEdgesAndBlocks(t *testing.T) {
	for _, ragged := range []bool{false, true} {
		before := 0
		for _, n := range []int{2500, 5000, 10000} {
			l := citations(t, n, 128, ragged)
			var m *Mask
			work, best := 0, time.Hour
			for range 5 { // the best of several: other work on the machine only slows down
				start := time.Now()
				var err error
				m, work, err = build(l, 128, MaxBlocks)
				best = min(best, time.Since(start))
				require.NoError(t, err)
			}
			assert.Less(t, work, 4*(l.NumEdges()+l.Len()+len(m.Cols())))
			if !testing.Short() { // a few milliseconds; wall time means little on a machine that is shared
				assert.Less(t, best, time.Second)
			}
			if before > 0 {
				assert.InDelta(t, 2, float64(work)/float64(before), 0.1)
			}
			before = work
			t.Logf("%d segments, ragged %v: %d steps, %v; %v", n, ragged, work, best, m)
		}
	}
}

// From the edges of 10,000 segments with 8 sources each to a mask takes less than half a second, whatever lays them out, and
// steps in proportion to edges and blocks.
func TestCostFromEdgesToMask(t *testing.T) {
	for name, layout := range map[string]func(lengths []int, g *graph.Graph) (*posenc.Layout, error){
		"dag": func(lengths []int, g *graph.Graph) (*posenc.Layout, error) {
			return posenc.DAG(20, lengths, g, posenc.DAGOptions{}, 20)
		},
		"two rounds": func(lengths []int, g *graph.Graph) (*posenc.Layout, error) {
			return posenc.DAG(20, lengths, g, posenc.DAGOptions{Rounds: 2, VisibleRounds: []int{0, 2}}, 20)
		},
		"ego-batch": func(lengths []int, g *graph.Graph) (*posenc.Layout, error) {
			var egos []posenc.EgoGraph
			for i := range lengths {
				e := posenc.EgoGraph{Center: i}
				for _, s := range g.Sources(i) {
					e.Neighbours = append(e.Neighbours, int(s))
				}
				egos = append(egos, e)
			}
			return posenc.EgoBatch(20, lengths, egos, 20)
		},
		"top-k": func(lengths []int, _ *graph.Graph) (*posenc.Layout, error) {
			return posenc.GraphKVTopK(20, lengths, 20, 8)
		},
		"block": func(lengths []int, _ *graph.Graph) (*posenc.Layout, error) { return posenc.Block(20, lengths, 20) },
		"ape": func(lengths []int, _ *graph.Graph) (*posenc.Layout, error) {
			return posenc.APE(20, lengths, posenc.APEOptions{Temperature: 0.9, Scale: 0.9, SharedPrefix: true}, 20)
		},
	} {
		before := 0.0
		for _, n := range []int{5000, 10000} {
			segments, lengths := make([]graph.Segment, n), make([]int, n)
			var edges []graph.Edge
			for i := range n {
				segments[i], lengths[i] = graph.Segment{ID: strconv.Itoa(i)}, 100
				for k := range min(8, i) {
					edges = append(edges, graph.Edge{Source: segments[k*max(i, 8)/8].ID, Target: segments[i].ID})
				}
			}
			work, best := 0, time.Hour
			var m *Mask
			for range 5 {
				start := time.Now()
				g, err := graph.FromEdges(segments, edges)
				require.NoError(t, err)
				l, err := layout(lengths, g)
				require.NoError(t, err)
				m, work, err = build(l, 128, MaxBlocks)
				best = min(best, time.Since(start))
				require.NoError(t, err)
			}
			t.Logf("%s: %d segments: %d steps, %v; %v", name, n, work, best, m)
			require.Less(t, work, 6*(m.Layout().NumEdges()+m.Layout().Len()+len(m.Cols())))
			if !testing.Short() {
				require.Less(t, best, time.Second/2, "%s of %d segments", name, n)
			}
			if before > 0 {
				require.InDelta(t, 2, float64(work)/before, 0.2)
			}
			before = float64(work)
		}
	}
}

// documents is a layout of n sentences in documents of sections of 20, whose nodes see later ones too.
func documents(t testing.TB, n int) *posenc.Layout {
	var docs [][][]int
	for d := range n / 500 {
		var doc [][]int
		for s := range 25 {
			section := make([]int, 20)
			for i := range section {
				section[i] = 5 + (d+s*i)%40
			}
			doc = append(doc, section)
		}
		docs = append(docs, doc)
	}
	l, err := posenc.HDT(50, docs, posenc.HDTOptions{Document: 1, Section: 1, Sentence: 1}, 20)
	require.NoError(t, err)
	return l
}

// 10,000 sentences are laid out and lowered in time linear in their edges and blocks.
func TestCostOfDocuments(t *testing.T) {
	before := 0
	for _, n := range []int{2500, 5000, 10000} {
		work, best := 0, time.Hour
		var m *Mask
		for range 5 {
			start := time.Now()
			l := documents(t, n)
			var err error
			m, work, err = build(l, 128, MaxBlocks)
			best = min(best, time.Since(start))
			require.NoError(t, err)
		}
		assert.Less(t, work, 6*(m.Layout().NumEdges()+m.Layout().Len()+len(m.Cols())))
		if !testing.Short() {
			assert.Less(t, best, time.Second/2)
		}
		if before > 0 {
			assert.InDelta(t, 2, float64(work)/float64(before), 0.2)
		}
		before = work
		t.Logf("%d sentences: %d steps, %v; %v", n, work, best, m)
	}
}

// The number of steps stays within a small multiple of edges, nodes and blocks when few blocks hold many edges: no pair of
// a row and a source, or of a node and a column, is visited more than once.
func TestCostOfExtremeShapes(t *testing.T) {
	tinyReaders := []int{100000} // of one long source
	var sees [][2]int
	for i := range 1000 {
		tinyReaders = append(tinyReaders, 1)
		sees = append(sees, [2]int{i + 1, 0})
	}
	tinySources := make([]int, 1000) // of one long reader
	for i := range tinySources {
		tinySources[i] = 1
	}
	tinySources = append(tinySources, 100000)
	var reads [][2]int
	for i := range 1000 {
		reads = append(reads, [2]int{1000, i})
	}
	for name, l := range map[string]*posenc.Layout{
		"tiny readers": layoutOf(t, tinyReaders, sees...),
		"tiny sources": layoutOf(t, tinySources, reads...),
	} {
		for _, size := range []int{64, 1000, 32768} {
			m, work, err := build(l, size, MaxBlocks)
			require.NoError(t, err)
			budget := 6*l.NumEdges() + 4*l.Len() + 4*len(m.Cols())
			assert.Less(t, work, budget, "%s, blocks of %d: %v", name, size, m)
		}
	}
}

func TestMillionsOfTokens(t *testing.T) {
	const n = 1 << 21
	l := layoutOf(t, []int{n, n, n}, [2]int{1, 0}, [2]int{2, 0}, [2]int{2, 1})
	m, err := New(l, 1<<13)
	require.NoError(t, err)
	checkInvariants(t, m)
	const tokens = int64(3 * n)
	assert.Equal(t, tokens*(tokens+1)/2, m.NNZ()) // one causal text, in pieces
	assert.Equal(t, 3<<8, m.Side())
	assert.Equal(t, 3<<8, m.NumPartial())
	assert.Equal(t, (3<<8)*(3<<8-1)/2, m.NumFull())
	assert.True(t, m.Allowed(3*n-1, 0))
	assert.False(t, m.Allowed(n, n+1))
}

func BenchmarkNew(b *testing.B) {
	l := citations(b, 10000, 128, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(l, 128); err != nil {
			b.Fatal(err)
		}
	}
}
