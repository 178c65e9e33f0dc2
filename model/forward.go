// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/vec"
	"github.com/graphkv/graphkv/kvcache"
)

// Source is a node that a run attends to as a whole.
type Source struct {
	KV  *kvcache.KV // its layers may still be arriving, see [kvcache.KV.Wait]
	Len int         // rows of KV that hold tokens; 0 means all of them
	// Shift is the position of the run's first token less the position of the
	// source's first token, as this reader sees it. It may be negative.
	Shift int
	Scale float32   // multiplies the scores; 0 means 1
	Bias  []float32 // [Heads], added to the scaled scores; nil means none
	// Power is that of the softmax over the run's sources of this power, see
	// [posenc.Score]; 0 means 1.
	Power float32
}

// Run is a stretch of consecutive tokens of one node.
type Run struct {
	Tokens []int32
	// KV receives the keys and values of Tokens in rows At, At+1, …; rows before
	// At hold the node's earlier tokens, which this run attends to as well.
	KV      *kvcache.KV
	At      int
	Sources []Source // summed in this order, the node itself last; sources of one power stand together
	// Bidirectional lets every token see the whole node, which must be encoded in one
	// run.
	Bidirectional bool
	// Layers, when it is not 0, ends the run with the keys and values of so many layers,
	// without attention in the last of them. Its KV then may have no more.
	Layers int
	// Decode splits attention over keys as well as heads, which is faster for a step of generation: one token after long sources. Its
	// results differ from those without by rounding, so it is not for nodes whose KV is to be reused.
	Decode bool
	// Logits receives the logits of the last len(Logits)/Vocab tokens, row by row.
	// Nil asks for none.
	Logits []float32
	Probe  *Probe // nil: nothing is asked
}

// Workspace holds the buffers of a forward pass. It grows to the largest batch it
// has seen, is reused without allocation, and serves one call at a time.
type Workspace struct {
	x, h, q, k, v, mix, gate, up []float32
	last, logits                 []float32
	queries                      []attention.Query
	tempered                     tempered
	parts                        []attention.Part
	steps                        rowSteps
	storing                      storeStep
	gemm                         gemm.Workspace
	attention                    attention.Workspace
	probing                      probing
}

