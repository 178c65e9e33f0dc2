// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
)

const (
	// warmers is how many plans are encoded at the same time: what one leaves free of a pass, another fills, and there is work to encode while
	// keys are made and looked up.
	warmers = 4
	// planBytes is about how much KV the plan of a batch of segments has, and planTokens how many tokens at most: several passes' worth.
	planBytes  = 64 << 20
	planTokens = 8192
	// queueBytes is how much KV may wait to be written before encoding waits for it.
	queueBytes = 256 << 20
	// mostNamed is how many of the segments that are left out are named.
	mostNamed = 20
)

// warming is a corpus being encoded.
type warming struct {
	*warm
	cmd      *cobra.Command
	e        *graphkv.Engine
	ctx      context.Context
	cancel   context.CancelCauseFunc
	work     chan batch
	began    time.Time
	progress *progress

	segments, leftOut, reused atomic.Int64

	mu     sync.Mutex
	at     int64     // offset in the corpus
	mark   time.Time // when the first tokens had been encoded, and how many
	marked int64
}

// batch is a part of the corpus as a request.
type batch struct {
	request graphkv.Request
	own     int   // of its segments, how many are counted here; the others are sources
	end     int64 // offset in the corpus after the last one
}

func newWarming(cmd *cobra.Command, w *warm, e *graphkv.Engine, total int64) *warming {
	r := &warming{warm: w, cmd: cmd, e: e, work: make(chan batch), began: time.Now(), progress: newProgress(cmd.ErrOrStderr(), "warming", total)}
	r.ctx, r.cancel = context.WithCancelCause(cmd.Context())
	return r
}

// run encodes what read adds, until that is all, something fails, or the command is interrupted. What is encoded by then is written in any case.
func (r *warming) run(read func() error) error {
	defer r.cancel(nil)
	go func() { // standard input may never end
		defer close(r.work)
		if err := read(); err != nil {
			r.cancel(err)
		}
	}()
	var encoding sync.WaitGroup
	for range warmers {
		encoding.Go(func() {
			for {
				select {
				case b, ok := <-r.work:
					if !ok {
						return
					}
					if err := r.encode(b); err != nil {
						r.cancel(err)
					}
				case <-r.ctx.Done():
					return
				}
			}
		})
	}
	encoding.Wait()
	flushed := r.e.Flush(context.WithoutCancel(r.ctx))
	r.progress.end()
	r.notes.print(r.cmd.ErrOrStderr())
	r.summary(r.cmd.OutOrStdout(), r.cmd.ErrOrStderr())
	switch cause := context.Cause(r.ctx); {
	case cause != nil:
		return cause
	case flushed != nil:
		return flushed
	}
	if err := r.stored(); err != nil {
		return err
	}
	if n := r.leftOut.Load(); n > 0 {
		return fmt.Errorf("%d segments were left out", n)
	}
	return nil
}

