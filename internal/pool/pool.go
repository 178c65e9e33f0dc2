// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package pool runs the bodies of parallel loops on persistent workers.
//
// A decode step of a small model is several hundred short loops; starting goroutines for each would cost more than the loops. Workers
// therefore live as long as the pool and loops are handed to them through a list of open loops. Iterations are taken from an atomic
// counter, one at a time, so uneven bodies balance themselves; a loop should have a few times more iterations than workers, each worth
// some microseconds.
//
// The goroutine that calls For always takes part in its own loop and never waits for a worker to become free: it waits only for workers
// that are inside one of its iterations. Hence a For inside a body, or many goroutines calling For at once, cannot deadlock; when every
// worker is busy a loop simply runs on its caller.
//
// ForNear is For for bodies that read memory in the order of their iterations: each worker then goes through a stretch of it.
package pool

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool is a fixed set of workers. Create it with New; a Pool is safe for concurrent use.
type Pool struct {
	workers int
	shared  bool // the pool of Default: Close has no effect

	begun atomic.Uint32 // counts the calls of For: workers watch it for a while before they sleep

	mu     sync.Mutex
	wake   sync.Cond // idle workers sleep here
	idle   int       // workers asleep
	loops  []*loop   // loops that may still have iterations to hand out, oldest first
	free   []*loop   // finished loops, kept to make For free of allocations
	closed bool
	exited sync.WaitGroup
}

// loop is one call of For. Workers join and leave under Pool.mu, so once the caller has taken the loop off the list and seen that nobody
// is left in it, no one else holds it and it can be reused.
type loop struct {
	next    atomic.Int64 // next iteration to hand out
	_       [56]byte     // keeps the counter, which every worker writes, away from the fields that they read
	n       int64
	near    bool
	ranges  ranges // of a near loop, in place of next
	body    func(worker, i int)
	joined  int       // workers inside; under Pool.mu
	left    sync.Cond // signalled when joined falls to 0
	inside  atomic.Int32
	failed  bool // a worker's body panicked; under Pool.mu
	failure any  // the value of the first such panic
}

// New starts a pool that runs loops on up to workers goroutines: workers−1 of its own and the caller of For. workers below 1 counts as 1.
func New(workers int) *Pool {
	p := &Pool{workers: max(workers, 1)}
	p.wake.L = &p.mu
	p.exited.Add(p.workers - 1)
	for w := 1; w < p.workers; w++ {
		go p.work(w)
	}
	return p
}

var defaultPool = sync.OnceValue(func() *Pool {
	p := New(runtime.GOMAXPROCS(0))
	p.shared = true
	return p
})

// Default returns the pool shared by the process. It has as many workers as GOMAXPROCS was at the first call and is never closed.
func Default() *Pool { return defaultPool() }

// Workers returns how many goroutines can run bodies of one For at once. Slot indices passed to a body are below it.
func (p *Pool) Workers() int { return p.workers }

