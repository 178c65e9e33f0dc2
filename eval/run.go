// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/posenc"
)

// Runner asks the questions of a data set under several variants.
type Runner struct {
	Engine   *graphkv.Engine
	Data     *Dataset
	Frame    Frame
	Variants []Variant
	// Orders is the number of orders besides the data's own.
	Orders int
	// MaxTokens bounds an answer.
	MaxTokens int
	// Seed is that of random orders and of resampling.
	Seed uint64
	// Concurrency is the number of questions that are asked at a time; 0 means 1.
	Concurrency int
	// Progress, if it is set, is told after every question how many are done of all. Calls
	// do not overlap.
	Progress func(done, total int)
}

// Header returns the header for logs of this run, of an engine whose model goes by the
// given name and whose KVs are in the given format.
func (r *Runner) Header(model string, format attention.Format) Header {
	fingerprint := r.Engine.Metadata().Fingerprint()
	h := sha256.New()
	for _, ids := range [][]int32{r.Frame.Before, r.Frame.After} {
		binary.Write(h, binary.LittleEndian, int64(len(ids)))
		binary.Write(h, binary.LittleEndian, ids)
	}
	return Header{
		Version: 1, Data: r.Data.Name, DataHash: hex.EncodeToString(r.Data.Digest[:]), Format: r.Data.Format,
		Model: model, ModelHash: hex.EncodeToString(fingerprint[:]), KVFormat: format.String(),
		Frame: hex.EncodeToString(h.Sum(nil)), MaxTokens: r.MaxTokens, Seed: r.Seed, Defaults: Defaults(),
	}
}

func (r *Runner) asker() *asker {
	return &asker{tokenizer: r.Engine.Tokenizer(), frame: r.Frame, data: r.Data, seed: r.Seed, maxTokens: r.MaxTokens}
}

// Check compiles the first question under every variant and returns why those cannot be used
// that fail, by label.
func (r *Runner) Check() map[string]error {
	failed := map[string]error{}
	if len(r.Data.Items) == 0 {
		return failed
	}
	a, x := r.asker(), &r.Data.Items[0]
	for i := range r.Variants {
		v := &r.Variants[i]
		_, err := r.Engine.Compile(a.request(x, v, a.orders(x, 0)[0]))
		if err != nil && !tooLong(err) {
			failed[v.Label] = err
		}
	}
	return failed
}

// tooLong reports an error that is about an item and not about its preset.
func tooLong(err error) bool {
	var context *posenc.ContextError
	var prompt *graphkv.PromptError
	return errors.As(err, &context) || errors.As(err, &prompt)
}

// task is one question to ask.
type task struct {
	item    *Item
	variant *Variant
	number  int // of the order
	order   []int
}

func (t *task) record() Record {
	return Record{Item: t.item.ID, Strategy: t.variant.Label, Order: t.number}
}

// Answer asks all questions that the log has no answer to. What it has when ctx ends, or when
// something fails, stays. An item that is too long for the model is recorded as an
// error and does not end the run.
func (r *Runner) Answer(ctx context.Context, l *Log) error {
	a := r.asker()
	var tasks []task
	total := 0
	add := func(t task) {
		total++
		if rec := t.record(); !l.has(rec.key()) {
			tasks = append(tasks, t)
		}
	}
	for i := range r.Data.Items {
		x := &r.Data.Items[i]
		for number, order := range a.orders(x, r.Orders) {
			for j := range r.Variants {
				add(task{x, &r.Variants[j], number, order})
			}
		}
	}
	return r.each(ctx, tasks, total, max(1, r.Concurrency), func(ctx context.Context, t *task) error {
		rec := t.record()
		answer, err := r.answer(ctx, a, t)
		switch {
		case err == nil:
			rec.Answer = answer
		case tooLong(err):
			rec.Error = err.Error()
		default:
			return fmt.Errorf("eval: item %q under %s: %w", rec.Item, rec.Strategy, err)
		}
		return l.Append(rec)
	})
}

// each does tasks, several at a time, until one fails or ctx ends. What has begun then
// is waited for.
func (r *Runner) each(ctx context.Context, tasks []task, total, workers int, do func(context.Context, *task) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan *task)
	go func() {
		defer close(queue)
		for i := range tasks {
			select {
			case queue <- &tasks[i]:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	done := total - len(tasks)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for t := range queue {
				if ctx.Err() != nil {
					return
				}
				if err := do(ctx, t); err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				done++
				if r.Progress != nil {
					r.Progress(done, total)
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return context.Cause(ctx)
}

// answer asks one question: the model writes an answer, and ranks the candidates.
func (r *Runner) answer(ctx context.Context, a *asker, t *task) (*Answer, error) {
	p, err := r.Engine.Compile(a.request(t.item, t.variant, t.order))
	if err != nil {
		return nil, err
	}
	result, err := r.Engine.Generate(ctx, p)
	if err != nil {
		return nil, err
	}
	out := &Answer{Text: result.Text, Finish: result.FinishReason, Usage: result.Usage}
	out.Candidates, err = r.rank(ctx, a, p, t.item)
	return out, err
}

// rank returns the log-probability of each of an item's candidates after a plan's query.
func (r *Runner) rank(ctx context.Context, a *asker, p *graphkv.Plan, x *Item) ([]float64, error) {
	if len(x.Candidates) == 0 {
		return nil, nil
	}
	continuations := make([][]int32, len(x.Candidates))
	for i, c := range x.Candidates {
		continuations[i] = a.tokenizer.Encode(nil, c, false)
	}
	scores, err := r.Engine.Score(ctx, p, continuations...)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(continuations))
	for i := range out {
		out[i] = scores.Sum(i)
	}
	return out, nil
}
