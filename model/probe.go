// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math"

	"github.com/graphkv/graphkv/attention"
)

// Probe is what a run tells about its forward pass besides its logits. Forward
// overwrites what is asked for, and no bit of any other result depends on it.
//
// A run that is asked goes through all of the last layer with all of its rows, and
// masses take its attention twice. A run without a Probe costs nothing more.
type Probe struct {
	// Mass receives how much of the softmax of the run's rows went to each source:
	// [Layers][Heads][len(Sources)+1], sums over the rows, the run's own node last.
	// Over all sources they sum to the number of rows. Nil: not wanted.
	Mass []float64
	// Hidden receives the hidden states of the run's rows before the first layer and
	// after each: [Layers+1][len(Tokens)][Hidden]. Nil: not wanted.
	Hidden []float32
}

// check returns what is wrong with the sizes of what run r is asked for, or nil.
func (p *Probe) check(c Config, r *Run) error {
	if n := c.Layers * c.Heads * (len(r.Sources) + 1); p.Mass != nil && len(p.Mass) != n {
		return fmt.Errorf("room for %d masses, want %d", len(p.Mass), n)
	}
	if n := (c.Layers + 1) * len(r.Tokens) * c.Hidden; p.Hidden != nil && len(p.Hidden) != n {
		return fmt.Errorf("room for %d numbers of hidden states, want %d", len(p.Hidden), n)
	}
	return nil
}

// asksMass reports whether the run's attention masses are wanted.
func (r *Run) asksMass() bool { return r.Probe != nil && r.Probe.Mass != nil }

// probing is what a workspace holds for probes.
type probing struct {
	total   []float32 // log-sum-exps over all parts, per row and head
	out     []float32 // what attention to single parts would yield, which nobody needs
	lse     []float32
	queries []attention.Query
	shares  []share // what the queries are asked for
}

// share is one part of a run's attention.
type share struct {
	mass       []float64 // [Heads][parts], of the layer
	part       int
	total, lse []float32 // [rows][Heads]
}

// probeRows is how many rows the scratch memory of probes has room for, if no run
// has more.
const probeRows = 512

// resize makes room for the runs that ask, if any do.
func (p *probing) resize(c Config, total int, runs []Run) {
	most := 0
	for i := range runs {
		if runs[i].asksMass() {
			most = max(most, len(runs[i].Tokens))
		}
	}
	if most == 0 {
		return
	}
	most = max(most, probeRows)
	p.total, p.lse = grow(p.total, total*c.Heads), grow(p.lse, most*c.Heads)
	p.out = grow(p.out, most*c.Heads*c.HeadDim)
}

// masses finds out what went where in a layer whose attention has been computed. The
// softmax over all parts gives the part p exp(lse_p − lse), where lse_p is the
// log-sum-exp over p alone. So the kernel is asked for every part by itself.
func (m *Model) masses(ws *Workspace, layer int, last bool, runs []Run) error {
	c, p := m.config, &ws.probing
	at, room, query := 0, len(p.out)/(c.Heads*c.HeadDim), 0
	for i := range runs {
		r := &runs[i]
		if m.rows(r, last) == 0 {
			continue
		}
		q := &ws.queries[query]
		query++
		if !r.asksMass() {
			continue
		}
		parts := len(q.Parts)
		mass := r.Probe.Mass[layer*c.Heads*parts:][:c.Heads*parts]
		clear(mass)
		for j := range q.Parts {
			if at+q.Rows > room {
				if err := m.share(ws); err != nil {
					return err
				}
				at = 0
			}
			one := *q
			one.Parts = q.Parts[j : j+1]
			one.Out = p.out[at*c.Heads*c.HeadDim:][:q.Rows*c.Heads*c.HeadDim]
			one.LSE = p.lse[at*c.Heads:][:q.Rows*c.Heads]
			p.queries = append(p.queries, one)
			p.shares = append(p.shares, share{mass: mass, part: j, total: q.LSE, lse: one.LSE})
			at += q.Rows
		}
	}
	return m.share(ws)
}

// share runs the queries for single parts and adds up what went to each.
func (m *Model) share(ws *Workspace) error {
	p, heads := &ws.probing, m.config.Heads
	if len(p.queries) == 0 {
		return nil
	}
	if err := m.kernel.Attend(m.pool, &ws.attention, p.queries); err != nil {
		return err
	}
	for _, s := range p.shares {
		parts := len(s.mass) / heads
		for i, l := range s.lse {
			if l < -math.MaxFloat32 { // hidden from the head
				continue
			}
			s.mass[i%heads*parts+s.part] += math.Exp(float64(l) - float64(s.total[i]))
		}
	}
	clear(p.queries)
	clear(p.shares)
	p.queries, p.shares = p.queries[:0], p.shares[:0]
	return nil
}

// keepHidden hands the hidden states before a layer to the runs that ask for them.
func (m *Model) keepHidden(x []float32, layer int, runs []Run) {
	row := 0
	for i := range runs {
		r := &runs[i]
		n := len(r.Tokens) * m.config.Hidden
		if r.Probe != nil && r.Probe.Hidden != nil {
			copy(r.Probe.Hidden[layer*n:(layer+1)*n], x[row:])
		}
		row += n
	}
}

// keepLast does the same after the last layer, whose sum has not been computed yet:
// x + h, of the rows that went through it.
func (m *Model) keepLast(x, h []float32, runs []Run) {
	row := 0
	for i := range runs {
		r := &runs[i]
		n := m.rows(r, true) * m.config.Hidden
		if r.Probe != nil && r.Probe.Hidden != nil {
			last := r.Probe.Hidden[m.config.Layers*n:]
			for j := range last {
				last[j] = x[row+j] + h[row+j]
			}
		}
		row += n
	}
}
