// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package readpeak

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/graphkv/graphkv/internal/cpu"
)

// On every tier the loops stay within their memory (a fault would end the test)
// and the rate is above what a floppy disk gives and below what registers take.
func TestRateIsPlausible(t *testing.T) {
	for _, tier := range cpu.Tiers() {
		restore := cpu.Lower(tier)
		for _, threads := range []int{1, 2, 3} {
			rate := GBps(1<<20, threads)
			assert.Greater(t, rate, 0.1, "%v, %d threads", tier, threads)
			assert.Less(t, rate, 1000.0*float64(threads), "%v, %d threads", tier, threads)
		}
		restore()
	}
}
