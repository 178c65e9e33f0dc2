// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// BenchmarkRepair compares the time to the first token of a question over ten passages that were encoded before, each alone,
// and come in an order in which they have not been seen: encoding all of them anew, each after those before it; repairing
// 15 % or the first 16 tokens of each; and taking them as they are.
func BenchmarkRepair(b *testing.B) {
	e := engine(b, NewSpec(1), runtime.GOMAXPROCS(0))
	_, err := e.TTFT(graphkv.Block, SameOrder)
	require.NoError(b, err)
	strategies := []graphkv.Strategy{graphkv.Sequential, graphkv.CacheBlend, graphkv.EPIC, graphkv.Block}
	times := make([][]time.Duration, len(strategies))
	for b.Loop() {
		for i, s := range strategies {
			d, err := e.TTFT(s, NewOrder)
			require.NoError(b, err)
			times[i] = append(times[i], d)
		}
	}
	median := func(i int) float64 {
		slices.Sort(times[i])
		return times[i][len(times[i])/2].Seconds()
	}
	full := median(0)
	for i, s := range strategies {
		b.ReportMetric(1000*median(i), string(s)+"-ms")
		if i > 0 {
			b.ReportMetric(median(i)/full, string(s)+"/full")
		}
	}
}
