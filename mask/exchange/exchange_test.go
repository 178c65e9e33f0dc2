// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbinet/npyio"
	"github.com/sbinet/npyio/npz"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/posenc"
)

// drawLayout draws nodes of ragged lengths, some bidirectional, with sources in any order. Some nodes are encoded together and
// may see later ones.
func drawLayout(t *rapid.T) *posenc.Layout {
	n := rapid.IntRange(1, 10).Draw(t, "nodes")
	longest := rapid.SampledFrom([]int{1, 5, 40}).Draw(t, "longest")
	b := posenc.NewLayoutBuilder()
	for b.Len() < n {
		lo, hi := b.Len(), b.Len()+1
		if lo < n-1 && rapid.IntRange(0, 2).Draw(t, "together") == 0 {
			hi = rapid.IntRange(lo+1, n-1).Draw(t, "group")
		}
		var nodes []posenc.Node
		var sees [][]posenc.Seen
		for i := lo; i < hi; i++ {
			node := posenc.Node{
				Segment: i, Len: rapid.IntRange(1, longest).Draw(t, "len"), Base: rapid.IntRange(0, 50).Draw(t, "base"),
				Bidirectional: rapid.IntRange(0, 3).Draw(t, "bidirectional") == 0,
			}
			if i == n-1 {
				node.Kind, node.Segment = posenc.QueryNode, -1
			}
			var sources []posenc.Seen
			for s := range hi {
				if s != i && rapid.Bool().Draw(t, "sees") {
					sources = append(sources, posenc.Seen{Node: int32(s), Base: int32(rapid.IntRange(0, 50).Draw(t, "at"))})
				}
			}
			nodes, sees = append(nodes, node), append(sees, sources)
		}
		_, err := b.AddGroup(nodes, sees)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

func newMask(t require.TestingT, l *posenc.Layout, size int) *mask.Mask {
	m, err := mask.New(l, size)
	require.NoError(t, err)
	return m
}

func write(t require.TestingT, b exchange.Blocks, f exchange.Format, o exchange.WriteOptions) []byte {
	var out bytes.Buffer
	require.NoError(t, exchange.Write(&out, b, f, o), f)
	return out.Bytes()
}

// same checks that b has the blocks of want, kind by kind and bit by bit.
func same(t require.TestingT, want, b exchange.Blocks) {
	require.Equal(t, want.Tokens(), b.Tokens())
	require.Equal(t, want.BlockSize(), b.BlockSize())
	require.Equal(t, want.Side(), b.Side())
	for i := range want.Side() {
		cols, kinds := want.Row(i)
		gotCols, gotKinds := b.Row(i)
		require.True(t, slices.Equal(cols, gotCols) && slices.Equal(kinds, gotKinds), "row %d: %v %v, want %v %v", i, gotCols, gotKinds, cols, kinds)
		for j := range want.Side() {
			require.Equal(t, want.Bitmap(nil, i, j), b.Bitmap(nil, i, j), "block (%d, %d)", i, j)
		}
	}
}

func containers(f exchange.Format) []exchange.Container {
	if f == exchange.Dense || f == exchange.Additive {
		return []exchange.Container{exchange.NPY, exchange.NPZ, exchange.Safetensors}
	}
	return []exchange.Container{exchange.NPZ, exchange.Safetensors}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		m := newMask(t, l, rapid.SampledFrom([]int{1, 3, 8, 16, 63, 64, 65, 100}).Draw(t, "block size"))
		f := rapid.SampledFrom(exchange.Formats()).Draw(t, "format")
		c := rapid.SampledFrom(containers(f)).Draw(t, "container")
		data := write(t, m, f, exchange.WriteOptions{Container: c, Infinite: rapid.Bool().Draw(t, "infinite")})
		got, err := exchange.Read(data, exchange.ReadOptions{BlockSize: m.BlockSize()})
		require.NoError(t, err)
		require.Equal(t, f, got.Format)
		require.Equal(t, c, got.Container)
		require.Nil(t, got.Bias)
		same(t, m, got)
		require.Equal(t, m.NNZ(), got.NNZ())
		require.Equal(t, m.NumFull(), got.NumFull())
		require.Equal(t, m.NumPartial(), got.NumPartial())
		for range 20 {
			q, k := rapid.IntRange(-1, m.Tokens()).Draw(t, "q"), rapid.IntRange(-1, m.Tokens()).Draw(t, "k")
			require.Equal(t, m.Allowed(q, k), got.Allowed(q, k), "(%d, %d)", q, k)
		}
		if ids, err := exchange.PositionIDs(l, nil); err == nil && c != exchange.NPY {
			require.Equal(t, ids, got.PositionIDs)
		} else {
			require.Nil(t, got.PositionIDs)
			require.True(t, c != exchange.Safetensors || got.Metadata["position_ids"] == "none: "+strings.TrimPrefix(err.Error(), "exchange: "), got.Metadata)
		}
		// What was read can be written in any form.
		g := rapid.SampledFrom(exchange.Formats()).Draw(t, "second format")
		again, err := exchange.Read(write(t, got, g, exchange.WriteOptions{Container: exchange.NPZ}), exchange.ReadOptions{BlockSize: m.BlockSize()})
		require.NoError(t, err)
		same(t, m, again)
	})
}

