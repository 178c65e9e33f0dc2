// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/vec"
)

// Workspace holds the buffers of a forward pass. It grows to the largest batch it
// has seen, is reused without allocation, and serves one call at a time.
type Workspace struct {
	x, h, q, k, v, mix, gate, up []float32
	last                         []float32
	logits                       [][]float32 // the rows that logits go to
	queries                      []attention.Query
	tempered                     tempered
	ranking                      ranking
	parts                        []attention.Part
	steps                        rowSteps
	storing                      storeStep
	ahead                        []gemm.Stretch // the keys and values of layer 0, see listAhead
	gemm                         gemm.Workspace
	attention                    attention.Workspace
	ranks                        bool // a run of the pass has sources to be ranked
	probing                      probing
}

// Forward encodes the runs as one batch. Runs may be listed in any order and may
// read one another's keys and values, also in a circle: in every layer all keys and
// values are there before any run attends. No two runs may write the same rows. A
// source of which layers are still arriving is waited for, layer by
// layer as it is attended to; if one fails to arrive, the error is a *[SourceError].
// When Forward returns an
// error, a cancelled ctx included, the rows it was to write are undefined.
func (m *Model) Forward(ctx context.Context, ws *Workspace, runs []Run) error {
	total, parts, ranks, err := m.check(runs)
	if err != nil {
		return err
	}
	ws.ranks = ranks
	ws.resize(m.config, total, parts, runs)
	if err := m.embed(ws.x, runs); err != nil {
		return err
	}
	ws.listAhead(total, runs)
	defer ws.forgetAhead()
	for i := range m.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if total, err = m.forwardLayer(ctx, ws, i, total, runs); err != nil {
			return err
		}
		if total == 0 {
			break
		}
	}
	m.keepLast(ws.x, ws.h, runs)
	m.gather(ws.x, len(m.layers), runs)
	m.gather(ws.h, len(m.layers), runs)
	m.logits(ws, runs)
	return nil
}

func (m *Model) embed(x []float32, runs []Run) error {
	row := 0
	for _, r := range runs {
		for _, id := range r.Tokens {
			if err := m.embedding.Row(x[row*m.config.Hidden:(row+1)*m.config.Hidden], int(id)); err != nil {
				return err
			}
			row++
		}
	}
	return nil
}

// forwardLayer computes x += attention(norm(x)), x += ffn(norm(x)) for every row.
// The last sum is left in ws.h for whoever reads x next. Of all rows the keys and values
// are computed; the others are done for the rows that are asked for more, see rows,
// which then stand together at the front of ws.x and ws.h. It returns their number.
func (m *Model) forwardLayer(ctx context.Context, ws *Workspace, i, total int, runs []Run) (int, error) {
	c, w := m.config, &m.layers[i]
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	var before []float32 // what the layer before left to add
	if i > 0 {
		before = ws.h
	}
	m.addNorm(ws, ws.h, ws.x, before, w.attnNorm, total)
	m.keepHidden(ws.x, i, runs)
	rows := 0
	for j := range runs {
		rows += m.rows(&runs[j], i)
	}
	query := gemm.Product{W: w.q, C: ws.q, Ldc: q}
	key, value := gemm.Product{W: w.k, C: ws.k, Ldc: kv}, gemm.Product{W: w.v, C: ws.v, Ldc: kv}
	if rows == total {
		m.linear(ws, ws.h, total, query, key, value)
	} else {
		m.linear(ws, ws.h, total, key, value)
	}
	addBias(ws.k[:total*kv], w.kBias)
	addBias(ws.v[:total*kv], w.vBias)
	m.store(ws, i, runs)
	if rows == 0 {
		return 0, nil
	}
	if err := m.await(ctx, i, runs); err != nil {
		return 0, err
	}
	if rows < total {
		m.gather(ws.x, i, runs)
		m.gather(ws.h, i, runs)
		m.linear(ws, ws.h, rows, query)
	}
	addBias(ws.q[:rows*q], w.qBias)
	if ws.ranks {
		if err := m.rank(ws, i, runs); err != nil {
			return 0, err
		}
	}
	m.queries(ws, i, runs)
	if err := m.kernel.Attend(m.pool, &ws.attention, ws.queries); err != nil {
		return 0, err
	}
	ws.lookAhead(i+1, c.Layers)
	ws.tempered.join(c.HeadDim)
	if err := m.masses(ws, i, runs); err != nil {
		return 0, err
	}
	m.linear(ws, ws.mix, rows, gemm.Product{W: w.o, C: ws.h, Ldc: c.Hidden})
	m.addNorm(ws, ws.h, ws.x, ws.h, w.ffnNorm, rows)
	m.linear(ws, ws.h, rows, gemm.Product{W: w.gate, C: ws.gate, Ldc: c.FFN}, gemm.Product{W: w.up, C: ws.up, Ldc: c.FFN})
	m.siluMul(ws, rows)
	m.linear(ws, ws.gate, rows, gemm.Product{W: w.down, C: ws.h, Ldc: c.Hidden})
	return rows, nil
}

