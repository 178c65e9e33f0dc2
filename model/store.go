// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import "github.com/graphkv/graphkv/attention"

// storeRows is how many tokens, two panels of keys, make one piece of work.
const storeRows = 32

// storeStep rotates keys at their local positions and packs keys and values into a
// node's KV. It is the only pass ever made over a key.
type storeStep struct {
	m    *Model
	dst  attention.KV
	at   int // the row of dst for the first token
	k, v []float32
	body func(worker, block int) // s.block as a value, made once
}

// store writes the keys and values of a run's tokens in one layer.
func (m *Model) store(ws *Workspace, r Run, layer int, k, v []float32) {
	s := &ws.storing
	if s.body == nil {
		s.body = s.block
	}
	s.m, s.dst, s.at, s.k, s.v = m, r.KV.Layer(layer).From(r.From), r.At, k, v
	if blocks := (len(r.Tokens) + storeRows - 1) / storeRows; blocks > 1 {
		m.pool.For(blocks, s.body)
	} else {
		s.block(0, 0)
	}
	*s = storeStep{body: s.body}
}

func (s *storeStep) block(_, block int) {
	heads := s.m.config.KVHeads
	width := heads * s.m.config.HeadDim
	first, end := block*storeRows, min(len(s.k)/width, (block+1)*storeRows)
	s.m.rope.RotateTokens(s.k[first*width:end*width], heads, s.at+first)
	for i := first; i < end; i++ {
		s.dst.Store(s.at+i, s.k[i*width:(i+1)*width], s.v[i*width:(i+1)*width])
	}
}
