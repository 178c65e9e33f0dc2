// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphkv/graphkv"
)

// Time measures the time to the first token on the first n items under every variant, as far as
// the log does not have it. open returns an engine with the runner's model that has
// nothing cached; one is opened for every measurement, and closed.
func (r *Runner) Time(ctx context.Context, l *Log, n int, open func() (*graphkv.Engine, error)) error {
	a := r.asker()
	a.maxTokens = 1
	var tasks []task
	total := 0
	for i := range min(n, len(r.Data.Items)) {
		x := &r.Data.Items[i]
		for j := range r.Variants {
			t := task{x, &r.Variants[j], 0, a.orders(x, 0)[0]}
			total++
			rec := t.record()
			rec.Timing = &Timing{}
			if !l.has(rec.key()) {
				tasks = append(tasks, t)
			}
		}
	}
	return r.each(ctx, tasks, total, 1, func(ctx context.Context, t *task) error {
		rec := t.record()
		own, err := r.Engine.Compile(a.request(t.item, t.variant, t.order))
		if err == nil {
			var backwards *graphkv.Plan
			if backwards, err = r.Engine.Compile(a.request(t.item, t.variant, reversed(t.item))); err == nil {
				rec.Timing, err = timed(ctx, own, backwards, open)
			}
		}
		switch {
		case tooLong(err): // in one order or the other: it has no times
			return nil
		case err != nil:
			return fmt.Errorf("eval: time of item %q under %s: %w", t.item.ID, t.variant.Label, err)
		}
		return l.Append(rec)
	})
}

// timed asks on an engine of its own: a plan, then one of the same documents in another
// order, then that again.
func timed(ctx context.Context, own, backwards *graphkv.Plan, open func() (*graphkv.Engine, error)) (timing *Timing, err error) {
	e, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := warmUp(ctx, e, own); err != nil {
		return nil, err
	}
	timing = &Timing{}
	for _, m := range []struct {
		plan *graphkv.Plan
		to   *Moment
	}{{own, &timing.Cold}, {backwards, &timing.Reordered}, {backwards, &timing.Again}} {
		result, err := e.Generate(ctx, m.plan)
		if err != nil {
			return nil, err
		}
		*m.to = Moment{result.Timings.FirstToken, result.Usage.EncodedTokens, result.Usage.CachedTokens}
	}
	return timing, nil
}

// warmUp lets a new engine compute once at the plan's size, so that what is measured does not
// count its buffers, and leaves nothing in the cache: a query never is.
func warmUp(ctx context.Context, e *graphkv.Engine, p *graphkv.Plan) error {
	var tokens []int32
	for i := range p.Len() {
		tokens = append(tokens, p.Tokens(i)...)
	}
	tokens = tokens[:min(len(tokens), e.Model().Config().Context)]
	plain, err := e.Compile(&graphkv.Request{Strategy: graphkv.Sequential, Query: graphkv.Tokens(tokens...), MaxTokens: graphkv.NoTokens})
	if err != nil {
		return err
	}
	_, err = e.Generate(ctx, plain)
	return err
}