// Close stops the workers and waits for those that are inside a body. Loops that are running finish on their callers, and a later For
// runs on its caller alone. Close must not be called from a body. Closing the pool of Default has no effect.
func (p *Pool) Close() {
	if p.shared {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.exited.Wait()
}

// For calls body(worker, i) for every i in [0, n) and returns when all calls have returned. The order is unspecified. worker is the slot
// of the goroutine that makes the call: 0 for the caller of For, a fixed number in [1, Workers()) for a worker. Calls that run at the
// same time within one For never have the same slot, so a slot may index scratch memory; two loops that run at once do share slots.
//
// If a body panics, iterations not yet begun are dropped and, once running ones have returned, the panic continues in the caller with
// the same value.
func (p *Pool) For(n int, body func(worker, i int)) { p.run(n, false, body) }

// ForNear is For with neighbouring iterations given to the same worker, one after the other, as far as all workers keep pace. It is for bodies
// of about the same length that read memory next to each other: what one of them brings into a core's cache ahead of its work, the next
// one finds there. n must be below 2³².
func (p *Pool) ForNear(n int, body func(worker, i int)) { p.run(n, true, body) }

func (p *Pool) run(n int, near bool, body func(worker, i int)) {
	if n <= 0 {
		return
	}
	if n == 1 || p.workers == 1 {
		for i := range n {
			body(0, i)
		}
		return
	}
	l := p.begin(n, near, body)
	defer p.end(l) // also when body panics or ends the goroutine: workers may still be inside
	l.work(0)
}

// work runs iterations as worker w until there are none.
func (l *loop) work(w int) {
	for i := l.take(w); i >= 0; i = l.take(w) {
		l.body(w, i)
	}
}

// take returns an iteration for worker w, −1 if there are none.
func (l *loop) take(w int) int {
	if l.near {
		return l.ranges.take(w)
	}
	if i := l.next.Add(1) - 1; i < l.n {
		return int(i)
	}
	return -1
}

// open reports whether there are iterations to hand out.
func (l *loop) open() bool {
	if l.near {
		return l.ranges.left()
	}
	return l.next.Load() < l.n
}

// drop keeps further iterations from being handed out.
func (l *loop) drop() {
	l.next.Store(l.n)
	l.ranges.drop()
}

func (p *Pool) begin(n int, near bool, body func(worker, i int)) *loop {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l *loop
	if k := len(p.free); k > 0 {
		l = p.free[k-1]
		p.free = p.free[:k-1]
	} else {
		l = new(loop)
		l.left.L = &p.mu
	}
	l.n, l.near, l.body = int64(n), near, body
	l.next.Store(0)
	if near {
		if l.ranges == nil {
			l.ranges = make(ranges, p.workers)
		}
		l.ranges.deal(n)
	}
	p.loops = append(p.loops, l)
	p.begun.Add(1)
	for range min(p.idle, n-1) {
		p.wake.Signal()
	}
	return l
}

// end closes the loop to workers, waits for those inside, and raises a worker's panic.
func (p *Pool) end(l *loop) {
	l.drop() // no effect after a normal end; drops the rest when the caller's own body panicked
	p.mu.Lock()
	for i, o := range p.loops {
		if o == l {
			p.loops = append(p.loops[:i], p.loops[i+1:]...)
			break
		}
	}
	if l.joined > 0 {
		// The others are in their last iterations: look for a moment before sleeping.
		p.mu.Unlock()
		for i := 0; i < spins && l.inside.Load() > 0; i++ {
			pause(i)
		}
		p.mu.Lock()
		for l.joined > 0 {
			l.left.Wait()
		}
	}
	failed, failure := l.failed, l.failure
	l.body, l.failed, l.failure = nil, false, nil
	p.free = append(p.free, l)
	p.mu.Unlock()
	if failed {
		panic(failure)
	}
}

// work is the life of worker number w.
func (p *Pool) work(w int) {
	replaced := false
	defer func() {
		if !replaced {
			p.exited.Done()
		}
	}()
	for {
		l := p.join()
		if l == nil {
			return
		}
		func() {
			done := false
			defer func() {
				var v any
				if !done {
					if v = recover(); v == nil { // runtime.Goexit: this goroutine is ending, another takes its number
						v = "pool: body called runtime.Goexit on a worker"
						replaced = true
						defer func() { go p.work(w) }()
					}
				}
				p.leave(l, !done, v)
			}()
			l.work(w)
			done = true
		}()
	}
}

// join waits for a loop with iterations to hand out and enters it. It returns nil when the pool is closed.
func (p *Pool) join() *loop {
	p.mu.Lock()
	defer p.mu.Unlock()
	for looked := false; ; {
		if p.closed {
			return nil
		}
		for _, l := range p.loops {
			if l.open() {
				l.joined++
				l.inside.Add(1)
				return l
			}
		}
		if !looked {
			looked = true
			seen := p.begun.Load()
			p.mu.Unlock()
			for i := 0; i < spins && p.begun.Load() == seen; i++ {
				pause(i)
			}
			p.mu.Lock()
			continue
		}
		p.idle++
		p.wake.Wait()
		p.idle--
	}
}

func (p *Pool) leave(l *loop, failed bool, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed {
		l.drop()
		if !l.failed {
			l.failed, l.failure = true, v
		}
	}
	l.joined--
	l.inside.Add(-1)
	if l.joined == 0 {
		l.left.Signal()
	}
}

// spins bounds how long a goroutine looks before it sleeps: some tens of microseconds, a few times what waking a sleeping thread costs.
// The loops of a decode step follow each other within that time, and its products of one row are over sooner than a sleeper is up.
const spins = 4096

// pause passes a moment between two looks and now and then lets other goroutines run.
func pause(i int) {
	if i%8 == 7 {
		runtime.Gosched()
	}
}