// rows returns how many of a run's rows, its last ones, go through all of a layer: in
// the last layer of the model those whose logits are asked for, or all of a run with a
// probe; in the last of a run that ends before, none.
func (m *Model) rows(r *Run, layer int) int {
	switch {
	case r.Layers > 0 && layer >= r.Layers-1:
		return 0
	case layer == len(m.layers)-1 && r.Probe == nil:
		return len(r.Logits) / m.config.Vocab
	}
	return len(r.Tokens)
}

// await waits until a layer of all that the runs attend to in it is there.
func (m *Model) await(ctx context.Context, layer int, runs []Run) error {
	for i := range runs {
		r := &runs[i]
		if m.rows(r, layer) == 0 {
			continue
		}
		for j, s := range r.Sources {
			if err := s.KV.Wait(ctx, layer); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return &SourceError{Run: i, Source: j, Err: err}
			}
		}
	}
	return nil
}

// gather moves the rows of x that go through all of a layer to the front and, after the
// last one, those of them whose logits are asked for.
func (m *Model) gather(x []float32, layer int, runs []Run) {
	h := m.config.Hidden
	to, end := 0, 0
	for i := range runs {
		r := &runs[i]
		var rows, n int
		if layer == len(m.layers) {
			rows, n = m.rows(r, layer-1), len(r.Logits)/m.config.Vocab
		} else {
			rows, n = r.enter(layer), m.rows(r, layer)
		}
		end += rows * h
		n *= h
		if to < end-n {
			copy(x[to:to+n], x[end-n:end])
		}
		to += n
	}
}

// linear multiplies rows rows of x by one or more weight matrices, in one
// parallel section.
func (m *Model) linear(ws *Workspace, x []float32, rows int, products ...gemm.Product) {
	gemm.MulEach(m.pool, &ws.gemm, x, products[0].W.K(), rows, products...)
}

// addBias adds bias, if there is one, to every row of x.
func addBias(x, bias []float32) {
	if bias == nil {
		return
	}
	for ; len(x) > 0; x = x[len(bias):] {
		vec.Add(x[:len(bias)], bias)
	}
}

// queries points the attention kernel at this layer's rows and parts: in the last
// layer, the rows whose logits are asked for.
func (m *Model) queries(ws *Workspace, layer int, runs []Run) {
	width := m.config.Heads * m.config.HeadDim
	ws.queries, ws.parts = ws.queries[:0], ws.parts[:0]
	ws.tempered.reset()
	row := 0
	for i := range runs {
		r := &runs[i]
		rows := m.rows(r, layer)
		skip := len(r.Tokens) - rows
		// Rows whose sources stand elsewhere than those of the row before are queries of
		// their own.
		n := rows
		if ws.ranks && !r.Whole && ws.ranking.runs[i].count > 0 {
			n = 1
		}
		for at := 0; at < rows; at += n {
			q := attention.Query{
				Q: ws.q[(row+at)*width : (row+at+n)*width], Out: ws.mix[(row+at)*width : (row+at+n)*width], Rows: n, Decode: r.Decode,
			}
			if r.asksMass() {
				q.LSE = ws.probing.total[(row+at)*m.config.Heads:][:n*m.config.Heads]
			}
			var offsets []int
			if ws.ranks {
				offsets = ws.ranking.places(i, at, r.Whole)
			}
			ws.attendTo(q, r, layer, skip+at, offsets)
		}
		row += rows
	}
	ws.tempered.buffers(ws.queries, m.config.Heads, width)
}

