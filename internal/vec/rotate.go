// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import "fmt"

// Rows says which head vectors a rotation turns, and to which positions: rows of heads of Dim elements, each row to a position of its own.
//
// Head h of row i is x[i·NextRow+h·Dim:] and is written to dst[(i·Heads+h)·Stride:], which may be the same place. Its Pairs pairs (a, b) become
//
//	((a·c − b·s)·Scale, (a·s + b·c)·Scale)  with  c = cos·CosFactor, s = sin·SinFactor
//
// where every operation rounds, so that all tiers give the same bits. Table holds a position's Pairs cosines and then as many sines; those of
// row i are at Position + i·NextPosition. Dimensions beyond the pairs are not touched.
type Rows struct {
	Rows, Heads, Dim, Pairs     int
	NextRow, Stride             int // in elements
	Table                       []float32
	Position, NextPosition      int // in elements; the latter may be negative
	CosFactor, SinFactor, Scale float32
}

// RotateInterleaved turns the pairs (0,1), (2,3), … of every head.
func RotateInterleaved(dst, x []float32, r *Rows) {
	if !r.check("RotateInterleaved", dst, x) || rotateInterleavedVector(dst, x, r) {
		return
	}
	for i := range r.Rows {
		cos, sin := r.angles(i)
		for h := range r.Heads {
			v, out := x[i*r.NextRow+h*r.Dim:][:2*r.Pairs], dst[(i*r.Heads+h)*r.Stride:][:2*r.Pairs]
			for p, c := range cos {
				co, si := c*r.CosFactor, sin[p]*r.SinFactor
				a, b := v[2*p], v[2*p+1]
				out[2*p] = (float32(a*co) - float32(b*si)) * r.Scale
				out[2*p+1] = (float32(a*si) + float32(b*co)) * r.Scale
			}
		}
	}
}

// RotateHalfSplit turns the pairs (p, Pairs+p) of every head.
func RotateHalfSplit(dst, x []float32, r *Rows) {
	if !r.check("RotateHalfSplit", dst, x) || rotateHalfSplitVector(dst, x, r) {
		return
	}
	for i := range r.Rows {
		cos, sin := r.angles(i)
		for h := range r.Heads {
			v, out := x[i*r.NextRow+h*r.Dim:], dst[(i*r.Heads+h)*r.Stride:]
			low, high := v[:r.Pairs], v[r.Pairs:][:r.Pairs]
			outLow, outHigh := out[:r.Pairs], out[r.Pairs:][:r.Pairs]
			for p, c := range cos {
				co, si := c*r.CosFactor, sin[p]*r.SinFactor
				a, b := low[p], high[p]
				outLow[p] = (float32(a*co) - float32(b*si)) * r.Scale
				outHigh[p] = (float32(a*si) + float32(b*co)) * r.Scale
			}
		}
	}
}

// angles returns the cosines and sines of row i.
func (r *Rows) angles(i int) (cos, sin []float32) {
	t := r.Table[r.Position+i*r.NextPosition:][:2*r.Pairs]
	return t[:r.Pairs], t[r.Pairs:]
}

// RowsError is what the rotations panic with when rows do not fit their slices.
type RowsError struct {
	Func   string
	Detail string // the slice, its length and what is needed
}

func (e *RowsError) Error() string { return "vec: " + e.Func + ": " + e.Detail }

// check reports whether there is anything to turn.
func (r *Rows) check(name string, dst, x []float32) bool {
	if r.Rows <= 0 || r.Heads <= 0 || r.Pairs <= 0 {
		return false
	}
	fail := func(format string, args ...any) { panic(&RowsError{name, fmt.Sprintf(format, args...)}) }
	if 2*r.Pairs > r.Dim || r.Dim > r.Stride || r.Heads*r.Dim > r.NextRow && r.Rows > 1 {
		fail("%d pairs, dimension %d, stride %d, %d heads in rows of %d", r.Pairs, r.Dim, r.Stride, r.Heads, r.NextRow)
	}
	if need := (r.Rows-1)*r.NextRow + r.Heads*r.Dim; len(x) < need {
		fail("x has %d elements, %d rows need %d", len(x), r.Rows, need)
	}
	if need := (r.Rows*r.Heads-1)*r.Stride + r.Dim; len(dst) < need {
		fail("dst has %d elements, %d rows need %d", len(dst), r.Rows, need)
	}
	last := r.Position + (r.Rows-1)*r.NextPosition
	if min(r.Position, last) < 0 || max(r.Position, last) > len(r.Table)-2*r.Pairs {
		fail("the table has %d elements, rows are at %d to %d of %d", len(r.Table), r.Position, last, 2*r.Pairs)
	}
	return true
}
