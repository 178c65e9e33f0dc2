// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

func TestConforms(t *testing.T) {
	kvtest.RunStore(t, func(tb testing.TB) kvcache.Store { return openStore(tb, tb.TempDir(), Options{Budget: 256 << 20}) })
}

func TestConformsUnlimited(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite again, without a budget")
	}
	kvtest.RunStore(t, func(tb testing.TB) kvcache.Store { return openStore(tb, tb.TempDir(), Options{}) })
}

func TestDurable(t *testing.T) {
	kvtest.RunDurable(t, func(tb testing.TB) func() kvcache.Store {
		dir := tb.TempDir()
		return func() kvcache.Store {
			s, err := Open(dir, Options{Budget: 64 << 20})
			require.NoError(tb, err)
			return s
		}
	})
}