// attendTo adds the queries of rows of a run that start skip after its first. Sources
// without a power and the node itself make one query, sources of another power one
// each. offsets say where the ranked sources stand, in the order of the sources.
func (ws *Workspace) attendTo(q attention.Query, r *Run, layer, skip int, offsets []int) {
	plain := len(ws.parts)
	ranked := offsets
	for j := range r.Sources {
		s := &r.Sources[j]
		offset := s.offset(&ranked)
		if !s.tempered() {
			ws.parts = append(ws.parts, s.part(layer, skip-offset))
		}
	}
	ws.parts = append(ws.parts, attention.Part{
		KV: r.KV.Layer(layer).From(r.From), Len: r.At + len(r.Tokens), Shift: r.At + skip, Causal: !r.Bidirectional, Offset: r.At + skip,
	})
	whole := q
	whole.Parts = ws.parts[plain:len(ws.parts):len(ws.parts)]
	rest := len(ws.queries)
	ws.queries = append(ws.queries, whole)
	ranked = offsets
	for at := 0; at < len(r.Sources); {
		power, first := r.Sources[at].Power, len(ws.parts)
		for ; at < len(r.Sources) && r.Sources[at].Power == power; at++ {
			s := &r.Sources[at]
			offset := s.offset(&ranked)
			if s.tempered() {
				ws.parts = append(ws.parts, s.part(layer, skip-offset))
			}
		}
		if len(ws.parts) > first {
			q.Out, q.LSE, q.Parts = nil, nil, ws.parts[first:len(ws.parts):len(ws.parts)]
			ws.queries = append(ws.queries, q)
			ws.tempered.add(rest, len(ws.queries)-1, power)
		}
	}
}

// fewRows is how many rows of logits are computed at once for several runs, so that
// requests which generate together read the output matrix once.
const fewRows = 16

// logits computes the rows that were asked for, which the last layer has put at the
// front.
func (m *Model) logits(ws *Workspace, runs []Run) {
	vocab, row := m.config.Vocab, 0
	for len(runs) > 0 {
		n, rows := 1, len(runs[0].Logits)/vocab
		for n < len(runs) && rows+len(runs[n].Logits)/vocab <= fewRows {
			rows += len(runs[n].Logits) / vocab
			n++
		}
		m.logitsOf(ws, runs[:n], row, rows)
		row += rows
		runs = runs[n:]
	}
}

// logitsOf computes rows rows from row on, all that the runs ask for.
func (m *Model) logitsOf(ws *Workspace, runs []Run, row, rows int) {
	if rows == 0 {
		return
	}
	h, vocab := m.config.Hidden, m.config.Vocab
	m.addNorm(ws, ws.last, ws.x[row*h:(row+rows)*h], ws.h[row*h:(row+rows)*h], m.norm, rows)
	for i := range runs {
		l := runs[i].Logits
		if len(l) == rows*vocab { // all of them
			gemm.Mul(m.pool, &ws.gemm, l, vocab, ws.last, h, rows, m.output)
			return
		}
		for ; len(l) > 0; l = l[vocab:] {
			ws.logits = append(ws.logits, l[:vocab])
		}
	}
	m.linear(ws, ws.last, rows, gemm.Product{W: m.output, Rows: ws.logits})
	clear(ws.logits) // hold on to nothing
	ws.logits = ws.logits[:0]
}

// grow returns x with length n, its contents undefined.
func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

func (ws *Workspace) resize(c Config, total, parts int, runs []Run) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	rows := 0
	for _, r := range runs {
		rows = max(rows, len(r.Logits)/c.Vocab, fewRows)
	}
	for _, b := range []struct {
		buf *[]float32
		n   int
	}{
		{&ws.x, total * c.Hidden}, {&ws.h, total * c.Hidden}, {&ws.q, total * q}, {&ws.k, total * kv}, {&ws.v, total * kv},
		{&ws.mix, total * q}, {&ws.gate, total * c.FFN}, {&ws.up, total * c.FFN}, {&ws.last, rows * c.Hidden},
	} {
		*b.buf = grow(*b.buf, b.n)
	}
	if cap(ws.parts) < parts {
		// Queries hold views of parts, so it must not move while it is filled.
		ws.parts = make([]attention.Part, 0, parts)
	}
	ws.probing.resize(c, total, runs)
}
