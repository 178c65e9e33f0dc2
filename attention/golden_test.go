// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/sbinet/npyio"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/attention/attentiontest"
)

// The golden results were computed in float64 by code that is independent of
// this module; testdata/golden/manifest.json describes them.

type goldenCase struct {
	Name     string
	QLen     int     `json:"q_len"`
	KLen     int     `json:"k_len"`
	QScale   float32 `json:"q_scale"`
	Pairs    int
	MaxLogit float64 `json:"max_abs_logit"`
	Segments []struct {
		Q0, Q1, Self0 int
		Src           [][2]int
	}
}

func readNPY[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "golden", name))
	require.NoError(t, err)
	defer f.Close()
	var data []T
	require.NoError(t, npyio.Read(f, &data))
	return data
}

// goldenCases returns the cases in the order of the manifest.
func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	var m struct{ Cases []struct{ Name string } }
	readJSON(t, "manifest.json", &m)
	require.NotEmpty(t, m.Cases)
	cases := make([]goldenCase, len(m.Cases))
	for i := range cases {
		readJSON(t, m.Cases[i].Name+".json", &cases[i])
	}
	return cases
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v))
}

const goldenHeads, goldenKVHeads, goldenDim = 9, 3, 64

func TestGolden(t *testing.T) {
	const heads, d = goldenHeads, goldenDim
	q, k, v := readNPY[float32](t, "q.npy"), readNPY[float32](t, "k.npy"), readNPY[float32](t, "v.npy")
	part := func(lo, hi int) attention.Part {
		const width = goldenKVHeads * d
		return attention.Part{KV: attention.PackKV(attention.F32, goldenKVHeads, d, k[lo*width:hi*width], v[lo*width:hi*width]), Len: hi - lo}
	}
	kernel := newKernel(t, attention.Config{Heads: heads, KVHeads: goldenKVHeads, HeadDim: d})

	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			scaled := make([]float32, c.QLen*heads*d)
			for i := range scaled {
				scaled[i] = q[i] * c.QScale
			}
			out, lse := make([]float32, len(scaled)), make([]float32, c.QLen*heads)
			var queries []attention.Query
			pairs := 0
			for _, s := range c.Segments {
				rows := s.Q1 - s.Q0
				one := attention.Query{
					Q: scaled[s.Q0*heads*d:], Out: out[s.Q0*heads*d:], LSE: lse[s.Q0*heads:], Rows: rows,
				}
				for _, r := range s.Src {
					one.Parts = append(one.Parts, part(r[0], r[1]))
					pairs += rows * (r[1] - r[0])
				}
				self := part(s.Self0, s.Self0+rows)
				self.Causal = true
				one.Parts = append(one.Parts, self)
				pairs += rows * (rows + 1) / 2
				queries = append(queries, one)
			}
			require.Equal(t, c.Pairs, pairs, "pairs attended to")
			onEveryTier(t, func(t *testing.T) {
				require.NoError(t, kernel.Attend(nil, nil, queries))

				// A score in float32 is off by a few units in its last place, 2⁻²⁴ of its
				// size each, and that is what the output and the log-sum-exp are off by.
				tol := 1e-5 * math.Max(1, c.MaxLogit/32)
				require.LessOrEqual(t, worst(out, readNPY[float32](t, c.Name+".out.npy")), tol, "output")
				require.LessOrEqual(t, worst(lse, readNPY[float64](t, c.Name+".lse.npy")), tol, "log-sum-exp")
			})
		})
	}
}

// The reference that the other tests trust agrees with the golden results.
func TestGoldenReference(t *testing.T) {
	if testing.Short() {
		t.Skip("dense attention in float64 is slow under the race detector")
	}
	q, k, v := readNPY[float32](t, "q.npy"), readNPY[float32](t, "k.npy"), readNPY[float32](t, "v.npy")
	for _, c := range goldenCases(t) {
		p := attentiontest.Dense{
			Heads: goldenHeads, KVHeads: goldenKVHeads, HeadDim: goldenDim, Rows: c.QLen, Keys: c.KLen,
			Sees: func(_, row, key int) bool {
				for _, s := range c.Segments {
					if row < s.Q0 || row >= s.Q1 {
						continue
					}
					if key >= s.Self0 && key <= s.Self0+row-s.Q0 {
						return true
					}
					for _, r := range s.Src {
						if key >= r[0] && key < r[1] {
							return true
						}
					}
				}
				return false
			},
		}
		for _, x := range q[:c.QLen*goldenHeads*goldenDim] {
			p.Q = append(p.Q, float64(x*c.QScale))
		}
		for i := range c.KLen * goldenKVHeads * goldenDim {
			p.K, p.V = append(p.K, float64(k[i])), append(p.V, float64(v[i]))
		}
		out, lse, largest := p.Solve()
		require.LessOrEqual(t, worst(out, readNPY[float32](t, c.Name+".out.npy")), 3e-7, c.Name) // stored in float32
		require.LessOrEqual(t, worst(lse, readNPY[float64](t, c.Name+".lse.npy")), 1e-12, c.Name)
		require.InDelta(t, c.MaxLogit, largest, 1e-10, c.Name)
	}
}

// worst returns the largest difference, +Inf for NaN or unequal lengths.
func worst[T, U float32 | float64](got []T, want []U) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	w := 0.0
	for i, x := range want {
		diff := math.Abs(float64(got[i]) - float64(x))
		if math.IsNaN(diff) {
			return math.Inf(1)
		}
		w = math.Max(w, diff)
	}
	return w
}
