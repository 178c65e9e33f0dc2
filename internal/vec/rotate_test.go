// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

var rotations = map[string]func(dst, x []float32, r *Rows){"RotateInterleaved": RotateInterleaved, "RotateHalfSplit": RotateHalfSplit}

func TestRotations(t *testing.T) {
	for name, rotate := range rotations {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(21, 22))
			for pairs := range 70 {
				dim := 2*pairs + max(pairs%3, 1-pairs)
				r := Rows{
					Rows: pairs % 4, Heads: pairs % 5, Dim: dim, Pairs: pairs, Stride: dim + pairs%2*9,
					CosFactor: 1.25, SinFactor: -0.75, Scale: 0.3,
				}
				r.NextRow = r.Heads*dim + pairs%3*7
				x := random(rng, max((r.Rows-1)*r.NextRow+r.Heads*dim, 0))
				rest := random(rng, max((r.Rows*r.Heads-1)*r.Stride+dim, 0))
				table := random(rng, 3*2*pairs+max(r.Rows-1, 0)*2*pairs)
				if r.Position, r.NextPosition = 2*pairs, 2*pairs; pairs%2 == 1 { // downwards
					r.Position, r.NextPosition = len(table)-4*pairs, -2*pairs
				}
				testRotation(t, name, rotate, r, x, rest, table)
			}
		})
	}
}

func testRotation(t *testing.T, name string, rotate func(dst, x []float32, r *Rows), r Rows, x, rest, table []float32) {
	var first []uint32
	onEveryTierQuietly(func(tier cpu.Tier) {
		src, srcWhole := guarded(x, r.Pairs)
		dst, dstWhole := guarded(rest, 3*r.Pairs)
		angles, anglesWhole := guarded(table, 5*r.Pairs)
		r.Table = angles
		rotate(dst, src, &r)
		require.True(t, srcWhole() && dstWhole() && anglesWhole(), "%v: written outside, %d pairs", tier, r.Pairs)
		require.Equal(t, bits(x), bits(src), "%v: source changed", tier)
		if first == nil {
			first = bits(dst)
		}
		require.Equal(t, first, bits(dst), "%v: differs from a higher tier, %d pairs", tier, r.Pairs)
		for i := range r.Rows {
			cos := table[r.Position+i*r.NextPosition:]
			for h := range r.Heads {
				v, got := x[i*r.NextRow+h*r.Dim:], dst[(i*r.Heads+h)*r.Stride:]
				for n := range r.Pairs {
					p, q := 2*n, 2*n+1
					if name == "RotateHalfSplit" {
						p, q = n, r.Pairs+n
					}
					c, s := float64(cos[n]), float64(cos[r.Pairs+n])
					z := complex(float64(v[p]), float64(v[q])) * complex(c*1.25, s*-0.75) * complex(float64(r.Scale), 0)
					limit := 5 * eps32 * math.Hypot(float64(v[p]), float64(v[q])) * math.Hypot(1.25*c, 0.75*s)
					require.LessOrEqual(t, cmplx.Abs(complex(float64(got[p]), float64(got[q]))-z), limit,
						"%v: row %d, head %d of %d, pair %d of %d", tier, i, h, r.Heads, n, r.Pairs)
				}
				for n := 2 * r.Pairs; n < min(r.Stride, len(got)); n++ {
					require.Equal(t, rest[(i*r.Heads+h)*r.Stride+n], got[n], "%v: element %d of head %d was touched", tier, n, h)
				}
			}
		}
		at := r // in place
		at.Stride, at.NextRow = r.Dim, r.Heads*r.Dim
		same := make([]float32, r.Rows*at.NextRow)
		for i := range r.Rows {
			copy(same[i*at.NextRow:(i+1)*at.NextRow], x[i*r.NextRow:])
		}
		before := append([]float32(nil), same...)
		rotate(same, same, &at)
		for h := range r.Rows * r.Heads {
			require.Equal(t, bits(dst[h*r.Stride:][:2*r.Pairs]), bits(same[h*r.Dim:][:2*r.Pairs]), "%v: in place", tier)
			require.Equal(t, before[h*r.Dim+2*r.Pairs:(h+1)*r.Dim], same[h*r.Dim+2*r.Pairs:(h+1)*r.Dim], "%v: in place, not to be touched", tier)
		}
	})
}

func TestRotationsRefuseWrongShapes(t *testing.T) {
	x := make([]float32, 12)
	good := Rows{Rows: 3, Heads: 1, Dim: 4, Pairs: 2, NextRow: 4, Stride: 4, Table: x, NextPosition: 4}
	for want, change := range map[string]func(r *Rows) (dst, x []float32){
		"x has 11 elements, 3 rows need 12":                    func(*Rows) (_, _ []float32) { return x, x[:11] },
		"dst has 11 elements, 3 rows need 12":                  func(*Rows) (_, _ []float32) { return x[:11], x },
		"dst has 0 elements, 3 rows need 12":                   func(*Rows) (_, _ []float32) { return nil, x },
		"3 pairs, dimension 4, stride 4, 1 heads in rows of 4": func(r *Rows) (_, _ []float32) { r.Pairs = 3; return x, x },
		"2 pairs, dimension 4, stride 3, 1 heads in rows of 4": func(r *Rows) (_, _ []float32) { r.Stride = 3; return x, x },
		"2 pairs, dimension 4, stride 4, 1 heads in rows of 3": func(r *Rows) (_, _ []float32) { r.NextRow = 3; return x, x },
		"the table has 12 elements, rows are at 1 to 9 of 4":   func(r *Rows) (_, _ []float32) { r.Position = 1; return x, x },
		"the table has 12 elements, rows are at 4 to -4 of 4":  func(r *Rows) (_, _ []float32) { r.Position, r.NextPosition = 4, -4; return x, x },
		"the table has 11 elements, rows are at 0 to 8 of 4":   func(r *Rows) (_, _ []float32) { r.Table = x[:11]; return x, x },
		"the table has 12 elements, rows are at -1 to 7 of 4":  func(r *Rows) (_, _ []float32) { r.Position = -1; return x, x },
		"the table has 12 elements, rows are at 0 to 10 of 4":  func(r *Rows) (_, _ []float32) { r.NextPosition = 5; return x, x },
		"x has 12 elements, 4 rows need 16":                    func(r *Rows) (_, _ []float32) { r.Rows = 4; return x, x },
	} {
		for name, rotate := range rotations {
			func() {
				defer func() {
					e, _ := recover().(*RowsError)
					if assert.NotNil(t, e, want) {
						assert.EqualError(t, e, "vec: "+name+": "+want)
					}
				}()
				r := good
				dst, x := change(&r)
				rotate(dst, x, &r)
			}()
		}
	}
	for _, rotate := range rotations {
		rotate(nil, nil, &Rows{Rows: 0, Heads: 3, Dim: 4, Pairs: 2, NextRow: 12, Stride: 4})
	}
}
