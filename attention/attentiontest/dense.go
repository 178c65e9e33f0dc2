// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package attentiontest holds a float64 reference for grouped-query attention
// and a suite of tests that any implementation of package attention's contract
// must pass, in the manner of gonum's testblas.
//
// The reference shares no code with package attention: it is dense, knows
// tokens and no parts, rotates keys to where they stand, and asks a predicate
// for every pair of a row and a key.
package attentiontest

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Dense is an attention problem over tokens, in float64.
type Dense struct {
	Heads, KVHeads, HeadDim int
	Rows, Keys              int
	Q                       []float64 // [Rows][Heads][HeadDim], rotated if need be
	K, V                    []float64 // [Keys][KVHeads][HeadDim], likewise
	// Sees reports whether a head's row attends to a key.
	Sees func(head, row, key int) bool
	// Score turns a dot product into a score. Nil divides by √HeadDim.
	Score func(head, key int, dot float64) float64
}

// Solve returns the output [Rows][Heads][HeadDim], the log-sum-exp
// [Rows][Heads] and the largest magnitude of a finite score that is attended to.
// Rows that see nothing have output 0 and log-sum-exp −Inf.
func (p *Dense) Solve() (out, lse []float64, largest float64) {
	d := p.HeadDim
	out, lse = make([]float64, p.Rows*p.Heads*d), make([]float64, p.Rows*p.Heads)
	for i := range lse {
		lse[i] = math.Inf(-1)
	}
	if p.Rows == 0 || p.Keys == 0 {
		return out, lse, 0
	}
	scores := mat.NewDense(p.Rows, p.Keys, nil)
	for h := range p.Heads {
		kv := h / (p.Heads / p.KVHeads)
		q := blas64.General{Rows: p.Rows, Cols: d, Stride: p.Heads * d, Data: p.Q[h*d:]}
		k := blas64.General{Rows: p.Keys, Cols: d, Stride: p.KVHeads * d, Data: p.K[kv*d:]}
		v := blas64.General{Rows: p.Keys, Cols: d, Stride: p.KVHeads * d, Data: p.V[kv*d:]}
		o := blas64.General{Rows: p.Rows, Cols: d, Stride: p.Heads * d, Data: out[h*d:]}
		blas64.Gemm(blas.NoTrans, blas.Trans, 1, q, k, 0, scores.RawMatrix())
		for i := range p.Rows {
			row := scores.RawRowView(i)
			for j, dot := range row {
				switch {
				case !p.Sees(h, i, j):
					row[j] = math.Inf(-1)
				case p.Score != nil:
					row[j] = p.Score(h, j, dot)
				default:
					row[j] = dot / math.Sqrt(float64(d))
				}
				if !math.IsInf(row[j], 0) {
					largest = math.Max(largest, math.Abs(row[j]))
				}
			}
			if floats.Max(row) == math.Inf(-1) {
				clear(row)
				continue
			}
			sum := floats.LogSumExp(row)
			lse[i*p.Heads+h] = sum
			for j, x := range row {
				row[j] = math.Exp(x - sum)
			}
		}
		blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, scores.RawMatrix(), v, 0, o)
	}
	return out, lse, largest
}
