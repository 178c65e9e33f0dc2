// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/posenc"
)

const (
	// maxMasses bounds the numbers of an explanation: edges × layers × heads.
	maxMasses = 1 << 25
	// hiddenBytes bounds the hidden states that a pass leaves, if it has more than one
	// node.
	hiddenBytes = 64 << 20
)

// Explain answers a plan's query, as [Engine.Generate] does, and says what the query,
// the answer and every node that has sources paid attention to; see [ExplainNodes] and
// [ExplainAnswer] for less. Nodes that repair others are left out as readers: the plan
// that [Plan.Lower] makes with [Engine.Repaired] has them as ordinary nodes.
//
// How a cached node came to be is not stored. Nodes that are explained are therefore
// encoded again, from the same cached sources and beside the cache: about what encoding
// them costs, with their attention twice, and once more for nodes longer than a
// batch. The passes are shared with other requests, and no bit of anybody's result
// changes. Memory is bounded by what a batch takes, or the longest node that must be
// encoded in one piece, and by the explanation itself.
func (e *Engine) Explain(ctx context.Context, p *Plan, options ...ExplainOption) (*Explanation, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	o := explainedBy(options)
	nodes, _, err := e.toExplain(p, &o)
	if err != nil {
		return nil, &ExplainError{err}
	}
	c := e.model.Config()
	x := &Explanation{Layers: c.Layers, Heads: c.Heads}
	if !o.hasAnswer && p.maxTokens != NoTokens {
		generate := make([]GenerateOption, len(o.run))
		for i, r := range o.run {
			generate[i] = r
		}
		if x.Answer, err = e.Generate(ctx, p, generate...); err != nil {
			return nil, err
		}
		o.answer = x.Answer.Tokens
	}
	s, err := e.begin(p, o.run...)
	if err != nil {
		return nil, err
	}
	defer s.release()
	if err := s.encode(ctx, nil); err != nil {
		return nil, err
	}
	r := &rereader{session: s, limit: min(e.settings.batchTokens, max(1, hiddenBytes/(4*(c.Layers+1)*c.Hidden)))}
	x.Readers, err = r.explain(ctx, nodes, o.answer)
	return x, err
}

// ExplanationSize returns how many numbers an explanation has, which take about 12 bytes
// each while it is made: layers × heads for every edge that is explained. A plan that
// cannot be explained is the error that [Engine.Explain] returns. Nothing is run.
func (e *Engine) ExplanationSize(p *Plan, options ...ExplainOption) (int, error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	o := explainedBy(options)
	_, edges, err := e.toExplain(p, &o)
	if err != nil {
		return 0, &ExplainError{err}
	}
	c := e.model.Config()
	return edges * c.Layers * c.Heads, nil
}

func explainedBy(options []ExplainOption) (o explained) {
	for _, option := range options {
		if option != nil {
			option.explain(&o)
		}
	}
	return o
}

// toExplain returns the nodes to explain besides the query, in encoding order, and the
// number of edges that this is, and refuses what cannot be.
func (e *Engine) toExplain(p *Plan, o *explained) (nodes []int, edges int, err error) {
	wanted := make([]bool, p.Len())
	for i := range wanted {
		wanted[i] = !o.chosen && len(p.layout.Sees(i)) > 0 && p.layout.Node(i).Repair.IsZero()
	}
	for _, id := range o.nodes {
		i := slices.Index(p.ids, id)
		if i < 0 {
			return nil, 0, fmt.Errorf("graphkv: %q is not a node of the plan", id)
		}
		if !p.layout.Node(i).Repair.IsZero() {
			return nil, 0, fmt.Errorf("graphkv: %q is a repair, which is explained stretch by stretch; use Engine.Repaired and Plan.Lower", id)
		}
		wanted[i] = true
	}
	query := p.layout.Query()
	edges = 2 * (len(p.layout.Sees(query)) + 2) // of the query and the answer
	for i := range query {
		if wanted[i] {
			nodes = append(nodes, i)
			edges += len(p.layout.Sees(i)) + 1
		}
	}
	c := e.model.Config()
	if edges > maxMasses/(c.Layers*c.Heads) {
		return nil, 0, fmt.Errorf("graphkv: %d edges in %d layers of %d heads are more than the %d numbers that an explanation may have; choose nodes",
			edges, c.Layers, c.Heads, maxMasses)
	}
	for _, id := range o.answer {
		if id < 0 || int(id) >= c.Vocab {
			return nil, 0, &TokenError{Node: "the answer", Token: id, Vocab: c.Vocab}
		}
	}
	limit := posenc.MaxPosition
	if !e.settings.longContext {
		limit = c.Context
	}
	n := p.layout.Node(query)
	if end := n.Base + n.Len + len(o.answer); end > limit {
		return nil, 0, fmt.Errorf("graphkv: the answer reaches position %d, the limit is %d", end, limit)
	}
	return nodes, edges, nil
}

