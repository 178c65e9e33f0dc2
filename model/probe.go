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
	rows    int     // of the queries
}

// share is one part of a run's attention.
type share struct {
	mass       []float64 // [Heads][sources], of the layer
	source     int
	total, lse []float32 // [rows][Heads]
	// Of a group of sources with a power, see [posenc.Score]: its log-sum-exps times the
	// power. The softmax within the group weighs exp(power·lse), and not exp(lse).
	group []float32
	power float32
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
func (m *Model) masses(ws *Workspace, layer int, runs []Run) error {
	next := 0
	for i := range runs {
		r := &runs[i]
		if r.asksMass() {
			n := m.config.Heads * (len(r.Sources) + 1)
			clear(r.Probe.Mass[layer*n : (layer+1)*n])
		}
		// Rows whose sources stand where those of others do not are asked by themselves.
		for rows := m.rows(r, layer); rows > 0; {
			first, end := next, next
			for left := len(r.Sources) + 1; left > 0; end++ {
				left -= len(ws.queries[end].Parts)
			}
			next = end
			rows -= ws.queries[first].Rows
			if r.asksMass() {
				if err := m.massesOf(ws, r, layer, first, end); err != nil {
					return err
				}
			}
		}
	}
	return m.share(ws)
}

// massesOf asks for the parts of queries first to end, which are those of some rows of
// a run. The first has the sources without a power and the node itself, the others have
// the rest; each in the order of the sources.
func (m *Model) massesOf(ws *Workspace, r *Run, layer, first, end int) error {
	n := m.config.Heads * (len(r.Sources) + 1)
	mass := r.Probe.Mass[layer*n : (layer+1)*n]
	plain, tempered := 0, 0
	for q := first; q < end; q++ {
		source, group := &plain, q > first
		if group {
			source = &tempered
		}
		for j := range ws.queries[q].Parts {
			for *source < len(r.Sources) && r.Sources[*source].tempered() != group {
				*source++
			}
			s := share{mass: mass, source: *source, total: ws.queries[first].LSE}
			if group {
				s.group, s.power = ws.queries[q].LSE, r.Sources[*source].Power
			}
			*source++
			if err := m.ask(ws, s, &ws.queries[q], j); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask puts the query for part j of q on the list.
func (m *Model) ask(ws *Workspace, s share, q *attention.Query, j int) error {
	p, heads, width := &ws.probing, m.config.Heads, m.config.Heads*m.config.HeadDim
	if (p.rows+q.Rows)*heads > len(p.lse) {
		if err := m.share(ws); err != nil {
			return err
		}
	}
	from, to := p.rows, p.rows+q.Rows
	p.rows = to
	one := *q
	one.Parts, one.Out, one.LSE = q.Parts[j:j+1], p.out[from*width:to*width], p.lse[from*heads:to*heads]
	s.lse = one.LSE
	p.queries, p.shares = append(p.queries, one), append(p.shares, s)
	return nil
}

// share runs the queries on the list and adds up what went to their parts.
func (m *Model) share(ws *Workspace) error {
	p := &ws.probing
	if len(p.queries) == 0 {
		return nil
	}
	if err := m.kernel.Attend(m.pool, &ws.attention, p.queries); err != nil {
		return err
	}
	for i := range p.shares {
		p.shares[i].add(m.config.Heads)
	}
	clear(p.queries)
	clear(p.shares)
	p.queries, p.shares, p.rows = p.queries[:0], p.shares[:0], 0
	return nil
}

// add adds up a source's part of the softmax over the rows.
func (s *share) add(heads int) {
	sources := len(s.mass) / heads
	for i, lse := range s.lse {
		if lse < -math.MaxFloat32 { // hidden from the head
			continue
		}
		exponent := float64(lse) - float64(s.total[i])
		if s.group != nil {
			group := float64(s.group[i])
			exponent += group - group/float64(s.power)
		}
		s.mass[i%heads*sources+s.source] += math.Exp(exponent)
	}
}

// keepHidden hands the hidden states before a layer to the runs that ask for them.
func (m *Model) keepHidden(x []float32, layer int, runs []Run) {
	row := 0
	for i := range runs {
		r := &runs[i]
		n := r.enter(layer) * m.config.Hidden
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
		n := m.rows(r, len(m.layers)-1) * m.config.Hidden
		if r.Probe != nil && r.Probe.Hidden != nil {
			last := r.Probe.Hidden[m.config.Layers*n:]
			for j := range last {
				last[j] = x[row+j] + h[row+j]
			}
		}
		row += n
	}
}