// matrix draws what no layout makes: keys after their queries, tokens that see nothing or not themselves.
type matrix struct {
	size int
	rows [][]bool
}

func (m *matrix) Tokens() int    { return len(m.rows) }
func (m *matrix) BlockSize() int { return m.size }
func (m *matrix) Side() int      { return (len(m.rows)-1)/m.size + 1 }

func (m *matrix) Bitmap(dst []uint64, i, j int) []uint64 {
	stride := (m.size + 63) / 64
	dst = slices.Grow(dst[:0], m.size*stride)[:m.size*stride]
	clear(dst)
	for r := range min(m.size, len(m.rows)-i*m.size) {
		for c := range min(m.size, len(m.rows)-j*m.size) {
			if m.rows[i*m.size+r][j*m.size+c] {
				dst[r*stride+c/64] |= 1 << (c % 64)
			}
		}
	}
	return dst
}

func (m *matrix) Row(i int) (cols []int32, kinds []mask.Kind) {
	for j := range m.Side() {
		set, cells := 0, 0
		for q := i * m.size; q < min((i+1)*m.size, len(m.rows)); q++ {
			for k := j * m.size; k < min((j+1)*m.size, len(m.rows)); k++ {
				cells++
				if m.rows[q][k] {
					set++
				}
			}
		}
		switch set {
		case 0:
		case cells:
			cols, kinds = append(cols, int32(j)), append(kinds, mask.Full)
		default:
			cols, kinds = append(cols, int32(j)), append(kinds, mask.Partial)
		}
	}
	return cols, kinds
}

func TestRoundTripOfAnyMatrix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 50).Draw(t, "tokens")
		m := &matrix{size: rapid.IntRange(1, 70).Draw(t, "block size"), rows: make([][]bool, n)}
		density := rapid.SampledFrom([]float64{0, 0.02, 0.5, 0.98, 1}).Draw(t, "density")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for q := range m.rows {
			m.rows[q] = make([]bool, n)
			for k := range n {
				m.rows[q][k] = r.Float64() < density
			}
		}
		for _, f := range exchange.Formats() {
			for _, c := range containers(f) {
				got, err := exchange.Read(write(t, m, f, exchange.WriteOptions{Container: c}), exchange.ReadOptions{BlockSize: m.size})
				require.NoError(t, err, "%s in %s", f, c)
				same(t, m, got)
				for q := range n {
					for k := range n {
						require.Equal(t, m.rows[q][k], got.Allowed(q, k))
					}
				}
			}
		}
	})
}

// What a second reader finds in the files.
func TestDenseIsReadByAnotherReader(t *testing.T) {
	l, err := posenc.Ego(2, []int{3, 4, 5}, 2, 3)
	require.NoError(t, err)
	m := newMask(t, l, 4)
	want, err := m.Dense(100)
	require.NoError(t, err)

	var got []bool
	r, err := npyio.NewReader(bytes.NewReader(write(t, m, exchange.Dense, exchange.WriteOptions{Container: exchange.NPY})))
	require.NoError(t, err)
	require.Equal(t, []int{17, 17}, r.Header.Descr.Shape)
	require.NoError(t, r.Read(&got))
	require.Equal(t, want, got)

	var floats []float32
	r, err = npyio.NewReader(bytes.NewReader(write(t, m, exchange.Additive, exchange.WriteOptions{Container: exchange.NPY})))
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 17, 17}, r.Header.Descr.Shape)
	require.NoError(t, r.Read(&floats))
	for i, x := range floats {
		require.Equal(t, want[i], x == 0)
		require.True(t, x == 0 || x == -math.MaxFloat32)
	}
}