// rereader encodes nodes again, under a probe, in passes of its own making.
type rereader struct {
	*session
	limit int // tokens in a pass, if it has more than one node
	runs  []model.Run
	of    []*reading // whose runs they are
	size  int        // tokens in runs
	again bool       // for residuals alone, see readAgain
}

// reading is a node, or the answer, that is encoded again.
type reading struct {
	run      model.Run
	shape    kvcache.Shape // of its KV
	keep     bool          // the KV, which others read
	hidden   bool          // residuals are wanted
	collapse *collapse
	mass     []float64 // [Layers][Heads][sources+1], sums over the rows
	residual []float64
}

// explain encodes the nodes, the query and the answer again.
func (r *rereader) explain(ctx context.Context, nodes []int, answer []int32) ([]Reader, error) {
	config, last := r.e.model.Config(), r.plan.layout.Query()
	var all []*reading
	for _, i := range nodes {
		all = append(all, &reading{run: r.nodeRun(i), shape: r.e.shape(), hidden: true})
	}
	query := &reading{run: r.nodeRun(last), shape: config.KVShape(), keep: true, hidden: true}
	all = append(all, query)
	if err := r.read(ctx, all); err != nil {
		return nil, err
	}
	var readers []Reader
	for k, i := range append(nodes, last) {
		readers = append(readers, r.reader(i, all[k]))
	}
	if len(answer) > 0 {
		a, err := r.answered(ctx, query.run, answer)
		if err != nil {
			return nil, err
		}
		readers = append(readers, a)
	}
	for i := range readers {
		for _, x := range readers[i].Reads {
			if math.IsNaN(x.Mass) {
				return nil, fmt.Errorf("graphkv: the attention of %s is not a number", readers[i].ID)
			}
		}
	}
	return readers, nil
}

// read encodes what is to be read.
func (r *rereader) read(ctx context.Context, all []*reading) error {
	for _, x := range all {
		if err := r.add(ctx, x); err != nil {
			return err
		}
		if x.hidden && !r.whole(x) {
			if err := r.readAgain(ctx, x); err != nil {
				return err
			}
		}
	}
	return r.flush(ctx)
}

// readAgain encodes what is longer than a pass for the second time: the mean of its
// hidden states is not known before all of them are.
func (r *rereader) readAgain(ctx context.Context, x *reading) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	r.again = true
	defer func() { r.again = false }()
	if err := r.add(ctx, x); err != nil {
		return err
	}
	return r.flush(ctx)
}

// whole reports whether x is encoded in one pass.
func (r *rereader) whole(x *reading) bool {
	return len(x.run.Tokens) <= r.limit || x.run.Bidirectional || x.run.Whole
}

