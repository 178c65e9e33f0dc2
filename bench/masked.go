// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// maskBlock is the block size of masks.
const maskBlock = 128

// Masked is a layout all of whose tokens are queries, run as one flat sequence under a
// block-sparse mask.
type Masked struct {
	kernel *attention.Kernel
	pool   *pool.Pool
	ws     attention.Workspace
	query  attention.MaskedQuery
}

// Flat reports whether all tokens are queries.
func (l *Layout) Flat() bool { return l.Rows() == l.Tokens() }

// mask lowers a flat layout.
func (l *Layout) mask() (*mask.Mask, error) {
	b := posenc.NewLayoutBuilder()
	for i, s := range l.Segments {
		n := posenc.Node{Kind: posenc.SegmentNode, Segment: i, Base: l.Start(i), Len: s.Tokens}
		if i == len(l.Segments)-1 {
			n.Kind, n.Segment = posenc.QueryNode, -1
		}
		sees := make([]posenc.Seen, len(s.Sources))
		for j, src := range s.Sources {
			sees[j] = posenc.Seen{Node: int32(src), Base: int32(l.Start(src))}
		}
		if _, err := b.Add(n, sees...); err != nil {
			return nil, err
		}
	}
	layout, err := b.Layout()
	if err != nil {
		return nil, err
	}
	return mask.New(layout, maskBlock)
}

// NewMasked fills a flat layout with the same numbers as NewAttention and makes its
// mask, which is not part of a run. The pool stays the caller's.
func NewMasked(l Layout, s Shape, p *pool.Pool) (*Masked, error) {
	k, rope, err := s.kernel()
	if err != nil {
		return nil, err
	}
	m, err := l.mask()
	if err != nil {
		return nil, err
	}
	tokens, width := l.Tokens(), s.KVHeads*s.HeadDim
	q := Values(tokens*s.Heads*s.HeadDim, seedQ)
	key, value := Values(tokens*width, seedK), Values(tokens*width, seedV)
	for t := range tokens {
		rope.RotateHeads(key[t*width:(t+1)*width], s.KVHeads, t)
	}
	return &Masked{kernel: k, pool: p, query: attention.MaskedQuery{
		Q: q, Out: make([]float32, len(q)), Rows: tokens, Mask: m,
		KV: attention.PackKV(attention.F32, s.KVHeads, s.HeadDim, key, value),
	}}, nil
}

// Run computes the output once.
func (m *Masked) Run() error { return m.kernel.AttendMask(m.pool, &m.ws, m.query) }
