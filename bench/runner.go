// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/pool"
)

// Self is the name under which this library's results appear, followed by the way where
// it knows several: a strategy, a KV format, or "mask" for attention under a block-sparse mask.
const Self = "graphkv"

// Runner runs the cases with this library. It keeps what the last case built, so
// that a case can be measured many times, and must be closed. It is not safe for
// concurrent use.
type Runner struct {
	spec    *Spec
	threads int
	pool    *pool.Pool
	engine  *Engine
	halves  *Engine // with keys and values in 16 bits, as llama.cpp has them

	attention *Attention
	masked    *Masked // the same under a mask, nil for a layout that is not flat
	built     string  // the case that they are for
}

// NewRunner returns a runner that uses so many threads.
func NewRunner(s *Spec, threads int) *Runner {
	return &Runner{spec: s, threads: threads, pool: pool.New(threads)}
}

// Close frees the runner's threads and its model.
func (r *Runner) Close() error {
	r.pool.Close()
	var err error
	for _, e := range []*Engine{r.engine, r.halves} {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	return err
}

// open returns the runner's engine.
func (r *Runner) open() (*Engine, error) {
	if r.engine == nil {
		e, err := OpenEngine(r.spec, r.threads)
		if err != nil {
			return nil, err
		}
		r.engine = e
	}
	return r.engine, nil
}

// prepare builds the attention case c.
func (r *Runner) prepare(c Case) (*Attention, error) {
	if r.built == c.ID {
		return r.attention, nil
	}
	l, err := r.spec.layout(c.Layout)
	if err != nil {
		return nil, err
	}
	r.attention, r.masked, r.built = nil, nil, ""
	a, err := NewAttention(l, r.spec.Shapes[c.Shape], attention.Format(c.Format), r.pool)
	if err != nil {
		return nil, err
	}
	if l.Flat() && !c.Alone {
		if r.masked, err = NewMasked(l, a.Shape, r.pool); err != nil {
			return nil, err
		}
	}
	r.attention, r.built = a, c.ID
	return a, nil
}

// Check returns the values of a case that contenders compare: rows of an attention
// case's output, or logits. Other kinds of cases have none.
func (r *Runner) Check(c Case) ([]float32, error) {
	switch c.Kind {
	case KindPrefill, KindGraph:
		e, err := r.open()
		if err != nil {
			return nil, err
		}
		return e.Logits(c)
	case KindAttention:
	default:
		return nil, nil
	}
	a, err := r.prepare(c)
	if err != nil {
		return nil, err
	}
	if err := a.Run(); err != nil {
		return nil, err
	}
	return a.Rows(c.CheckRows), nil
}

// Measure runs a case and returns a result for each way in which this library can
// do it.
func (r *Runner) Measure(c Case) ([]Result, error) {
	switch c.Kind {
	case KindAttention:
		a, err := r.prepare(c)
		if err != nil {
			return nil, err
		}
		results, err := r.one(c, "", timed(a.Run))
		if err != nil || r.masked == nil {
			return results, err
		}
		flat, err := r.one(c, "mask", timed(r.masked.Run))
		return append(results, flat...), err
	case KindGEMM:
		return r.one(c, "", r.multiply(c.Size[0], c.Size[1], c.Size[2]))
	case KindPlan:
		p := NewPlanning(c.Size[0], c.Size[1], c.Size[2])
		return r.one(c, "", timed(func() error {
			_, err := p.Run()
			return err
		}))
	}
	e, err := r.open()
	if err != nil {
		return nil, err
	}
	switch c.Kind {
	case KindPrefill:
		return r.one(c, "", func() (time.Duration, error) { return e.Prefill(c.Tokens) })
	case KindDecode:
		results, err := r.one(c, "", func() (time.Duration, error) { return e.Decode(c.Tokens) })
		if err != nil {
			return nil, err
		}
		if r.halves == nil {
			if r.halves, err = OpenEngine(r.spec, r.threads, graphkv.WithKVFormat(attention.F16)); err != nil {
				return nil, err
			}
		}
		halves, err := r.one(c, "f16 KV", func() (time.Duration, error) { return r.halves.Decode(c.Tokens) })
		return append(results, halves...), err
	case KindGraph:
		return r.one(c, "", func() (time.Duration, error) { return e.Graph(c.Variant) })
	case KindTTFT:
		var results []Result
		for _, s := range []graphkv.Strategy{graphkv.Block, graphkv.Sequential, graphkv.GraphKV} {
			if s == graphkv.Sequential && c.Variant == NewOrder {
				continue // a text's reuse ends where the order changes
			}
			one, err := r.one(c, string(s), func() (time.Duration, error) { return e.TTFT(s, c.Variant) })
			if err != nil {
				return nil, err
			}
			results = append(results, one...)
		}
		return results, nil
	}
	return nil, fmt.Errorf("bench: case %s is of unknown kind %q", c.ID, c.Kind)
}

func (r *Runner) one(c Case, way string, run func() (time.Duration, error)) ([]Result, error) {
	if c.Kind == KindDecode || c.Variant != "" && c.Variant != Cold {
		if _, err := run(); err != nil { // encodes what is to be cached
			return nil, fmt.Errorf("bench: %s: %w", c.ID, err)
		}
	}
	t, err := measure(run)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", c.ID, err)
	}
	who := strings.TrimSpace(Self + " " + way)
	return []Result{{Case: c.ID, Who: who, Threads: r.threads, Value: c.Rate(t.Seconds), Unit: c.Unit, Timing: t}}, nil
}

// multiply returns a run of one matrix product.
func (r *Runner) multiply(rows, n, k int) func() (time.Duration, error) {
	w := gemm.NewMatrix(n, k)
	for i := range n {
		w.SetRow(i, Values(k, uint32(i)))
	}
	a, out := Values(rows*k, seedQ), make([]float32, rows*n)
	var ws gemm.Workspace
	return timed(func() error {
		gemm.Mul(r.pool, &ws, out, n, a, k, rows, w)
		return nil
	})
}
