// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/model"
)

// scheduler runs the forward passes of all requests, one at a time, and packs what
// waits into one: every request's next token, and nodes that requests have to
// encode. Weights are then read once for all of them. A batch's other runs change
// no bit of a run's result, so batching cannot be seen in an answer.
type scheduler struct {
	model *model.Model
	limit int // tokens to encode in one pass; next tokens come on top
	queue chan *job
	done  chan struct{}
	// generating is the number of requests between their first token and their
	// last. A pass waits a moment for those whose next token is about to come.
	generating atomic.Int32
	passes     atomic.Int64
	tokens     atomic.Int64

	workspace model.Workspace
	runs      []model.Run
	waiting   []*job // in order of arrival
	batch     []*job
	timer     *time.Timer
	context   context.Context // passContext, boxed once
}

// gatherTime bounds how long a pass waits for tokens that requests are sampling.
const gatherTime = time.Millisecond

// job is what one request wants of a pass. It is reused for its next.
type job struct {
	ctx    context.Context
	runs   []model.Run
	tokens int
	next   bool // one token of an answer
	result chan error
}

func newJob() *job { return &job{result: make(chan error, 1)} }

func newScheduler(m *model.Model, limit int) *scheduler {
	s := &scheduler{model: m, limit: limit, queue: make(chan *job, 64), done: make(chan struct{}), timer: time.NewTimer(time.Hour)}
	s.context = passContext{context.Background(), s}
	go s.loop()
	return s
}

// close ends the scheduler; nothing may be in the queue.
func (s *scheduler) close() {
	close(s.queue)
	<-s.done
}

// forward runs j's runs, with whatever else there is to run, and waits for them. If
// ctx ends meanwhile, the pass may still go on for others: forward returns when
// nothing of j's is used any more.
func (s *scheduler) forward(ctx context.Context, j *job, runs []model.Run, next bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.ctx, j.runs, j.next, j.tokens = ctx, runs, next, 0
	for _, r := range runs {
		j.tokens += len(r.Tokens)
	}
	s.queue <- j
	return <-j.result
}

func (s *scheduler) loop() {
	defer close(s.done)
	for {
		if len(s.waiting) == 0 {
			j, ok := <-s.queue
			if !ok {
				return
			}
			s.waiting = append(s.waiting, j)
		}
		s.gather()
		s.pick()
		s.run()
	}
}

// gather takes in all that waits, and next tokens that are about to come.
func (s *scheduler) gather() {
	next := 0
	for _, j := range s.waiting {
		if j.next {
			next++
		}
	}
	s.timer.Reset(gatherTime)
	defer s.timer.Stop()
	for {
		select {
		case j := <-s.queue:
			s.waiting = append(s.waiting, j)
			if j.next {
				next++
			}
			continue
		default:
		}
		if next >= int(s.generating.Load()) {
			return
		}
		select {
		case j := <-s.queue:
			s.waiting = append(s.waiting, j)
			if j.next {
				next++
			}
		case <-s.timer.C:
			return
		}
	}
}

// pick chooses the batch: all next tokens, and the jobs that came first as far as
// they fit. No job is larger than the limit, so the first always does.
func (s *scheduler) pick() {
	s.batch = s.batch[:0]
	rest := s.waiting[:0]
	room, full := s.limit, false
	for _, j := range s.waiting {
		switch {
		case j.next:
		case full || j.tokens > room:
			full = true
			rest = append(rest, j)
			continue
		default:
			room -= j.tokens
		}
		s.batch = append(s.batch, j)
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
}

func (s *scheduler) run() {
	s.runs = s.runs[:0]
	for _, j := range s.batch {
		s.runs = append(s.runs, j.runs...)
	}
	err := s.model.Forward(s.context, &s.workspace, s.runs)
	s.passes.Add(1)
	for i, r := range s.runs {
		s.tokens.Add(int64(len(r.Tokens)))
		s.runs[i] = model.Run{}
	}
	for _, j := range s.batch {
		if e := j.ctx.Err(); e != nil {
			j.result <- e
		} else {
			j.result <- err
		}
	}
	clear(s.batch)
}

// passContext ends when all of the requests in the pass have.
type passContext struct {
	context.Context
	s *scheduler
}

func (c passContext) Err() error {
	var err error
	for _, j := range c.s.batch {
		if err = j.ctx.Err(); err == nil {
			return nil
		}
	}
	return err
}
