// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestForRunsEveryIterationOnce(t *testing.T) {
	for _, workers := range []int{-1, 0, 1, 2, 3, 8, 33} {
		p := New(workers)
		for _, n := range []int{-1, 0, 1, 2, 3, 7, 64, 1000} {
			counts := make([]atomic.Int32, max(n, 0))
			p.For(n, func(_, i int) { counts[i].Add(1) })
			for i := range counts {
				require.EqualValues(t, 1, counts[i].Load(), "workers %d, n %d, i %d", workers, n, i)
			}
		}
		assert.Equal(t, max(workers, 1), p.Workers())
		p.Close()
	}
}

// exclusive fails the test when two bodies hold one slot at once.
type exclusive struct {
	slots []atomic.Int32
	bad   atomic.Int32
}

func (e *exclusive) enter(w int) {
	if e.slots[w].Add(1) != 1 {
		e.bad.Add(1)
	}
}

func (e *exclusive) leave(w int) { e.slots[w].Add(-1) }

func TestSlotsAreExclusiveWithManyCallers(t *testing.T) {
	p := New(5)
	defer p.Close()
	var wg sync.WaitGroup
	var total atomic.Int64
	for range 24 {
		wg.Go(func() {
			for r := range 60 {
				e := exclusive{slots: make([]atomic.Int32, p.Workers())}
				scratch := make([]int, p.Workers()) // written without synchronisation: the race detector watches the slots too
				p.For(1+r%17, func(w, _ int) {
					e.enter(w)
					scratch[w]++
					if r%7 == 0 {
						runtime.Gosched()
					}
					e.leave(w)
				})
				sum := 0
				for _, s := range scratch {
					sum += s
				}
				assert.Equal(t, 1+r%17, sum)
				assert.Zero(t, e.bad.Load())
				total.Add(int64(sum))
			}
		})
	}
	wg.Wait()
	want := int64(0)
	for r := range 60 {
		want += int64(1+r%17) * 24
	}
	assert.Equal(t, want, total.Load())
}

func TestNestedForDoesNotDeadlock(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		p := New(workers)
		var leaves atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					p.For(6, func(_, _ int) {
						e := exclusive{slots: make([]atomic.Int32, workers)}
						p.For(5, func(w, _ int) {
							e.enter(w)
							p.For(4, func(_, _ int) { leaves.Add(1) })
							e.leave(w)
						})
						assert.Zero(t, e.bad.Load())
					})
				})
			}
			wg.Wait()
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("nested For did not return")
		}
		assert.EqualValues(t, 4*6*5*4, leaves.Load())
		p.Close()
	}
}

// Both goroutines of a pool of two must be able to stand inside one loop at the same time.
func TestWorkersTakePart(t *testing.T) {
	p := New(3)
	defer p.Close()
	var here sync.WaitGroup
	here.Add(3)
	var seen [3]atomic.Bool
	p.For(3, func(w, _ int) {
		seen[w].Store(true)
		here.Done()
		here.Wait() // returns only when three goroutines are inside
	})
	for w := range seen {
		assert.True(t, seen[w].Load(), "slot %d", w)
	}
}

func TestPanicIsRaisedInCaller(t *testing.T) {
	p := New(3)
	defer p.Close()
	cause := errors.New("broken body")
	for round := range 50 {
		onWorker := round%2 == 0
		var after atomic.Int32
		got := func() (v any) {
			defer func() { v = recover() }()
			var barrier sync.WaitGroup
			barrier.Add(2)
			p.For(1000, func(w, i int) {
				if i < 2 { // two goroutines are inside: one of them is a worker
					barrier.Done()
					barrier.Wait()
					if (w != 0) == onWorker {
						panic(cause)
					}
				}
				after.Add(1)
			})
			return nil
		}()
		if got == nil {
			// The two first iterations both went to workers and the caller was to panic.
			require.False(t, onWorker)
			continue
		}
		require.Same(t, cause, got)
		require.Less(t, after.Load(), int32(1000))
	}
	var n atomic.Int32
	p.For(100, func(_, _ int) { n.Add(1) })
	assert.EqualValues(t, 100, n.Load(), "the pool works after panics")
}

func TestGoexitOnWorkerIsReplaced(t *testing.T) {
	p := New(2)
	defer p.Close()
	for range 20 {
		v := func() (v any) {
			defer func() { v = recover() }()
			var both sync.WaitGroup
			both.Add(2)
			p.For(2, func(w, _ int) {
				both.Done()
				both.Wait()
				if w != 0 {
					runtime.Goexit()
				}
			})
			return nil
		}()
		require.Contains(t, fmt.Sprint(v), "Goexit")
	}
}

func TestCloseStopsWorkersAndForStillRuns(t *testing.T) {
	before := runtime.NumGoroutine()
	p := New(9)
	p.For(100, func(_, _ int) {})
	p.Close()
	p.Close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
	n := 0
	p.For(50, func(w, _ int) { n++; assert.Zero(t, w) })
	assert.Equal(t, 50, n)
}

func TestDefaultIsSharedAndStaysOpen(t *testing.T) {
	assert.Same(t, Default(), Default())
	Default().Close()
	var n atomic.Int32
	Default().For(10, func(_, _ int) { n.Add(1) })
	assert.EqualValues(t, 10, n.Load())
	assert.False(t, Default().closed)
}

func TestForDoesNotAllocate(t *testing.T) {
	p := New(4)
	defer p.Close()
	var sink atomic.Int64
	body := func(_, i int) { sink.Add(int64(i)) }
	p.For(64, body)
	assert.Zero(t, testing.AllocsPerRun(200, func() { p.For(64, body) }))
}

func BenchmarkForEmptyBody(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			p := New(workers)
			defer p.Close()
			b.ReportAllocs()
			for b.Loop() {
				p.For(8, func(_, _ int) {})
			}
		})
	}
}