// add hands a batch to whoever is free.
func (r *warming) add(b batch) error {
	select {
	case r.work <- b:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// blocks reads a corpus in which every segment stands for itself. Its batches share positions, as in pcw, so that they have no length; the keys
// are those of block.
func (r *warming) blocks(in io.Reader) error {
	shape := r.e.Model().Config().KVShape()
	shape.Format = r.format.Format
	panel, err := shape.Bytes(16)
	if err != nil {
		return err
	}
	most := int(min(planTokens, planBytes/max(1, panel/16)))
	b, tokens := r.empty(), 0
	err = scanCorpus(in, func(x corpusLine) error {
		b.end = x.end
		if !r.shard.owns(x.ID) {
			return nil
		}
		b.request.Segments = append(b.request.Segments, x.Segment)
		b.own++
		tokens += len(x.Tokens) + len(x.Text)/4
		if tokens < most {
			return nil
		}
		full := b
		b, tokens = r.empty(), 0
		return r.add(full)
	})
	if err != nil {
		return err
	}
	return r.add(b)
}

func (r *warming) empty() batch {
	return batch{request: graphkv.Request{Strategy: graphkv.PCW, Query: graphkv.Tokens(0)}}
}

// graphs reads a corpus in which segments attend to others.
func (r *warming) graphs(file *os.File) error {
	x, err := indexLinks(&interruptible{ctx: r.ctx, r: file, read: func(int) {}})
	if err != nil {
		return err
	}
	for _, i := range x.order {
		if !r.shard.owns(x.names[i]) {
			continue
		}
		b := batch{own: 1, end: x.lines[i].end}
		all, ok := x.closure(i, graphkv.DefaultPromptTokens)
		if !ok {
			r.leaveOut(b, fmt.Errorf("segment %q depends on more than %d others", x.names[i], graphkv.DefaultPromptTokens))
			continue
		}
		slices.SortFunc(all, func(a, b int32) int { return x.lines[a].number - x.lines[b].number })
		b.request = graphkv.Request{
			Strategy: graphkv.DAG, Rounds: r.rounds, Positions: graphkv.Positions(r.positions), Center: x.names[i], Query: graphkv.Tokens(0),
		}
		for _, j := range all {
			l, err := x.read(file, j)
			if err != nil {
				return err
			}
			b.request.Segments = append(b.request.Segments, l.Segment)
			for _, source := range l.Links {
				b.request.Edges = append(b.request.Edges, graphkv.Edge{source, l.ID})
			}
		}
		if err := r.add(b); err != nil {
			return err
		}
	}
	return nil
}

// encode encodes a batch. If that cannot be, it looks for the segments to blame and leaves them out. An error is not a segment's.
func (r *warming) encode(b batch) error {
	p, err := r.e.Compile(&b.request)
	if err == nil {
		var u graphkv.Usage
		u, err = r.e.Warm(r.ctx, p)
		var bad *graphkv.TokenError
		switch {
		case err == nil:
			r.reused.Add(int64(u.CachedTokens))
			r.done(b, int64(b.own))
			return r.paced()
		case r.ctx.Err() != nil:
			return nil
		case !errors.As(err, &bad):
			return err
		}
	}
	if b.own == 1 {
		r.leaveOut(b, err)
		return nil
	}
	for _, s := range b.request.Segments {
		one := batch{request: b.request, own: 1, end: b.end}
		one.request.Segments = []graphkv.Segment{s}
		if err := r.encode(one); err != nil {
			return err
		}
	}
	return nil
}

func (r *warming) leaveOut(b batch, err error) {
	if n := r.leftOut.Add(1); n <= mostNamed {
		r.progress.say("left out: " + trimName(err.Error()))
	}
	r.done(b, 0)
}

// done counts segments and shows where the work is.
func (r *warming) done(b batch, segments int64) {
	n, tokens := r.segments.Add(segments), r.e.Stats().Tokens
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = max(r.at, b.end)
	note := fmt.Sprintf("%d segments", n)
	if r.mark.IsZero() && tokens > 0 { // what was stored before has been passed, or the first segment is new
		r.mark, r.marked = time.Now(), tokens
		r.progress.measureFrom(r.at)
	} else if seconds := time.Since(r.mark).Seconds(); tokens > r.marked && seconds > 0 {
		note += fmt.Sprintf(", %.0f tokens/s", float64(tokens-r.marked)/seconds)
	}
	r.progress.update(r.at, note)
}

// paced waits while much is to be written, and returns an error if the store does not keep what it gets: then there is no point in going on.
func (r *warming) paced() error {
	if err := r.stored(); err != nil {
		return err
	}
	if r.e.Stats().Cache.QueuedBytes <= queueBytes {
		return nil
	}
	if err := r.e.Flush(r.ctx); err != nil && r.ctx.Err() == nil {
		return err
	}
	return r.stored()
}

// stored returns an error if something was not written.
func (r *warming) stored() error {
	m := r.e.Stats().Cache.Tiers[1]
	switch {
	case m.Failures > 0 || m.Dropped > 0:
		return fmt.Errorf("%s failed", m.Tier)
	case m.Rejected > 0:
		return fmt.Errorf("the budget of %v is too small for one of the segments", r.budget)
	}
	return nil
}

func (r *warming) summary(out, log io.Writer) {
	s, took := r.e.Stats(), time.Since(r.began)
	m := s.Cache.Tiers[1]
	fmt.Fprintf(out, "%d segments: %d tokens encoded in %v (%.0f tokens/s), %d reused; %d entries, %v, written to %s\n",
		r.segments.Load(), s.Tokens, took.Round(100*time.Millisecond), float64(s.Tokens)/took.Seconds(), r.reused.Load(), m.Puts, size(m.WriteBytes), r.place())
	if m.Evictions > 0 {
		fmt.Fprintf(log, "%d entries, old or new, were evicted to keep the budget of %v (--cache-budget)\n", m.Evictions, r.budget)
	}
}

// place names where segments are stored; a URL may have a password in it.
func (r *warming) place() string {
	if r.redis != "" {
		return "Redis"
	}
	return r.dir
}
