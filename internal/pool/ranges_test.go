// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package pool

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForNearRunsEveryIterationOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 7, 64, 1000} {
			for range 20 {
				counts := make([]atomic.Int32, n)
				p.ForNear(n, func(_, i int) { counts[i].Add(1) })
				for i := range counts {
					require.EqualValues(t, 1, counts[i].Load(), "workers %d, n %d, i %d", workers, n, i)
				}
			}
		}
		require.PanicsWithValue(t, "stop", func() {
			p.ForNear(100, func(_, i int) {
				if i == 3 {
					panic("stop")
				}
			})
		})
		var after atomic.Int32
		p.ForNear(100, func(_, _ int) { after.Add(1) })
		require.EqualValues(t, 100, after.Load(), "after a panic")
		p.Close()
	}
}

// A worker alone goes through its range, then through those of the others, each from the middle of what is left on.
func TestRangesGiveNeighbours(t *testing.T) {
	r := make(ranges, 2)
	r.deal(16)
	var order []int
	for i := r.take(0); i >= 0; i = r.take(0) {
		order = append(order, i)
	}
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 10, 11, 9, 8}, order)
	require.False(t, r.left())
}

// Takers that race never get the same iteration, and none is lost.
func TestRangesRace(t *testing.T) {
	for round := range uint64(200) {
		const workers, n = 5, 97
		r := make(ranges, workers)
		r.deal(n)
		var counts [n]atomic.Int32
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(round, uint64(w)))
				for i := r.take(w); i >= 0; i = r.take(w) {
					counts[i].Add(1)
					for range rng.IntN(50) {
						counts[i].Load()
					}
				}
			})
		}
		wg.Wait()
		for i := range counts {
			require.EqualValues(t, 1, counts[i].Load(), "iteration %d", i)
		}
	}
}
