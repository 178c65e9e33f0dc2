// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache_test

import (
	"testing"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

func TestMemoryConforms(t *testing.T) {
	kvtest.Run(t, func(_ testing.TB, budget int64) kvtest.FlightStore { return kvcache.NewMemory(budget) })
	kvtest.RunStore(t, func(testing.TB) kvcache.Store { return kvcache.NewMemory(256 << 20) })
}
