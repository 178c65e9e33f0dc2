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

// headMajor turns [token][heads][d] into [heads][token][d].
func headMajor(x []float32, heads, d int) []float32 {
	tokens := len(x) / (heads * d)
	y := make([]float32, len(x))
	for i := range tokens {
		for h := range heads {
			copy(y[(h*tokens+i)*d:][:d], x[(i*heads+h)*d:][:d])
		}
	}
	return y
}

func goldenNames(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", "manifest.json"))
	require.NoError(t, err)
	var m struct{ Cases []struct{ Name string } }
	require.NoError(t, json.Unmarshal(b, &m))
	require.NotEmpty(t, m.Cases)
	var names []string
	for _, c := range m.Cases {
		names = append(names, c.Name)
	}
	return names
}

func TestGolden(t *testing.T) {
	const heads, kvHeads, d = 9, 3, 64
	q, k, v := readNPY[float32](t, "q.npy"), readNPY[float32](t, "k.npy"), readNPY[float32](t, "v.npy")
	pool := len(k) / (kvHeads * d) // keys
	k, v = headMajor(k, kvHeads, d), headMajor(v, kvHeads, d)
	kernel, err := attention.New(attention.Config{Heads: heads, KVHeads: kvHeads, HeadDim: d})
	require.NoError(t, err)

	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
			require.NoError(t, err)
			var c goldenCase
			require.NoError(t, json.Unmarshal(b, &c))
			wantOut, wantLSE := readNPY[float32](t, name+".out.npy"), readNPY[float64](t, name+".lse.npy")

			scaled := make([]float32, c.QLen*heads*d)
			for i := range scaled {
				scaled[i] = q[i] * c.QScale
			}
			out, lse := make([]float32, len(wantOut)), make([]float32, len(wantLSE))
			var queries []attention.Query
			pairs := 0
			for _, s := range c.Segments {
				rows := s.Q1 - s.Q0
				one := attention.Query{
					Q: scaled[s.Q0*heads*d:], Out: out[s.Q0*heads*d:], LSE: lse[s.Q0*heads:], Rows: rows,
				}
				for _, r := range s.Src {
					one.Parts = append(one.Parts, attention.Part{K: k[r[0]*d:], V: v[r[0]*d:], Len: r[1] - r[0], Stride: pool})
					pairs += rows * (r[1] - r[0])
				}
				one.Parts = append(one.Parts, attention.Part{
					K: k[s.Self0*d:], V: v[s.Self0*d:], Len: rows, Stride: pool, Causal: true,
				})
				pairs += rows * (rows + 1) / 2
				queries = append(queries, one)
			}
			require.Equal(t, c.Pairs, pairs, "pairs attended to")
			require.NoError(t, kernel.Attend(nil, nil, queries))

			worst, worstLSE := 0.0, 0.0
			for i, w := range wantOut {
				worst = math.Max(worst, math.Abs(float64(out[i])-float64(w)))
			}
			for i, w := range wantLSE {
				worstLSE = math.Max(worstLSE, math.Abs(float64(lse[i])-w))
			}
			t.Logf("max abs error: output %.2g, log-sum-exp %.2g", worst, worstLSE)
			// A score in float32 is off by a few units in its last place, 2⁻²⁴ of its
			// size each, and that is what the output and the log-sum-exp are off by.
			tol := 1e-5 * math.Max(1, c.MaxLogit/32)
			require.LessOrEqual(t, worst, tol, "output")
			require.LessOrEqual(t, worstLSE, tol, "log-sum-exp")
		})
	}
}