// SourceError says that a run could not attend to one of its sources. Err is what
// [kvcache.KV.Wait] returned.
type SourceError struct {
	Run, Source int // their places in what Forward was given
	Err         error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("model: run %d: source %d: %v", e.Run, e.Source, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// Forward encodes the runs as one batch. Runs may be listed in any order and may
// read one another's keys and values (but not in a circle); no two may write the
// same rows. A source of which layers are still arriving is waited for, layer by
// layer as it is attended to; if one fails to arrive, the error is a *[SourceError].
// When Forward returns an
// error, a cancelled ctx included, the rows it was to write are undefined.
func (m *Model) Forward(ctx context.Context, ws *Workspace, runs []Run) error {
	total, parts, err := m.check(runs)
	if err != nil {
		return err
	}
	ws.resize(m.config, total, parts, runs)
	if err := m.embed(ws.x, runs); err != nil {
		return err
	}
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

func (m *Model) check(runs []Run) (total, parts int, err error) {
	shape := m.config.KVShape()
	for i := range runs {
		r := &runs[i]
		if err := m.checkTokens(r.Tokens); err != nil {
			return 0, 0, fmt.Errorf("run %d: %w", i, err)
		}
		switch {
		case r.Layers < 0 || r.Layers > m.config.Layers:
			return 0, 0, fmt.Errorf("model: run %d: ends after %d of %d layers", i, r.Layers, m.config.Layers)
		case r.Layers > 0 && (r.Logits != nil || r.Probe != nil):
			return 0, 0, fmt.Errorf("model: run %d: ends after %d layers and is asked for more", i, r.Layers)
		case r.KV == nil || !r.fits(shape):
			return 0, 0, fmt.Errorf("model: run %d: its KV is not of this model's shape %+v", i, shape)
		case r.At < 0 || r.At > r.KV.Tokens()-len(r.Tokens):
			return 0, 0, fmt.Errorf("model: run %d: %d rows from %d do not fit a KV of %d tokens", i, len(r.Tokens), r.At, r.KV.Tokens())
		case len(r.Logits)%m.config.Vocab != 0 || len(r.Logits)/m.config.Vocab > len(r.Tokens):
			return 0, 0, fmt.Errorf("model: run %d: room for %d logits; want rows of %d, at most %d", i, len(r.Logits), m.config.Vocab, len(r.Tokens))
		}
		if r.Bidirectional && len(r.Tokens) != r.KV.Tokens() {
			return 0, 0, fmt.Errorf("model: run %d: %d of %d tokens of a bidirectional node, want all of them", i, len(r.Tokens), r.KV.Tokens())
		}
		for j, s := range r.Sources {
			if s.KV == r.KV {
				return 0, 0, fmt.Errorf("model: run %d: source %d is the run's own KV", i, j)
			}
			if s.KV == nil || !fits(s.KV, shape) || s.Len < 0 || s.Len > s.KV.Tokens() {
				return 0, 0, fmt.Errorf("model: run %d: source %d is not of this model's shape or has fewer than %d tokens", i, j, s.Len)
			}
		}
		if r.Probe != nil {
			if err := r.Probe.check(m.config, r); err != nil {
				return 0, 0, fmt.Errorf("model: run %d: %w", i, err)
			}
		}
		total += len(r.Tokens)
		parts += len(r.Sources) + 1
	}
	return total, parts, nil
}

// fits reports whether the run's KV is of the shape, or has the layers that it needs, in
// whatever format.
func (r *Run) fits(shape kvcache.Shape) bool {
	if r.Layers > 0 {
		shape.Layers = max(r.Layers, min(shape.Layers, r.KV.Shape().Layers))
	}
	return fits(r.KV, shape)
}

// fits reports whether kv is of the shape, in whatever format.
func fits(kv *kvcache.KV, shape kvcache.Shape) bool {
	s := kv.Shape()
	s.Format = shape.Format
	return s == shape
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
	row := 0
	for _, r := range runs {
		n := r.enter(i)
		if n == 0 {
			continue
		}
		m.store(ws, r, i, ws.k[row*kv:(row+n)*kv], ws.v[row*kv:(row+n)*kv])
		row += n
	}
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
	m.queries(ws, i, runs)
	if err := m.kernel.Attend(m.pool, &ws.attention, ws.queries); err != nil {
		return 0, err
	}
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

// enter returns how many of the run's rows a layer begins with.
func (r *Run) enter(layer int) int {
	if r.Layers > 0 && layer >= r.Layers {
		return 0
	}
	return len(r.Tokens)
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
		if rows == 0 {
			continue
		}
		q := ws.q[row*width : (row+rows)*width]
		whole := attention.Query{Q: q, Out: ws.mix[row*width : (row+rows)*width], Rows: rows, Decode: r.Decode}
		if r.asksMass() {
			whole.LSE = ws.probing.total[row*m.config.Heads:][:rows*m.config.Heads]
		}
		// Sources without a power and the node itself make one query, sources of another
		// power one each.
		plain := len(ws.parts)
		for _, s := range r.Sources {
			if !s.tempered() {
				ws.parts = append(ws.parts, s.part(layer, skip))
			}
		}
		ws.parts = append(ws.parts, attention.Part{
			KV: r.KV.Layer(layer), Len: r.At + len(r.Tokens), Shift: r.At + skip, Causal: !r.Bidirectional, Offset: r.At + skip,
		})
		whole.Parts = ws.parts[plain:len(ws.parts):len(ws.parts)]
		groups := len(ws.queries) + 1
		ws.queries = append(ws.queries, whole)
		for at := 0; at < len(r.Sources); {
			power, first := r.Sources[at].Power, len(ws.parts)
			end := at
			for ; end < len(r.Sources) && r.Sources[end].Power == power; end++ {
				if r.Sources[end].tempered() {
					ws.parts = append(ws.parts, r.Sources[end].part(layer, skip))
				}
			}
			at = end
			if len(ws.parts) > first {
				ws.queries = append(ws.queries, attention.Query{Q: q, Rows: rows, Decode: r.Decode, Parts: ws.parts[first:len(ws.parts):len(ws.parts)]})
				ws.tempered.add(groups-1, len(ws.queries)-1, power)
			}
		}
		row += rows
	}
	ws.tempered.buffers(ws.queries, m.config.Heads, width)
}

// part is the source as rows see it that start skip after the run's first.
func (s *Source) part(layer, skip int) attention.Part {
	n := s.Len
	if n == 0 {
		n = s.KV.Tokens()
	}
	return attention.Part{KV: s.KV.Layer(layer), Len: n, Shift: s.Shift + skip, Scale: s.Scale, Bias: s.Bias}
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
	for _, r := range runs {
		if len(r.Logits) == rows*vocab { // all of them
			gemm.Mul(m.pool, &ws.gemm, r.Logits, vocab, ws.last, h, rows, m.output)
			return
		}
	}
	ws.logits = grow(ws.logits, rows*vocab)
	gemm.Mul(m.pool, &ws.gemm, ws.logits, vocab, ws.last, h, rows, m.output)
	from := 0
	for _, r := range runs {
		from += copy(r.Logits, ws.logits[from:])
	}
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
