// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
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
	// sampling is the number of requests that have a next token in the queue or are
	// about to. A pass waits a moment for the latter.
	sampling atomic.Int32
	requests atomic.Int32 // at work
	// answering is the number of requests whose answers grow, whether they wait for a
	// token or for who reads it. While it is not 0, passes are kept short.
	answering atomic.Int32
	turns     turns
	rate      encodeRate
	passes    atomic.Int64
	tokens    atomic.Int64

	workspace model.Workspace
	runs      []model.Run
	waiting   []*job // in order of arrival
	batch     []*job
	timer     *time.Timer
	took      time.Duration   // by the last pass
	context   context.Context // passContext, boxed once
	waiter    *waiter         // of the pass at hand, if it waits for layers
}

// A pass waits for tokens that requests are sampling at most a quarter of the time
// that the last pass took, within these bounds: a token that misses a pass waits for
// the whole of the next.
const minGather, maxGather = time.Millisecond, 20 * time.Millisecond

// job is what one request wants of a pass. It is reused for its next.
type job struct {
	ctx       context.Context
	namespace string
	runs      []model.Run
	tokens    int
	work      float64     // multiplications
	next      bool        // one token of an answer
	waits     bool        // layers of what it attends to may still be arriving
	taken     atomic.Bool // by a pass, or back by a request that has ended
	result    chan error
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

// forward runs j's runs, with whatever else there is to run, and waits for them.
// When ctx ends before a pass has taken j, forward returns at once, and j must not
// be used again. Afterwards it returns when the pass is over, as the pass uses what
// belongs to j; it ends early only if it has no other requests.
func (s *scheduler) forward(ctx context.Context, j *job, runs []model.Run, next bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.ctx, j.runs, j.next, j.tokens, j.work = ctx, runs, next, 0, 0
	j.taken.Store(false)
	for _, r := range runs {
		j.tokens += len(r.Tokens)
		j.work += s.work(r)
	}
	select {
	case s.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.result:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-j.result
	}
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
		if len(s.batch) > 0 {
			s.run()
		}
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
	s.timer.Reset(min(max(s.took/4, minGather), maxGather))
	defer s.timer.Stop()
	for {
		var j *job // nil: the queue is closed, as whoever sent what waits has left
		select {
		case j = <-s.queue:
		default:
			if next >= int(s.sampling.Load()) {
				return
			}
			select {
			case j = <-s.queue:
			case <-s.timer.C:
				return
			}
		}
		if j == nil {
			return
		}
		s.waiting = append(s.waiting, j)
		if j.next {
			next++
		}
	}
}

// pick chooses the batch: all next tokens, and jobs that encode, namespaces by turns
// and each one's in order of arrival, as far as they fit. The first is taken whatever
// its size, which exceeds the limit where a node must be encoded in one piece.
func (s *scheduler) pick() {
	s.batch = s.batch[:0]
	rest := s.waiting[:0]
	for _, j := range s.waiting {
		switch {
		case !j.next:
			rest = append(rest, j)
		case j.taken.CompareAndSwap(false, true): // or else its request has ended
			s.batch = append(s.batch, j)
		}
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
	room, work := s.limit, s.passWork()
	for first := true; len(s.waiting) > 0; {
		i := s.turns.next(s.waiting)
		j := s.waiting[i]
		if !first && (j.tokens > room || j.work > work) {
			return
		}
		s.waiting = slices.Delete(s.waiting, i, i+1)
		if !j.taken.CompareAndSwap(false, true) {
			continue // its request has ended
		}
		s.turns.charge(j)
		s.batch = append(s.batch, j)
		room, work, first = room-j.tokens, work-j.work, false
	}
}

// run runs the batch. A job that attends to what fails to arrive leaves it, and the
// others go again: they need not know.
func (s *scheduler) run() {
	for len(s.batch) > 0 {
		s.runs = s.runs[:0]
		for _, j := range s.batch {
			s.runs = append(s.runs, j.runs...)
		}
		start := time.Now()
		err := s.pass()
		s.took = time.Since(start)
		s.passes.Add(1)
		for _, r := range s.runs {
			if r.Layers == 0 {
				s.tokens.Add(int64(len(r.Tokens)))
			}
		}
		clear(s.runs)
		switch i := s.loser(err); {
		case i >= 0:
			s.batch[i].deliver(err)
			s.batch = slices.Delete(s.batch, i, i+1)
			continue
		case err == nil:
			s.measure()
		}
		for _, j := range s.batch {
			j.deliver(err)
		}
		clear(s.batch)
		s.batch = s.batch[:0]
	}
}

// loser returns the place in the batch of the job that a pass failed for because a
// source did not arrive, or −1.
func (s *scheduler) loser(err error) int {
	if err == nil {
		return -1
	}
	var lost *model.SourceError
	if !errors.As(err, &lost) {
		return -1
	}
	end := 0
	return slices.IndexFunc(s.batch, func(j *job) bool {
		end += len(j.runs)
		return lost.Run < end
	})
}

// deliver ends the job's part in a pass.
func (j *job) deliver(err error) {
	if e := j.ctx.Err(); e != nil {
		err = e
	}
	j.result <- err
}

// pass turns a panic, which would end the process from this goroutine, into an
// error of the requests in the pass.
func (s *scheduler) pass() (err error) {
	defer func() {
		if s.waiter != nil {
			s.waiter.close()
			s.waiter = nil
		}
		if v := recover(); v != nil {
			err = fmt.Errorf("graphkv: a forward pass panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return s.model.Forward(s.context, &s.workspace, s.runs)
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

// Done is for a pass that waits for a layer to arrive; others ask Err alone. The
// channel is closed when the context ends, or with the pass.
func (c passContext) Done() <-chan struct{} {
	if c.s.waiter == nil {
		c.s.waiter = newWaiter(c.s.batch)
	}
	return c.s.waiter.Done()
}

// newWaiter returns a context that ends when those of all jobs have.
func newWaiter(jobs []*job) *waiter {
	w := new(waiter)
	w.Context, w.end = context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(len(jobs)))
	for _, j := range jobs {
		w.stops = append(w.stops, context.AfterFunc(j.ctx, func() {
			if left.Add(-1) == 0 {
				w.end()
			}
		}))
	}
	return w
}

// waiter is what a pass that waits does so with.
type waiter struct {
	context.Context
	end   context.CancelFunc
	stops []func() bool
}

func (w *waiter) close() {
	for _, stop := range w.stops {
		stop()
	}
	w.end()
}
