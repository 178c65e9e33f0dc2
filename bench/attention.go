// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/posenc"
)

// Attention is one layout in one shape, ready to run. Keys are stored as a model
// stores them, rotated at their segment's local positions; queries are given
// unrotated, so the rotation of queries is part of what is timed.
type Attention struct {
	Layout  Layout
	Shape   Shape
	Out     []float32 // [rows][heads·headDim]
	kernel  *attention.Kernel
	pool    *pool.Pool
	ws      attention.Workspace
	queries []attention.Query
}

// NewAttention fills a layout with the spec's numbers. The pool stays the caller's.
func NewAttention(l Layout, s Shape, p *pool.Pool) (*Attention, error) {
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: s.HeadDim, Base: RoPEBase, Pairing: posenc.HalfSplit})
	if err != nil {
		return nil, err
	}
	k, err := attention.New(attention.Config{Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim, RoPE: rope})
	if err != nil {
		return nil, err
	}
	width := s.Heads * s.HeadDim
	a := &Attention{Layout: l, Shape: s, kernel: k, pool: p, Out: make([]float32, l.Rows()*width)}
	q := Values(l.Rows()*width, seedQ)
	parts := a.parts(rope)
	row := 0
	for i, seg := range l.Segments {
		first := seg.Tokens - seg.Rows // row 0 is this token of the segment
		query := attention.Query{
			Q:    q[row*width : (row+seg.Rows)*width],
			Out:  a.Out[row*width : (row+seg.Rows)*width],
			Rows: seg.Rows,
		}
		for _, src := range seg.Sources {
			p := parts[src]
			p.Shift = l.Start(i) + first - l.Start(src)
			query.Parts = append(query.Parts, p)
		}
		own := parts[i]
		own.Shift, own.Causal, own.Offset = first, true, first
		query.Parts = append(query.Parts, own)
		a.queries = append(a.queries, query)
		row += seg.Rows
	}
	return a, nil
}

// parts returns every segment's keys and values.
func (a *Attention) parts(rope *posenc.RoPE) []attention.Part {
	s, tokens := a.Shape, a.Layout.Tokens()
	width := s.KVHeads * s.HeadDim
	k, v := Values(tokens*width, seedK), Values(tokens*width, seedV)
	parts := make([]attention.Part, len(a.Layout.Segments))
	at := 0
	for i, seg := range a.Layout.Segments {
		parts[i] = newPart(s, rope, k[at*width:], v[at*width:], seg.Tokens)
		at += seg.Tokens
	}
	return parts
}

// newPart stores keys and values [tokens][KVHeads·HeadDim] as the kernel reads them.
func newPart(s Shape, rope *posenc.RoPE, k, v []float32, tokens int) attention.Part {
	d := s.HeadDim
	p := attention.Part{K: make([]float32, s.KVHeads*tokens*d), V: make([]float32, s.KVHeads*tokens*d), Len: tokens}
	for t := range tokens {
		for h := range s.KVHeads {
			from, to := (t*s.KVHeads+h)*d, (h*tokens+t)*d
			copy(p.K[to:to+d], k[from:from+d])
			rope.Rotate(p.K[to:to+d], t)
			copy(p.V[to:to+d], v[from:from+d])
		}
	}
	return p
}

// Run computes the output once.
func (a *Attention) Run() error { return a.kernel.Attend(a.pool, &a.ws, a.queries) }

// Bytes returns the size of the keys and values that are read.
func (a *Attention) Bytes() int64 {
	return 2 * 4 * int64(a.Layout.Tokens()) * int64(a.Shape.KVHeads*a.Shape.HeadDim)
}

// CheckRows returns the rows whose output contenders compare: spread over the
// layout, the first and the last among them.
func (l *Layout) CheckRows() []int {
	const most = 24
	n := l.Rows()
	if n <= most {
		return upTo(n)
	}
	rows := make([]int, most)
	for i := range rows {
		rows[i] = i * (n - 1) / (most - 1)
	}
	return rows
}

// Rows returns the given rows of the output, one after the other.
func (a *Attention) Rows(rows []int) []float32 {
	width := a.Shape.Heads * a.Shape.HeadDim
	var out []float32
	for _, r := range rows {
		out = append(out, a.Out[r*width:(r+1)*width]...)
	}
	return out
}
