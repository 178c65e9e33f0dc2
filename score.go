// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// scoreRows bounds the rows of logits that one pass of [Engine.Score] leaves: each is
// as long as the vocabulary.
const scoreRows = 64

// Scores says how likely continuations of a query are.
type Scores struct {
	// LogProbs holds the natural logarithm of every token's probability, given the
	// query and the tokens of its continuation before it: [continuation][token].
	LogProbs [][]float64
	Usage    Usage // CompletionTokens counts the tokens that were scored
	Timings  Timings
}

// Sum returns the log-probability of continuation i as a whole.
func (s *Scores) Sum(i int) float64 {
	sum := 0.0
	for _, p := range s.LogProbs[i] {
		sum += p
	}
	return sum
}

// Score returns how likely the model finds each of several continuations of a plan's
// query: an answer among given ones is the likeliest of them. What is missing of the
// plan is encoded as by [Engine.Generate] and the query once for all continuations,
// which do not see each other; which others there are changes no bit of a result.
//
// A continuation needs at least one token. A token that the vocabulary does not have
// is a [*TokenError]; a continuation that reaches past the model's trained context is an error
// unless the engine was opened [WithLongContext].
func (e *Engine) Score(ctx context.Context, p *Plan, continuations ...[]int32) (*Scores, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	start := time.Now()
	vocab := e.model.Config().Vocab
	for i, c := range continuations {
		if len(c) == 0 {
			return nil, fmt.Errorf("graphkv: continuation %d is empty", i)
		}
		for _, id := range c {
			if id < 0 || int(id) >= vocab {
				return nil, &TokenError{Node: fmt.Sprintf("continuation %d", i), Token: id, Vocab: vocab}
			}
		}
	}
	s, err := e.begin(p)
	if err != nil {
		return nil, err
	}
	defer s.release()
	a := s.answer()
	for i, c := range continuations {
		if len(c)-1 > a.room {
			return nil, fmt.Errorf("graphkv: continuation %d has %d tokens, and the model's context has room for %d after the query", i, len(c), a.room+1)
		}
	}
	if err := a.prefill(ctx); err != nil {
		return nil, err
	}
	r := &Scores{LogProbs: make([][]float64, len(continuations)), Usage: s.usage()}
	queryTokens := len(p.tokens[p.layout.Query()])
	r.Usage.PromptTokens += queryTokens
	r.Usage.EncodedTokens += queryTokens
	r.Timings.Prepare = milliseconds(time.Since(start))
	for i, c := range continuations {
		r.LogProbs[i] = append(make([]float64, 0, len(c)), logProb(a.logits, c[0]))
		r.Usage.CompletionTokens += len(c)
	}
	if err := a.scoreRest(ctx, continuations, r.LogProbs); err != nil {
		return nil, err
	}
	r.Timings.Total = milliseconds(time.Since(start))
	return r, nil
}

// scoreRest appends to each list of log-probabilities those of the tokens after the
// first. Many short continuations go in one pass, a long one in several.
func (a *answer) scoreRest(ctx context.Context, continuations [][]int32, out [][]float64) error {
	limit := min(scoreRows, a.e.settings.batchTokens)
	var runs []model.Run
	var which []int // the continuation of every run
	rows := 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		if err := a.e.scheduler.forward(ctx, a.job, runs, false); err != nil {
			return err
		}
		for j, r := range runs {
			next := continuations[which[j]][r.At+1:]
			vocab := len(r.Logits) / len(r.Tokens)
			for k := range r.Tokens {
				out[which[j]] = append(out[which[j]], logProb(r.Logits[k*vocab:(k+1)*vocab], next[k]))
			}
		}
		runs, which, rows = runs[:0], which[:0], 0
		return nil
	}
	config := a.e.model.Config()
	logits := make([]float32, limit*config.Vocab)
	for i, c := range continuations {
		if len(c) == 1 {
			continue
		}
		c = c[:len(c)-1] // nothing is asked of what follows the last
		kv := kvcache.NewKV(config.KVShape(), len(c))
		for at := 0; at < len(c); {
			n := min(len(c)-at, limit-rows)
			r := a.run
			r.Decode = false
			r.Tokens, r.KV, r.At = c[at:at+n], kv, at
			r.Sources = shifted(a.run.Sources, at)
			r.Logits = logits[rows*config.Vocab : (rows+n)*config.Vocab]
			runs, which = append(runs, r), append(which, i)
			rows += n
			at += n
			if rows == limit {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// logProb is the logarithm of the softmax of logits at token id.
func logProb(logits []float32, id int32) float64 {
	top := float64(logits[0])
	for _, x := range logits[1:] {
		top = max(top, float64(x))
	}
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	return float64(logits[id]) - top - math.Log(sum)
}