// arrays reads all whole numbers of an archive by another reader.
func arrays(t *testing.T, data []byte) map[string][]int64 {
	r, err := npz.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	out := map[string][]int64{}
	for _, key := range r.Keys() {
		var x []int64
		switch descr := r.Header(key).Descr.Type; descr {
		case "<i8":
			require.NoError(t, r.Read(key, &x))
		case "<i4":
			var narrow []int32
			require.NoError(t, r.Read(key, &narrow))
			for _, v := range narrow {
				x = append(x, int64(v))
			}
		case "|u1":
			var bytes []uint8
			require.NoError(t, r.Read(key, &bytes))
			for _, v := range bytes {
				x = append(x, int64(v))
			}
		}
		out[strings.TrimSuffix(key, ".npy")] = x
	}
	return out
}

// Three tokens of one text in blocks of two.
func TestArraysByHand(t *testing.T) {
	l, err := posenc.Sequential(0, nil, 3)
	require.NoError(t, err)
	m := newMask(t, l, 2)
	got := arrays(t, write(t, m, exchange.FlashInfer, exchange.WriteOptions{Container: exchange.NPZ}))
	require.Equal(t, map[string][]int64{
		"M": {3}, "N": {4}, "R": {2}, "C": {2}, "indptr": {0, 1, 3}, "indices": {0, 0, 1},
		// 10 11, then 11 10: the first token at the lowest bit, and each row of blocks at a new byte.
		"packed_mask": {0b1101, 0b0111}, "mask_indptr": {0, 1, 2}, "position_ids": {0, 1, 2},
	}, got)
	got = arrays(t, write(t, m, exchange.Flex, exchange.WriteOptions{Container: exchange.NPZ}))
	require.Equal(t, map[string][]int64{
		"seq_lengths": {3, 3}, "BLOCK_SIZE": {2, 2}, "position_ids": {0, 1, 2},
		// Block (1, 0) is cut off by the last token, so to FlexAttention it is partial.
		"kv_num_blocks": {1, 2}, "kv_indices": {0, 0, 0, 1}, "full_kv_num_blocks": {0, 0}, "full_kv_indices": {0, 0},
		"q_num_blocks": {2, 1}, "q_indices": {0, 1, 1, 0}, "full_q_num_blocks": {0, 0}, "full_q_indices": {0, 0},
		"partial_bits": {0b01, 0b11, 0b11, 0, 0b01, 0},
	}, got)
	l, err = posenc.Sequential(0, nil, 4)
	require.NoError(t, err)
	got = arrays(t, write(t, newMask(t, l, 2), exchange.Flex, exchange.WriteOptions{Container: exchange.NPZ}))
	require.Equal(t, []int64{0, 1}, got["full_kv_num_blocks"])
	require.Equal(t, []int64{0, 0}, got["full_kv_indices"])
	require.Equal(t, []int64{1, 0}, got["full_q_num_blocks"])
	require.Equal(t, []int64{1, 0}, got["full_q_indices"])
}

func TestAdditiveHasTheBiasesOfEdges(t *testing.T) {
	l, err := posenc.Ego(2, []int{3, 4, 5}, 2, 3)
	require.NoError(t, err)
	inf := float32(math.Inf(-1))
	l, err = l.WithScores(func(reader int, s posenc.Seen) (posenc.Score, error) {
		if s.Node == 1 {
			return posenc.Score{Bias: []float32{-0.5, inf, 0}}, nil
		}
		return posenc.Score{}, nil
	})
	require.NoError(t, err)
	m := newMask(t, l, 4)
	for _, o := range []exchange.WriteOptions{{}, {Infinite: true}, {Container: exchange.NPY}} {
		got, err := exchange.Read(write(t, m, exchange.Additive, o), exchange.ReadOptions{BlockSize: 4})
		require.NoError(t, err)
		same(t, m, got)
		require.Equal(t, 3, got.Heads)
		n := m.Tokens()
		for h := range 3 {
			for q := range n {
				for k := range n {
					want := float32(0)
					if m.Allowed(q, k) && m.Node(k) == 1 && m.Node(q) != 1 {
						want = []float32{-0.5, inf, 0}[h]
					}
					require.Equal(t, want, got.Bias[(h*n+q)*n+k], "head %d (%d, %d)", h, q, k)
				}
			}
		}
	}
	for _, f := range exchange.Formats()[:5] {
		require.ErrorContains(t, exchange.Write(io.Discard, m, f, exchange.WriteOptions{}), "segment 2 sees segment 1 with a scale, bias or power of its own, which the format "+string(f))
	}
	l, err = l.WithScores(func(int, posenc.Seen) (posenc.Score, error) { return posenc.Score{Scale: 2}, nil })
	require.NoError(t, err)
	require.ErrorContains(t, exchange.Write(io.Discard, newMask(t, l, 4), exchange.Additive, exchange.WriteOptions{}), "with scale 2 and power 1")
}

