// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import "github.com/graphkv/graphkv/attention"

// storeRows is how many tokens, two panels of keys, make one piece of work.
const storeRows = 32

// storeStep rotates keys at their local positions and packs keys and values into the
// KVs of their nodes. It is the only pass ever made over a key.
type storeStep struct {
	m     *Model
	tasks []storeTask
	body  func(worker, i int) // s.task as a value, made once
}

// storeTask is up to storeRows tokens of one run.
type storeTask struct {
	dst  attention.KV
	at   int // the row of dst for the first token
	k, v []float32
}

// store writes the keys and values of all runs' tokens in one layer.
func (m *Model) store(ws *Workspace, layer int, runs []Run) {
	s := &ws.storing
	if s.body == nil {
		s.body = s.task
	}
	width := m.config.KVHeads * m.config.HeadDim
	k, v := ws.k, ws.v
	for i := range runs {
		r := &runs[i]
		n := r.enter(layer)
		if n == 0 {
			continue
		}
		dst := r.KV.Layer(layer).From(r.From)
		for at := 0; at < n; {
			part := width * min(storeRows, n-at)
			s.tasks = append(s.tasks, storeTask{dst, r.At + at, k[:part], v[:part]})
			k, v, at = k[part:], v[part:], at+storeRows
		}
	}
	s.m = m
	m.pool.For(len(s.tasks), s.body)
	clear(s.tasks) // hold on to nothing
	s.m, s.tasks = nil, s.tasks[:0]
}

func (s *storeStep) task(_, i int) {
	t, heads := &s.tasks[i], s.m.config.KVHeads
	width := heads * s.m.config.HeadDim
	s.m.rope.RotateTokens(t.k, heads, t.at)
	for j := range len(t.k) / width {
		t.dst.Store(t.at+j, t.k[j*width:(j+1)*width], t.v[j*width:(j+1)*width])
	}
}
