// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sbinet/npyio"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/mask/exchange"
	"github.com/graphkv/graphkv/posenc"
)

// peersVariable asks for the tests that need other programs, which are installed first.
const peersVariable = "GRAPHKV_PEERS"

// python returns the interpreter of a peer's environment.
func python(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv(peersVariable) == "" {
		t.Skipf("runs other programs, which it installs: set %s=1", peersVariable)
	}
	system, err := exec.LookPath("python3")
	require.NoError(t, err)
	path, err := exec.Command(system, "peers/install.py", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(path))
}

// script runs a peer's script and returns its last line, which is JSON.
func script(t *testing.T, interpreter string, answer any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter, args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	require.NoError(t, cmd.Run(), "%s", &log)
	require.NoError(t, json.Unmarshal(out.Bytes(), answer), "%s", &out)
}

// maskedShape is the attention of the exported masks.
var maskedShape = Shape{Heads: 4, KVHeads: 2, HeadDim: 16}

// maskCase is a graph whose mask goes to other programs.
type maskCase struct {
	name     string
	layout   *posenc.Layout
	block    int
	compiled bool // compiling takes FlexAttention a while
}

// maskCases draws 25 graphs; the last five have edges with biases, which only additive masks can say.
func maskCases(t *testing.T) []maskCase {
	r := rand.New(rand.NewPCG(6, 20))
	lengths := func(n int) []int {
		x := make([]int, n)
		for i := range x {
			x[i] = 1 + r.IntN(40)
		}
		return x
	}
	var cases []maskCase
	for i := range 25 {
		c := maskCase{name: strconv.Itoa(i), block: []int{16, 32, 64, 128}[i%4]}
		var err error
		switch i % 5 {
		case 0:
			c.layout, err = posenc.Ego(1+r.IntN(9), lengths(2+r.IntN(8)), 1, 1+r.IntN(9))
		case 1:
			c.layout, err = posenc.Block(1+r.IntN(9), lengths(1+r.IntN(9)), 1+r.IntN(9))
		case 2: // a source stands at different places for different readers
			c.layout, err = posenc.GraphKV(1+r.IntN(9), lengths(2+r.IntN(4)), 1+r.IntN(9))
		default:
			c.layout = randomGraph(t, r, lengths(3+r.IntN(9)), i%5 == 4)
		}
		require.NoError(t, err)
		c.compiled = c.block == 128 && i%8 == 3
		if i >= 20 {
			c.layout, err = c.layout.WithScores(func(reader int, s posenc.Seen) (posenc.Score, error) {
				bias := make([]float32, maskedShape.Heads)
				for h := range bias {
					bias[h] = float32(r.NormFloat64())
				}
				return posenc.Score{Bias: bias}, nil
			})
			require.NoError(t, err)
		}
		cases = append(cases, c)
	}
	return cases
}

