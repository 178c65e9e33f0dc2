// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// heldContext stops the pass that asks whether it has ended until it is let go.
type heldContext struct {
	context.Context
	reached, held chan struct{}
	once          *sync.Once
}

func (c heldContext) Err() error {
	c.once.Do(func() { close(c.reached) })
	<-c.held
	return nil
}

func hold(t *testing.T) heldContext {
	return heldContext{t.Context(), make(chan struct{}), make(chan struct{}), new(sync.Once)}
}

func testRun(e *Engine, r *rand.Rand, tokens int) model.Run {
	return model.Run{
		Tokens: randomTokens(r, tokens),
		KV:     kvcache.NewKV(e.model.Config().KVShape(), tokens),
		Logits: make([]float32, tinyVocab),
	}
}

// What piles up behind a pass runs in as few passes as fit, next tokens always and
// the rest in order of arrival; nobody's result changes by the company.
func TestWaitingRunsShareAPass(t *testing.T) {
	e := tinyEngine(t, WithBatchTokens(16))
	r := rand.New(rand.NewPCG(7, 8))
	first := testRun(e, r, 3)
	held := hold(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		// The scheduler, not forward itself, is to be held.
		s := e.scheduler
		j := newJob()
		j.ctx, j.runs, j.tokens = held, []model.Run{first}, 3
		s.queue <- j
		assert.NoError(t, <-j.result)
	})
	<-held.reached
	var runs []model.Run
	for i := range 20 {
		n, next := 8, false
		if i%2 == 0 {
			n, next = 1, true
		}
		run := testRun(e, r, n)
		runs = append(runs, run)
		wg.Go(func() {
			assert.NoError(t, e.scheduler.forward(t.Context(), newJob(), []model.Run{run}, next))
		})
	}
	for len(e.scheduler.queue) < len(runs) {
		runtime.Gosched()
	}
	close(held.held)
	wg.Wait()
	// 3 tokens; 10 next tokens and two of the rest; four times two of the rest.
	require.EqualValues(t, 1+5, e.Stats().Passes)
	require.EqualValues(t, 3+10+10*8, e.Stats().Tokens)
	for _, run := range runs {
		alone := run
		alone.KV, alone.Logits = kvcache.NewKV(e.model.Config().KVShape(), len(run.Tokens)), make([]float32, tinyVocab)
		require.NoError(t, e.scheduler.forward(t.Context(), newJob(), []model.Run{alone}, false))
		require.Equal(t, alone.Logits, run.Logits)
		require.Equal(t, flatten(alone.KV), flatten(run.KV))
	}
}

// A request that is cancelled leaves the pass to the others.
func TestCancelledRunLeavesItsPassAlone(t *testing.T) {
	e := tinyEngine(t)
	r := rand.New(rand.NewPCG(9, 10))
	held := hold(t)
	done := make(chan error)
	go func() {
		j := newJob()
		j.ctx, j.runs, j.tokens = held, []model.Run{testRun(e, r, 3)}, 3
		e.scheduler.queue <- j
		done <- <-j.result
	}()
	<-held.reached
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, other := make(chan error), make(chan error)
	a, b := testRun(e, rand.New(rand.NewPCG(1, 1)), 4), testRun(e, rand.New(rand.NewPCG(2, 2)), 4)
	go func() { cancelled <- e.scheduler.forward(ctx, newJob(), []model.Run{a}, false) }()
	go func() { other <- e.scheduler.forward(t.Context(), newJob(), []model.Run{b}, false) }()
	for len(e.scheduler.queue) < 2 {
		runtime.Gosched()
	}
	cancel()
	close(held.held)
	require.NoError(t, <-done)
	require.ErrorIs(t, <-cancelled, context.Canceled)
	require.NoError(t, <-other)
}

// A request that ends while it waits behind others returns at once, and nothing is
// computed for it.
func TestCancelledWhileItWaits(t *testing.T) {
	e := tinyEngine(t)
	r := rand.New(rand.NewPCG(11, 12))
	held := hold(t)
	done := make(chan error)
	go func() {
		j := newJob()
		j.ctx, j.runs, j.tokens = held, []model.Run{testRun(e, r, 3)}, 3
		e.scheduler.queue <- j
		done <- <-j.result
	}()
	<-held.reached
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	run := testRun(e, rand.New(rand.NewPCG(1, 1)), 4)
	go func() { waiting <- e.scheduler.forward(ctx, newJob(), []model.Run{run}, false) }()
	for len(e.scheduler.queue) < 1 {
		runtime.Gosched()
	}
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled) // while the pass is still held
	close(held.held)
	require.NoError(t, <-done)
	require.NoError(t, e.scheduler.forward(t.Context(), newJob(), []model.Run{run}, false))
	require.EqualValues(t, 2, e.Stats().Passes)
	require.EqualValues(t, 7, e.Stats().Tokens)
}

// A panic in a pass is an error of its requests; the engine goes on.
func TestPanicInAPass(t *testing.T) {
	e := tinyEngine(t)
	j := newJob()
	j.ctx, j.runs, j.tokens = panicOnce(t), []model.Run{testRun(e, rand.New(rand.NewPCG(1, 2)), 2)}, 2
	e.scheduler.queue <- j
	require.ErrorContains(t, <-j.result, "panicked: a bug")
	_, err := e.Generate(t.Context(), compile(t, e, overlapping(1)[0]))
	require.NoError(t, err)
}

// panicOnce returns a context that panics when it is first asked.
func panicOnce(t *testing.T) context.Context {
	var once sync.Once
	return errFunc{t.Context(), func() error {
		once.Do(func() { panic("a bug") })
		return nil
	}}
}

type errFunc struct {
	context.Context
	err func() error
}

func (c errFunc) Err() error { return c.err() }
