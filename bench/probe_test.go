// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"

	"github.com/graphkv/graphkv/internal/cpu"
)

// BenchmarkFMA is the roof of everything that computes, on each tier.
func BenchmarkFMA(b *testing.B) {
	for _, tier := range cpu.Tiers() {
		if tier == cpu.Portable {
			continue
		}
		for _, threads := range Threads() {
			b.Run(fmt.Sprintf("tier=%v/threads=%d", tier, threads), func(b *testing.B) {
				best := 0.0
				for b.Loop() {
					best = max(best, FMAPeakOf(tier, threads))
				}
				b.ReportMetric(best, "GFLOP/s")
			})
		}
	}
}

// BenchmarkRead is the roof of everything that streams.
func BenchmarkRead(b *testing.B) {
	for _, size := range []struct {
		name string
		kib  int
	}{{"L1", 24}, {"L2", 768}, {"L3", 12 << 10}, {"DRAM", 1 << 20}} {
		for _, threads := range Threads() {
			b.Run(fmt.Sprintf("size=%s/threads=%d", size.name, threads), func(b *testing.B) {
				best := 0.0
				for b.Loop() {
					best = max(best, ReadBandwidth(size.kib<<10, threads))
				}
				b.ReportMetric(best, "GB/s")
			})
		}
	}
}
