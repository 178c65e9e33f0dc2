// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// composite is √(‖X‖₁·‖X‖∞), from gonum's norms.
func composite(x mat.Matrix) float64 { return math.Sqrt(mat.Norm(x, 1) * mat.Norm(x, math.Inf(1))) }

// relativeResidual is the measure written as in the paper, on matrices.
func relativeResidual(x *mat.Dense) float64 {
	rows, columns := x.Dims()
	res := mat.DenseCopyOf(x)
	for j := range columns {
		mean := mat.Sum(x.ColView(j)) / float64(rows)
		for i := range rows {
			res.Set(i, j, x.At(i, j)-mean)
		}
	}
	return composite(res) / composite(x)
}

func TestCollapse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, width := rapid.IntRange(1, 3).Draw(t, "layers"), rapid.IntRange(1, 5).Draw(t, "width")
		pieces := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 3).Draw(t, "pieces")
		rows := 0
		for _, n := range pieces {
			rows += n
		}
		want := make([]*mat.Dense, layers)
		for l := range want {
			want[l] = mat.NewDense(rows, width, nil)
		}
		var all [][]float32
		from := 0
		for _, n := range pieces {
			x := make([]float32, layers*n*width)
			for i := range x {
				x[i] = rapid.Float32Range(-9, 9).Draw(t, "x")
				want[i/(n*width)].Set(from+i/width%n, i%width, float64(x[i]))
			}
			all, from = append(all, x), from+n
		}
		c := newCollapse(layers, width)
		for i, x := range all {
			c.add(x, pieces[i])
		}
		for i, x := range all {
			c.measure(x, pieces[i])
		}
		for l, got := range c.residuals() {
			if mat.Norm(want[l], 1) == 0 {
				require.Zero(t, got)
				continue
			}
			require.InDelta(t, relativeResidual(want[l]), got, 1e-12)
		}
	})
}

// Tokens that are all the same have collapsed, and opposite ones have not.
func TestCollapseOfEqualRows(t *testing.T) {
	for want, x := range map[float64][]float32{0: {3, -1, 3, -1, 3, -1}, 1: {2, 1, -2, -1}} {
		c := newCollapse(1, 2)
		c.add(x, len(x)/2)
		c.measure(x, len(x)/2)
		require.Equal(t, []float64{want}, c.residuals())
	}
}
