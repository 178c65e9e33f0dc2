// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/internal/vec"
)

// blockRows is how many rows of an element-wise step make one piece of work.
const blockRows = 8

// rowSteps does the steps between two products, which take row by row. Its bodies
// are values made once and its fields their arguments, so that handing a step to
// the pool allocates nothing.
type rowSteps struct {
	x, y, dst, weight []float32
	width, rows       int
	eps               float32
	norm, gate        func(worker, block int)
}

// run calls body for every block of rows; a few rows are not worth handing out.
func (s *rowSteps) run(p *pool.Pool, body func(worker, block int)) {
	if s.rows <= blockRows {
		body(0, 0)
	} else {
		p.For((s.rows+blockRows-1)/blockRows, body)
	}
	s.x, s.y, s.dst, s.weight = nil, nil, nil, nil
}

func (s *rowSteps) init() {
	if s.norm == nil {
		s.norm, s.gate = s.normBlock, s.gateBlock
	}
}

// normBlock computes x += y, unless y is nil, and dst = RMSNorm(x)·weight.
func (s *rowSteps) normBlock(_, block int) {
	for r := block * blockRows; r < min(s.rows, (block+1)*blockRows); r++ {
		from, to := r*s.width, (r+1)*s.width
		if s.y != nil {
			vec.Add(s.x[from:to], s.y[from:to])
		}
		vec.RMSNorm(s.dst[from:to], s.x[from:to], s.weight, s.eps)
	}
}

// gateBlock computes x = SiLU(x)·y.
func (s *rowSteps) gateBlock(_, block int) {
	from, to := block*blockRows*s.width, min(s.rows, (block+1)*blockRows)*s.width
	vec.SiLUMul(s.x[from:to], s.x[from:to], s.y[from:to])
}

// addNorm computes x += y, unless y is nil, and dst = RMSNorm(x)·weight for rows
// rows of the hidden width. dst may be y.
func (m *Model) addNorm(ws *Workspace, dst, x, y, weight []float32, rows int) {
	s := &ws.steps
	s.init()
	s.dst, s.x, s.y, s.weight, s.width, s.rows, s.eps = dst, x, y, weight, m.config.Hidden, rows, m.config.NormEps
	s.run(m.pool, s.norm)
}

// siluMul computes gate = SiLU(gate)·up.
func (m *Model) siluMul(ws *Workspace, rows int) {
	s := &ws.steps
	s.init()
	s.x, s.y, s.width, s.rows = ws.gate, ws.up, m.config.FFN, rows
	s.run(m.pool, s.gate)
}
