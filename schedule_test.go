// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

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

// hold stops the scheduler inside a pass over three tokens. The function it returns
// lets it go on and waits for that pass.
func hold(t *testing.T, e *Engine) (letGo func()) {
	ctx := heldContext{t.Context(), make(chan struct{}), make(chan struct{}), new(sync.Once)}
	j := submit(e, ctx, testRun(e, rand.New(rand.NewPCG(5, 5)), 3))
	<-ctx.reached
	return func() {
		close(ctx.held)
		require.NoError(t, <-j.result)
	}
}

// submit puts a run into the queue past forward, which would ask ctx itself.
func submit(e *Engine, ctx context.Context, r model.Run) *job {
	j := newJob()
	j.ctx, j.runs, j.tokens = ctx, []model.Run{r}, len(r.Tokens)
	e.scheduler.queue <- j
	return j
}

func waitForQueue(e *Engine, jobs int) {
	for len(e.scheduler.queue) < jobs {
		runtime.Gosched()
	}
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
	letGo := hold(t, e)
	var wg sync.WaitGroup
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
	waitForQueue(e, len(runs))
	letGo()
	wg.Wait()
	// 3 tokens; 10 next tokens and two of the rest; four times two of the rest.
	require.EqualValues(t, 1+5, e.Stats().Passes)
	require.EqualValues(t, 3+10+10*8, e.Stats().Tokens)
	for _, run := range runs {
		alone := run
		alone.KV, alone.Logits = kvcache.NewKV(e.model.Config().KVShape(), len(run.Tokens)), make([]float32, tinyVocab)
		require.NoError(t, e.scheduler.forward(t.Context(), newJob(), []model.Run{alone}, false))
		require.Equal(t, alone.Logits, run.Logits)
		require.Equal(t, flatten(alone.KV, 0, alone.KV.Tokens()), flatten(run.KV, 0, run.KV.Tokens()))
	}
}

// A request that is cancelled leaves the pass to the others.
func TestCancelledRunLeavesItsPassAlone(t *testing.T) {
	e := tinyEngine(t)
	letGo := hold(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, other := make(chan error), make(chan error)
	a, b := testRun(e, rand.New(rand.NewPCG(1, 1)), 4), testRun(e, rand.New(rand.NewPCG(2, 2)), 4)
	go func() { cancelled <- e.scheduler.forward(ctx, newJob(), []model.Run{a}, false) }()
	go func() { other <- e.scheduler.forward(t.Context(), newJob(), []model.Run{b}, false) }()
	waitForQueue(e, 2)
	cancel()
	letGo()
	require.ErrorIs(t, <-cancelled, context.Canceled)
	require.NoError(t, <-other)
}

// A request that ends while it waits behind others returns at once, and nothing is
// computed for it.
func TestCancelledWhileItWaits(t *testing.T) {
	e := tinyEngine(t)
	letGo := hold(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	run := testRun(e, rand.New(rand.NewPCG(1, 1)), 4)
	go func() { waiting <- e.scheduler.forward(ctx, newJob(), []model.Run{run}, false) }()
	waitForQueue(e, 1)
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled) // while the pass is still held
	letGo()
	require.NoError(t, e.scheduler.forward(t.Context(), newJob(), []model.Run{run}, false))
	require.EqualValues(t, 2, e.Stats().Passes)
	require.EqualValues(t, 7, e.Stats().Tokens)
}

// A panic in a pass is an error of its requests; the engine goes on.
func TestPanicInAPass(t *testing.T) {
	e := tinyEngine(t)
	j := submit(e, panicOnce(t), testRun(e, rand.New(rand.NewPCG(1, 2)), 2))
	require.ErrorContains(t, <-j.result, "panicked: a bug")
	_, err := e.Generate(t.Context(), compile(t, e, overlapping(1)[0]))
	require.NoError(t, err)
}

// An engine may be closed while a run that nobody waits for any more is in the queue.
func TestCloseBehindACancelledRun(t *testing.T) {
	for range 20 {
		e := openTiny(t)
		letGo := hold(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		run := testRun(e, rand.New(rand.NewPCG(1, 1)), 4)
		go func() { left <- e.scheduler.forward(ctx, newJob(), []model.Run{run}, false) }()
		waitForQueue(e, 1)
		cancel()
		require.ErrorIs(t, <-left, context.Canceled)
		closed := make(chan error)
		go func() { closed <- e.Close() }()
		time.Sleep(time.Millisecond) // time to close the queue
		letGo()
		require.NoError(t, <-closed)
	}
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
