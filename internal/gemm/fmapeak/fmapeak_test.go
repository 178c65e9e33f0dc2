// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package fmapeak

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/graphkv/graphkv/internal/cpu"
)

func TestRateIsPlausible(t *testing.T) {
	for _, tier := range cpu.Tiers() {
		rate := GFLOPS(tier)
		if tier == cpu.Portable {
			assert.Zero(t, rate)
			continue
		}
		// Above a tenth of one FMA per cycle at 1 GHz, below three units of 16 lanes at 7 GHz.
		assert.Greater(t, rate, 1.6, tier)
		assert.Less(t, rate, 700.0, tier)
	}
}
