// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package readpeak measures how fast threads can read memory, so that benchmarks can state a kernel's speed as a fraction of what the
// machine gives at that moment.
package readpeak

import (
	"sync"
	"time"
	"unsafe"

	"github.com/graphkv/graphkv/internal/cpu"
)

const (
	streams = 4   // places that one thread reads from in turn
	turn    = 128 // bytes from each; the generator knows the same numbers
	atLeast = 20 * time.Millisecond
)

// GBps returns the best rate of several runs, in 10⁹ bytes per second, at which threads together read bytes of memory over and over, each
// its own share. Small sizes stay in a cache, and this is then the cache's rate.
func GBps(bytes, threads int) float64 {
	share := max(bytes/threads/(streams*turn), 1) * streams * turn
	data := make([]byte, share*threads+64)
	for i := range data { // backs every page with memory of its own
		data[i] = 1
	}
	at := int(-uintptr(unsafe.Pointer(&data[0])) & 63)
	read := loopFor(cpu.Current())
	passes, best := 1, 0.0
	for runs := 0; runs < 5; {
		start := time.Now()
		var wg sync.WaitGroup
		for t := range threads {
			wg.Go(func() {
				for range passes {
					read(data[at+t*share:][:share])
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		if took < atLeast { // short of what a clock and a start of goroutines need
			passes *= 2
			continue
		}
		best = max(best, float64(share)*float64(threads)*float64(passes)/float64(took.Nanoseconds()))
		runs++
	}
	return best
}

// readPortable reads whole words. It returns a number that needs all of them, so that none can be left out.
//
//go:noinline
func readPortable(b []byte) uint64 {
	words := unsafe.Slice((*[8]uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/64)
	var x, y, z, w uint64
	for i := range words {
		l := &words[i]
		x, y, z, w = x^l[0]^l[4], y^l[1]^l[5], z^l[2]^l[6], w^l[3]^l[7]
	}
	return x ^ y ^ z ^ w
}
