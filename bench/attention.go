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
	format  attention.Format
	kernel  *attention.Kernel
	pool    *pool.Pool
	ws      attention.Workspace
	queries []attention.Query
}

// kernel returns the kernel of a shape and its rotary embedding.
func (s Shape) kernel() (*attention.Kernel, *posenc.RoPE, error) {
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: s.HeadDim, Base: RoPEBase, Pairing: posenc.HalfSplit})
	if err != nil {
		return nil, nil, err
	}
	k, err := attention.New(attention.Config{Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim, RoPE: rope})
	return k, rope, err
}

// NewAttention fills a layout with the spec's numbers, keys and values in format f. The
// pool stays the caller's.
func NewAttention(l Layout, s Shape, f attention.Format, p *pool.Pool) (*Attention, error) {
	k, rope, err := s.kernel()
	if err != nil {
		return nil, err
	}
	width := s.Heads * s.HeadDim
	a := &Attention{Layout: l, Shape: s, format: f, kernel: k, pool: p, Out: make([]float32, l.Rows()*width)}
	q := Values(l.Rows()*width, seedQ)
	parts := a.parts(rope, f)
	row := 0
	for i, seg := range l.Segments {
		first := seg.Tokens - seg.Rows // row 0 is this token of the segment
		query := attention.Query{
			Q:    q[row*width : (row+seg.Rows)*width],
			Out:  a.Out[row*width : (row+seg.Rows)*width],
			Rows: seg.Rows, Decode: seg.Rows == 1,
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
func (a *Attention) parts(rope *posenc.RoPE, f attention.Format) []attention.Part {
	s, tokens := a.Shape, a.Layout.Tokens()
	width := s.KVHeads * s.HeadDim
	k, v := Values(tokens*width, seedK), Values(tokens*width, seedV)
	parts := make([]attention.Part, len(a.Layout.Segments))
	at := 0
	for i, seg := range a.Layout.Segments {
		key, value := k[at*width:(at+seg.Tokens)*width], v[at*width:(at+seg.Tokens)*width]
		for t := range seg.Tokens {
			rope.RotateHeads(key[t*width:(t+1)*width], s.KVHeads, t)
		}
		parts[i] = attention.Part{KV: attention.PackKV(f, s.KVHeads, s.HeadDim, key, value), Len: seg.Tokens}
		at += seg.Tokens
	}
	return parts
}

// Run computes the output once.
func (a *Attention) Run() error { return a.kernel.Attend(a.pool, &a.ws, a.queries) }

// Bytes returns the size of the keys and values that are read.
func (a *Attention) Bytes() int64 {
	n := 0
	for _, s := range a.Layout.Segments {
		n += attention.KVSize(a.format, a.Shape.KVHeads, a.Shape.HeadDim, s.Tokens)
	}
	return int64(n)
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
