// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/graphkv/graphkv"
)

// Engine runs the cases that need a model.
type Engine struct {
	*graphkv.Engine
	spec  *Spec
	fresh uint32 // how many passages nobody has seen before were made
}

// OpenEngine opens the spec's model for so many threads.
func OpenEngine(s *Spec, threads int, options ...graphkv.Option) (*Engine, error) {
	options = append([]graphkv.Option{graphkv.WithWorkers(threads), graphkv.WithCacheBytes(1 << 30)}, options...)
	e, err := graphkv.Open(s.Model, options...)
	if err != nil {
		return nil, err
	}
	s.Vocab = e.Model().Config().Vocab
	return &Engine{Engine: e, spec: s}, nil
}

// Keys of the token ids that are used more than once; passage i has key i.
const (
	keyText     = 1 << 10
	keyQuestion = 1 << 11
	keyFresh    = 1 << 12
)

func (e *Engine) tokens(n int, key uint32) []int32 { return TokenIDs(n, e.spec.Vocab, key) }

// generate compiles and answers a request.
func (e *Engine) generate(r *graphkv.Request, options ...graphkv.GenerateOption) (*graphkv.Result, error) {
	p, err := e.Compile(r)
	if err != nil {
		return nil, err
	}
	return e.Generate(context.Background(), p, options...)
}

// Logits returns the logits from which the first token of a case of kind prefill or
// graph follows.
func (e *Engine) Logits(c Case) ([]float32, error) {
	r := e.text(c.Tokens)
	if c.Kind == KindGraph {
		r = e.graph(cached)
	}
	res, err := e.generate(r, graphkv.WithLogits())
	if err != nil {
		return nil, err
	}
	return res.Logits, nil
}

// text is one text that is never cached.
func (e *Engine) text(tokens int) *graphkv.Request {
	return &graphkv.Request{
		Strategy: graphkv.Sequential, Query: graphkv.Tokens(e.tokens(tokens, keyText)...), MaxTokens: graphkv.NoTokens,
	}
}

// ms turns the engine's own timings back into a duration.
func ms(x float64) time.Duration { return time.Duration(x * float64(time.Millisecond)) }

// Prefill encodes one text that is not cached and computes its last logits.
func (e *Engine) Prefill(tokens int) (time.Duration, error) {
	r, err := e.generate(e.text(tokens))
	if err != nil {
		return 0, err
	}
	return ms(r.Timings.Prepare), nil
}

// Decode generates tokens greedily after a text of so many tokens.
func (e *Engine) Decode(tokens int) (time.Duration, error) {
	question := min(16, tokens-1)
	for key := range uint32(16) { // until a text is found that does not end early
		text := e.tokens(tokens, keyText+key)
		r, err := e.generate(&graphkv.Request{
			Strategy: graphkv.Sequential, MaxTokens: e.spec.Decode + 1,
			Segments: []graphkv.Segment{{ID: "text", Tokens: text[:tokens-question]}},
			Query:    graphkv.Tokens(text[tokens-question:]...),
		})
		if err != nil {
			return 0, err
		}
		if r.Usage.CompletionTokens == e.spec.Decode+1 {
			return ms(r.Timings.Decode), nil
		}
	}
	return 0, fmt.Errorf("bench: no text of %d tokens that is followed by %d", tokens, e.spec.Decode)
}

// passages returns the request over the passages in the given order.
func (e *Engine) passages(strategy graphkv.Strategy, order []int, key func(i int) uint32) *graphkv.Request {
	p := e.spec.Passages
	r := &graphkv.Request{Strategy: strategy, Query: graphkv.Tokens(e.tokens(p.Question, keyQuestion)...), MaxTokens: 1}
	for _, i := range order {
		r.Segments = append(r.Segments, graphkv.Segment{ID: fmt.Sprint(i), Tokens: e.tokens(p.Tokens, key(i))})
	}
	return r
}

func cached(i int) uint32 { return uint32(i) }

func (e *Engine) uncached(int) uint32 {
	e.fresh++
	return keyFresh + e.fresh
}

// TTFT answers the question over the passages and returns the time to its first token.
func (e *Engine) TTFT(strategy graphkv.Strategy, variant string) (time.Duration, error) {
	order, key := upTo(e.spec.Passages.Count), cached
	switch variant {
	case Cold:
		key = e.uncached
	case NewOrder:
		e.fresh++ // another order every time
		slices.SortFunc(order, func(a, b int) int {
			return int(hash(uint32(a), e.fresh)>>1) - int(hash(uint32(b), e.fresh)>>1)
		})
	}
	r, err := e.generate(e.passages(strategy, order, key))
	if err != nil {
		return 0, err
	}
	return ms(r.Timings.FirstToken), nil
}

// Graph answers the question over sources and the targets that read them.
func (e *Engine) Graph(variant string) (time.Duration, error) {
	key := cached
	if variant == Cold {
		key = e.uncached
	}
	r, err := e.generate(e.graph(key))
	if err != nil {
		return 0, err
	}
	return ms(r.Timings.FirstToken), nil
}

func (e *Engine) graph(key func(i int) uint32) *graphkv.Request {
	p := e.spec.Passages
	r := e.passages(graphkv.DAG, upTo(2*p.Count), key)
	for t, sources := range p.Targets {
		for _, s := range sources {
			r.Edges = append(r.Edges, [2]string{fmt.Sprint(s), fmt.Sprint(p.Count + t)})
		}
	}
	return r
}