// add takes a reading on.
func (r *rereader) add(ctx context.Context, x *reading) error {
	if x.run.KV == nil {
		x.run.KV = kvcache.NewKV(x.shape, len(x.run.Tokens))
	}
	if x.hidden && !r.again {
		x.collapse = newCollapse(r.e.model.Config().Layers+1, r.e.model.Config().Hidden)
	}
	if r.size > 0 && r.size+len(x.run.Tokens) > r.limit {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	c := r.e.model.Config()
	for at := 0; at < len(x.run.Tokens); {
		if r.size >= r.limit {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
		end := len(x.run.Tokens)
		if !r.whole(x) {
			end = min(end, at+r.limit-r.size)
		}
		piece := x.run
		piece.Tokens, piece.At, piece.Sources = x.run.Tokens[at:end], x.run.At+at, shifted(x.run.Sources, at)
		piece.Probe = new(model.Probe)
		if !r.again {
			piece.Probe.Mass = make([]float64, c.Layers*c.Heads*(len(piece.Sources)+1))
		}
		if x.hidden {
			piece.Probe.Hidden = make([]float32, (c.Layers+1)*len(piece.Tokens)*c.Hidden)
		}
		r.runs, r.of = append(r.runs, piece), append(r.of, x)
		r.size += end - at
		at = end
	}
	return nil
}

// flush runs the pass and takes in what its probes say.
func (r *rereader) flush(ctx context.Context) error {
	if len(r.runs) == 0 {
		return nil
	}
	if err := r.e.scheduler.forward(ctx, r.job, r.runs, false); err != nil {
		return err
	}
	for i, x := range r.of {
		x.take(&r.runs[i], r.again, r.whole(x))
	}
	clear(r.runs)
	clear(r.of)
	r.runs, r.of, r.size = r.runs[:0], r.of[:0], 0
	return nil
}

// take takes in what one run of the reading says. again is the second time, which is
// not needed if whole, in one run.
func (x *reading) take(run *model.Run, again, whole bool) {
	p, rows := run.Probe, len(run.Tokens)
	if x.mass == nil {
		x.mass = p.Mass
	} else {
		for j, m := range p.Mass {
			x.mass[j] += m
		}
	}
	if x.hidden && !again {
		x.collapse.add(p.Hidden, rows)
	}
	if x.hidden && (again || whole) {
		x.collapse.measure(p.Hidden, rows)
	}
	if run.At+rows < x.run.At+len(x.run.Tokens) {
		return
	}
	if !x.keep {
		x.run.KV = nil
	}
	if x.hidden && (again || whole) {
		x.residual, x.collapse = x.collapse.residuals(), nil
	}
}

// answered reads the answer: the rows that led to its tokens. The first is the query's
// last, the others are those of all tokens but the last.
func (r *rereader) answered(ctx context.Context, query model.Run, answer []int32) (Reader, error) {
	n := len(query.Tokens)
	first := &reading{run: query, keep: true}
	first.run.Tokens, first.run.At, first.run.Sources = query.Tokens[n-1:], n-1, shifted(query.Sources, n-1)
	first.run.Bidirectional = false // to the last row it is the same
	all := []*reading{first}
	if len(answer) > 1 {
		sources := append(shifted(query.Sources, n), model.Source{KV: query.KV, Shift: n})
		all = append(all, &reading{run: model.Run{Tokens: answer[:len(answer)-1], Sources: sources}, shape: r.e.model.Config().KVShape()})
	}
	if err := r.read(ctx, all); err != nil {
		return Reader{}, err
	}
	// The query, itself to the first row, is one more source to the others.
	sources := len(query.Sources) + 2
	x := &reading{run: model.Run{Tokens: answer}, mass: make([]float64, len(first.mass)/(sources-1)*sources)}
	for _, part := range all {
		width := len(part.run.Sources) + 1
		for i, m := range part.mass {
			x.mass[i/width*sources+i%width] += m
		}
	}
	return r.reader(r.plan.Len(), x), nil
}

// reader returns what node i has read; i is the plan's length for the answer.
func (r *rereader) reader(i int, x *reading) Reader {
	plan, layout, rows := r.plan, r.plan.layout, len(x.run.Tokens)
	out := Reader{ID: "answer", Node: i, Tokens: rows}
	canonical := r.query
	sees := layout.Sees(min(i, layout.Query()))
	if i < layout.Query() {
		canonical = r.nodes[i].sources
	}
	at := make(map[int32]int, len(sees)) // where a source is in the run
	for j, s := range canonical {
		at[s.node] = j
	}
	order := make([]int, 0, len(sees)+2)
	sources := make([]Read, 0, len(sees)+2)
	for _, s := range sees {
		sources, order = append(sources, Read{Node: int(s.Node)}), append(order, at[s.Node])
	}
	if i == plan.Len() {
		order, sources = append(order, len(sees)), append(sources, Read{Node: layout.Query()})
	}
	order, sources = append(order, len(order)), append(sources, Read{Node: i})
	c := r.e.model.Config()
	for k := range sources {
		s := &sources[k]
		if s.Node == plan.Len() {
			s.ID, s.Tokens = out.ID, rows-1
		} else {
			s.ID, s.Tokens = plan.ids[s.Node], len(plan.tokens[s.Node])
		}
		s.Heads = make([][]float32, c.Layers)
		for l := range s.Heads {
			s.Heads[l] = make([]float32, c.Heads)
			for h := range s.Heads[l] {
				m := x.mass[(l*c.Heads+h)*len(sources)+order[k]] / float64(rows)
				s.Heads[l][h] = float32(m)
				s.Mass += m / float64(c.Layers*c.Heads)
			}
		}
	}
	out.Reads = sources
	if i < plan.Len() {
		out.ID, out.Residual = plan.ids[i], x.residual
	}
	return out
}