// randomGraph is an acyclic graph whose nodes stand at one place each, some of them bidirectional.
func randomGraph(t *testing.T, r *rand.Rand, lengths []int, bidirectional bool) *posenc.Layout {
	b := posenc.NewLayoutBuilder()
	bases := make([]int, len(lengths))
	for i, n := range lengths {
		bases[i] = r.IntN(100)
		node := posenc.Node{Segment: i, Base: bases[i], Len: n, Bidirectional: bidirectional && r.IntN(2) == 0}
		if i == len(lengths)-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		var sees []posenc.Seen
		for s := range i {
			if r.IntN(2) == 0 {
				sees = append(sees, posenc.Seen{Node: int32(s), Base: int32(bases[s])})
			}
		}
		_, err := b.Add(node, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

// overParts computes the layout's attention over parts, each node's keys rotated at local positions, or without any
// rotation.
func overParts(t *testing.T, l *posenc.Layout, rope *posenc.RoPE) []float32 {
	s := maskedShape
	kernel, err := attention.New(attention.Config{Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim, RoPE: rope})
	require.NoError(t, err)
	width, kvWidth := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	q, k, v := Values(l.Tokens()*width, seedQ), Values(l.Tokens()*kvWidth, seedK), Values(l.Tokens()*kvWidth, seedV)
	out := make([]float32, len(q))
	kvs := make([]attention.KV, l.Len())
	var queries []attention.Query
	at := 0
	for i := range l.Len() {
		n := l.Node(i)
		keys := k[at*kvWidth:][:n.Len*kvWidth]
		if rope != nil {
			for t := range n.Len {
				rope.RotateHeads(keys[t*kvWidth:][:kvWidth], s.KVHeads, t)
			}
		}
		kvs[i] = attention.PackKV(attention.F32, s.KVHeads, s.HeadDim, keys, v[at*kvWidth:][:n.Len*kvWidth])
		query := attention.Query{Q: q[at*width:][:n.Len*width], Out: out[at*width:][:n.Len*width], Rows: n.Len}
		for _, seen := range l.Sees(i) {
			query.Parts = append(query.Parts, attention.Part{
				KV: kvs[seen.Node], Len: l.Node(int(seen.Node)).Len, Shift: n.Base - int(seen.Base), Bias: l.Score(seen).Bias,
			})
		}
		query.Parts = append(query.Parts, attention.Part{KV: kvs[i], Len: n.Len, Causal: !n.Bidirectional})
		queries = append(queries, query)
		at += n.Len
	}
	require.NoError(t, kernel.Attend(nil, nil, queries))
	return out
}

// overMask computes it over flat tokens, rotated to where they stand, if they are.
func overMask(t *testing.T, m *mask.Mask, rope *posenc.RoPE, positions []int64) []float32 {
	s := maskedShape
	kernel, err := attention.New(attention.Config{Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim})
	require.NoError(t, err)
	width, kvWidth := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	q, k, v := Values(m.Tokens()*width, seedQ), Values(m.Tokens()*kvWidth, seedK), Values(m.Tokens()*kvWidth, seedV)
	if rope != nil {
		for i, p := range positions {
			rope.RotateHeads(q[i*width:][:width], s.Heads, int(p))
			rope.RotateHeads(k[i*kvWidth:][:kvWidth], s.KVHeads, int(p))
		}
	}
	out := make([]float32, len(q))
	require.NoError(t, kernel.AttendMask(nil, nil, attention.MaskedQuery{
		Q: q, Out: out, Rows: m.Tokens(), Mask: m, KV: attention.PackKV(attention.F32, s.KVHeads, s.HeadDim, k, v),
	}))
	return out
}

func readFloats(t *testing.T, path string) []float32 {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var x []float32
	require.NoError(t, npyio.Read(f, &x))
	return x
}

func largest(t *testing.T, a, b []float32) float64 {
	require.Len(t, b, len(a))
	worst := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

// PyTorch and SciPy read exported masks; their attention under them is ours.
func TestExportedMasks(t *testing.T) {
	interpreter := python(t, "attention")
	folder := t.TempDir()
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: maskedShape.HeadDim, Base: RoPEBase, Pairing: posenc.HalfSplit})
	require.NoError(t, err)
	type problem struct {
		Name     string  `json:"name"`
		Heads    int     `json:"heads"`
		KVHeads  int     `json:"kv_heads"`
		HeadDim  int     `json:"head_dim"`
		RoPEBase float64 `json:"rope_base"` // 0 without rotation
		Additive bool    `json:"additive"`  // the only form that can say it
		Compiled bool    `json:"compiled"`
	}
	var problems []problem
	want := map[string][2][]float32{} // over parts and over the mask
	for _, c := range maskCases(t) {
		m, err := mask.New(c.layout, c.block)
		require.NoError(t, err)
		positions, noPositions := exchange.PositionIDs(c.layout, nil)
		p := problem{Name: c.name, Heads: maskedShape.Heads, KVHeads: maskedShape.KVHeads, HeadDim: maskedShape.HeadDim,
			Additive: c.layout.Heads() > 0, Compiled: c.compiled}
		turn := rope
		if noPositions != nil {
			turn = nil // only parts can have it
		} else {
			p.RoPEBase = RoPEBase
		}
		problems = append(problems, p)
		outputs := [2][]float32{0: overParts(t, c.layout, turn)}
		if !p.Additive {
			outputs[1] = overMask(t, m, turn, positions)
		}
		want[c.name] = outputs
		dir := filepath.Join(folder, c.name)
		require.NoError(t, os.Mkdir(dir, 0o755))
		for _, f := range exchange.Formats() {
			if p.Additive && f != exchange.Additive {
				continue
			}
			for _, kind := range []exchange.Container{exchange.Safetensors, exchange.NPZ, exchange.NPY} {
				if kind == exchange.NPY && f != exchange.Dense && f != exchange.Additive {
					continue
				}
				var file bytes.Buffer
				require.NoError(t, exchange.Write(&file, m, f, exchange.WriteOptions{Container: kind}))
				require.NoError(t, os.WriteFile(filepath.Join(dir, string(f)+"."+string(kind)), file.Bytes(), 0o644))
			}
		}
	}
	data, err := json.Marshal(problems)
	require.NoError(t, err)
	spec := filepath.Join(folder, "problems.json")
	require.NoError(t, os.WriteFile(spec, data, 0o644))
	var answer struct {
		Versions map[string]string
		Outputs  map[string][]string // of each problem: files
	}
	script(t, interpreter, &answer, "peers/masks.py", spec)
	t.Log(answer.Versions)

	worst, ways := map[string]float64{}, map[string]int{}
	for _, p := range problems {
		files := answer.Outputs[p.Name]
		if p.Additive {
			require.Len(t, files, 3, "problem %s", p.Name)
		} else {
			require.GreaterOrEqual(t, len(files), 11, "problem %s", p.Name)
		}
		for _, name := range files {
			got := readFloats(t, filepath.Join(folder, p.Name, name))
			way := strings.TrimSuffix(name, ".npy")
			ways[way]++
			for k, ours := range want[p.Name] {
				if ours == nil {
					continue
				}
				d := largest(t, ours, got)
				require.LessOrEqual(t, d, 1e-4, "problem %s, %s, over %s", p.Name, way, []string{"parts", "the mask"}[k])
				worst[way] = max(worst[way], d)
			}
		}
	}
	for _, way := range slices.Sorted(maps.Keys(worst)) {
		t.Logf("%-32s %2d graphs, largest difference %.1e", way, ways[way], worst[way])
	}
	require.NotZero(t, ways["out-flex-compiled"])
}