func TestDenseFormsAreRefusedByTheirSize(t *testing.T) {
	l, err := posenc.PCW(0, slices.Repeat([]int{1000}, 100), 10)
	require.NoError(t, err)
	m := newMask(t, l, 128)
	for _, f := range []exchange.Format{exchange.Dense, exchange.Additive} {
		var limit *exchange.LimitError
		require.ErrorAs(t, exchange.Write(io.Discard, m, f, exchange.WriteOptions{}), &limit)
		require.EqualValues(t, exchange.DefaultMaxBytes, limit.Limit)
		require.Contains(t, limit.Error(), "a mask of 100010 tokens as "+string(f))
	}
	for _, f := range []exchange.Format{exchange.Flex, exchange.FlashInfer, exchange.CSRBlocks} {
		require.NoError(t, exchange.Write(io.Discard, m, f, exchange.WriteOptions{}), f)
	}
	require.ErrorContains(t, exchange.Write(io.Discard, m, exchange.Flex, exchange.WriteOptions{Container: exchange.NPY}), "a .npy file holds one")
	require.ErrorContains(t, exchange.Write(io.Discard, m, exchange.Flex, exchange.WriteOptions{MaxBytes: 1000}), "the limit is 1000")
	require.ErrorContains(t, exchange.Write(io.Discard, m, "bsr", exchange.WriteOptions{}), "unknown format")
	require.ErrorContains(t, exchange.Write(io.Discard, m, exchange.Flex, exchange.WriteOptions{Container: "zip"}), "unknown container")
}

// citations is a graph of n segments that read up to 8 random earlier ones; the query reads the last few.
func citations(t testing.TB, n int) *posenc.Layout {
	r := rand.New(rand.NewPCG(1, 2))
	b := posenc.NewLayoutBuilder()
	for i := range n + 1 {
		node := posenc.Node{Segment: i, Len: 16 + r.IntN(32), Base: 48}
		degree, among := min(i, 8), i
		if i == n {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		var sees []posenc.Seen
		for len(sees) < degree {
			s := int32(r.IntN(among))
			if !slices.ContainsFunc(sees, func(x posenc.Seen) bool { return x.Node == s }) {
				sees = append(sees, posenc.Seen{Node: s})
			}
		}
		_, err := b.Add(node, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

// Ten thousand segments of 8 edges: block forms cost as much per edge as at an eighth of that.
func TestBlockFormsAreLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("writes hundreds of megabytes; not under -short")
	}
	for _, f := range []exchange.Format{exchange.Flex, exchange.FlashInfer, exchange.CSRBlocks} {
		var perEdge [2]float64
		for k, n := range []int{1250, 10000} {
			l := citations(t, n)
			m := newMask(t, l, 64)
			best := time.Duration(math.MaxInt64)
			var size counter
			for range 2 {
				size = 0
				begin := time.Now()
				require.NoError(t, exchange.Write(&size, m, f, exchange.WriteOptions{}))
				best = min(best, time.Since(begin))
			}
			perEdge[k] = best.Seconds() / float64(l.NumEdges())
			t.Logf("%s: %d segments, %d edges, %d tokens: %.0f ms, %.0f MB", f, n, l.NumEdges(), l.Tokens(), best.Seconds()*1e3, float64(size)/1e6)
		}
		require.Less(t, perEdge[1], 3*perEdge[0], f)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func BenchmarkWrite(b *testing.B) {
	m := newMask(b, citations(b, 10000), 64)
	for _, f := range []exchange.Format{exchange.Flex, exchange.FlashInfer, exchange.CSRBlocks} {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				if err := exchange.Write(io.Discard, m, f, exchange.WriteOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleWrite() {
	layout, err := posenc.Ego(1, []int{2, 2, 3}, 2, 1) // a prefix, two neighbours, their centre, and the query
	if err != nil {
		panic(err)
	}
	m, err := mask.New(layout, 2)
	if err != nil {
		panic(err)
	}
	var file bytes.Buffer
	if err := exchange.Write(&file, m, exchange.Flex, exchange.WriteOptions{}); err != nil {
		panic(err)
	}
	read, err := exchange.Read(file.Bytes(), exchange.ReadOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(read)
	fmt.Println(read.PositionIDs)
	fmt.Print(read.Picture(40))
	// Output:
	// 9 tokens, 5×5 blocks of 2: 7 full, 7 partial, density 0.4198
	// [1 2 1 2 3 4 5 0 6]
	// +....
	// .+...
	// ##+..
	// ++++.
	// #####
}
