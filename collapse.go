// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import "math"

// collapse measures how far a node's hidden states X, [tokens][hidden], are from being
// the same for all tokens, at every layer, as "Attention is not all you need" (Dong,
// Cordonnier and Loukas, 2021) does:
//
//	‖X − 1xᵀ‖₁,∞ / ‖X‖₁,∞ with ‖X‖₁,∞ = √(‖X‖₁·‖X‖∞)
//
// ‖·‖₁ is the largest column sum and ‖·‖∞ the largest row sum of magnitudes. x is the
// mean of the rows, which is what minimises the sum of squares of X − 1xᵀ.
//
// All rows are to be given to add, in any number of calls, and then to measure.
type collapse struct {
	rows   int
	layers []collapseLayer
}

type collapseLayer struct {
	sum          []float64 // per column
	column, rest []float64 // sums of |X| and |X − 1xᵀ| per column
	row, rowRest float64   // largest sums of both over a row
}

func newCollapse(layers, width int) *collapse {
	c := &collapse{layers: make([]collapseLayer, layers)}
	for i := range c.layers {
		x := make([]float64, 3*width)
		c.layers[i] = collapseLayer{sum: x[:width], column: x[width : 2*width], rest: x[2*width:]}
	}
	return c
}

// add takes in rows of hidden states, [layers][rows][width].
func (c *collapse) add(x []float32, rows int) {
	c.rows += rows
	c.each(x, rows, func(l *collapseLayer, row []float32) {
		for j, v := range row {
			l.sum[j] += float64(v)
		}
	})
}

// measure takes in the same rows once more.
func (c *collapse) measure(x []float32, rows int) {
	c.each(x, rows, func(l *collapseLayer, row []float32) {
		sum, rest := 0.0, 0.0
		for j, v := range row {
			a, b := math.Abs(float64(v)), math.Abs(float64(v)-l.sum[j]/float64(c.rows))
			l.column[j] += a
			l.rest[j] += b
			sum += a
			rest += b
		}
		l.row, l.rowRest = max(l.row, sum), max(l.rowRest, rest)
	})
}

func (c *collapse) each(x []float32, rows int, do func(l *collapseLayer, row []float32)) {
	for i := range c.layers {
		l := &c.layers[i]
		for range rows {
			do(l, x[:len(l.sum)])
			x = x[len(l.sum):]
		}
	}
}

// residuals returns the relative residual of every layer; 0 where all is 0.
func (c *collapse) residuals() []float64 {
	out := make([]float64, len(c.layers))
	for i, l := range c.layers {
		column, rest := 0.0, 0.0
		for j := range l.column {
			column, rest = max(column, l.column[j]), max(rest, l.rest[j])
		}
		if column > 0 {
			out[i] = math.Sqrt(rest * l.rowRest / (column * l.row))
		}
	}
	return out
}
