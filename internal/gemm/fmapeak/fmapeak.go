// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package fmapeak measures how fast one thread can do fused multiply-adds, so that benchmarks can state a kernel's speed as a fraction of
// what the machine gives at that moment. Only benchmarks import it.
package fmapeak

import (
	"time"

	"github.com/graphkv/graphkv/internal/cpu"
)

// chains is how many independent FMAs one turn of a loop has; the generator knows the same number.
const chains = 12

// GFLOPS returns the best rate of several short runs, in 10⁹ operations per second with two operations per FMA, or 0 for a tier without
// assembly.
func GFLOPS(t cpu.Tier) float64 {
	loop, lanes := loopFor(t)
	if loop == nil {
		return 0
	}
	const turns = 200_000
	best := 0.0
	for range 8 {
		start := time.Now()
		loop(turns)
		best = max(best, 2*turns*chains*float64(lanes)/float64(time.Since(start).Nanoseconds()))
	}
	return best
}
