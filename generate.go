// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"strings"
	"time"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/sample"
	"github.com/graphkv/graphkv/posenc"
)

// pageTokens is the length of the pieces in which room for the answer's keys and
// values is taken. A full page is one more source of what follows it, so nothing
// is ever moved or copied as an answer grows.
const pageTokens = 128

// Generate encodes what is missing of a plan and answers its query. When ctx ends it
// returns ctx's error: at once while it waits for others, and otherwise within one
// layer of the model, or one pass where other requests share it.
func (e *Engine) Generate(ctx context.Context, p *Plan, options ...GenerateOption) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	start := time.Now()
	var g generation
	for _, o := range options {
		if o != nil {
			o.apply(&g)
		}
	}
	if g.sampling == nil {
		g.sampling = &sample.Params{Temperature: p.temperature}
	}
	sampler, err := sample.New(*g.sampling)
	if err != nil {
		return nil, err
	}
	s, err := e.begin(p, g.run...)
	if err != nil {
		return nil, err
	}
	defer s.release()
	a := s.answer()
	if err := a.prefill(ctx); err != nil {
		return nil, err
	}
	r := &Result{Usage: s.usage(), FinishReason: FinishLength, Tokens: []int32{}}
	queryTokens := len(p.tokens[p.layout.Query()])
	r.Usage.PromptTokens += queryTokens
	r.Usage.EncodedTokens += queryTokens
	if g.logits {
		r.Logits = append([]float32(nil), a.logits...)
	}
	if g.prepared != nil {
		g.prepared(s.origins())
	}
	prepared := time.Since(start)
	r.Timings.Prepare = milliseconds(prepared)
	if err := a.generate(ctx, r, sampler, g.emit, start); err != nil {
		return nil, err
	}
	r.Usage.CompletionTokens = len(r.Tokens)
	r.Timings.Total = milliseconds(time.Since(start))
	return r, nil
}

// answer grows a text after a query.
type answer struct {
	*session
	logits []float32
	run    model.Run // the next token; its last source is the page or query before it
	runs   [1]model.Run
	token  [1]int32
	room   int // tokens that the model's context has room for
}

func (s *session) answer() *answer {
	a := &answer{session: s, logits: make([]float32, s.e.model.Config().Vocab)}
	limit := posenc.MaxPosition
	if !s.e.settings.longContext {
		limit = s.e.model.Config().Context
	}
	query := s.plan.layout.Node(s.plan.layout.Query())
	a.room = limit - query.Base - query.Len
	return a
}

// prefill encodes what is missing and the query.
func (a *answer) prefill(ctx context.Context) error {
	tokens := a.plan.tokens[a.plan.layout.Query()]
	query := model.Run{
		Tokens: tokens, KV: kvcache.NewKV(a.e.model.Config().KVShape(), len(tokens)), Logits: a.logits,
		Bidirectional: a.plan.layout.Node(a.plan.layout.Query()).Bidirectional,
	}
	if err := a.encode(ctx, &query); err != nil {
		return err
	}
	// From here on the query is one more source.
	a.run = model.Run{
		Sources: append(shifted(a.sources(a.query), len(tokens)), model.Source{KV: query.KV, Shift: len(tokens)}),
		Logits:  a.logits,
		Decode:  true,
	}
	return nil
}

// step encodes one token of the answer and leaves the logits that follow it.
func (a *answer) step(ctx context.Context, id int32) error {
	if a.run.KV == nil {
		a.run.KV = kvcache.NewKV(a.e.model.Config().KVShape(), pageTokens)
	} else if a.run.At == pageTokens {
		a.run.Sources = append(a.run.Sources, model.Source{KV: a.run.KV, Shift: pageTokens})
		a.run.KV, a.run.At = kvcache.NewKV(a.e.model.Config().KVShape(), pageTokens), 0
	}
	a.token[0] = id
	a.run.Tokens = a.token[:]
	a.runs[0] = a.run
	if err := a.e.scheduler.forward(ctx, a.job, a.runs[:], true); err != nil {
		return err
	}
	a.run.At++
	for j := range a.run.Sources {
		a.run.Sources[j].Shift++
	}
	return nil
}

// next encodes the last token so far and samples the one after it.
func (a *answer) next(ctx context.Context, tokens []int32, sampler *sample.Sampler) (int32, error) {
	if len(tokens) > 0 {
		if err := a.step(ctx, tokens[len(tokens)-1]); err != nil {
			return 0, err
		}
	}
	return sampler.Sample(a.logits)
}

// generate samples until an end token, a stop string or a limit.
func (a *answer) generate(ctx context.Context, r *Result, sampler *sample.Sampler, emit func(string) error, start time.Time) error {
	maxTokens := a.plan.MaxTokens()
	sampling := &a.e.scheduler.sampling
	sampling.Add(1)
	defer sampling.Add(-1)
	a.e.scheduler.answering.Add(1)
	defer a.e.scheduler.answering.Add(-1)
	var text strings.Builder
	send := func(s string) error {
		text.WriteString(s)
		if emit == nil || s == "" {
			return nil
		}
		sampling.Add(-1) // nobody waits for a slow reader
		defer sampling.Add(1)
		return emit(s)
	}
	stream := sample.NewStream(a.plan.stop)
	var first time.Time
	var piece []byte
	for len(r.Tokens) < min(maxTokens, a.room) {
		id, err := a.next(ctx, r.Tokens, sampler)
		if err != nil {
			return err
		}
		r.Tokens = append(r.Tokens, id)
		if first.IsZero() {
			first = time.Now()
			r.Timings.FirstToken = milliseconds(first.Sub(start))
		}
		r.Timings.Decode = milliseconds(time.Since(first))
		if a.e.tokenizer.IsEOG(id) {
			r.FinishReason = FinishStop
			break
		}
		piece = a.e.tokenizer.AppendToken(piece[:0], id)
		out, stopped := stream.Push(piece)
		if err := send(out); err != nil {
			return err
		}
		if stopped {
			r.FinishReason = FinishStop
			r.Text = text.String()
			return nil
		}
	}
	if err := send(stream.Flush()); err != nil {
		return err
	}
	r.Text = text.String()
	return nil
}
