// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However many kernels ask, every line of the round is read once and nothing else is.
func TestAheadHandsOutEveryLineOnce(t *testing.T) {
	const rounds, k = 3, 32
	var ws Workspace
	var stretches []Stretch
	want := map[*byte]bool{}
	for _, n := range []int{0, 1, k * nextBytes, k*nextBytes + 1, 5000} {
		all := make([]byte, rounds*(n+k*nextBytes))
		s := Stretch{First: all[:n], Apart: n + 64}
		stretches = append(stretches, s)
		for from := 0; from == 0 || from < n; from += k * nextBytes {
			want[&all[s.Apart+from]] = true
		}
	}
	var other byte
	h := &ws.call.ahead
	assert.Same(t, &other, h.take(k, &other), "nothing is named yet")
	ws.Ahead(1, stretches)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for p := h.take(k, &other); p != &other; p = h.take(k, &other) {
				mu.Lock()
				assert.True(t, want[p])
				delete(want, p)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	assert.Empty(t, want)
	ws.Ahead(0, nil)
	assert.Same(t, &other, h.take(k, &other))
}

// Reading ahead changes no bit of a product.
func TestAheadChangesNothing(t *testing.T) {
	const n, k = 100, 512
	onEveryTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		memory := make([]byte, 1<<16)
		for f := F16; int(f) < len(formats); f++ {
			w := packBlocks(f, blocks(r, f, n, k), n, k)
			for rows := 1; rows <= 9; rows++ {
				var ws Workspace
				a, want, got := normal(r, rows*k), make([]float32, rows*n), make([]float32, rows*n)
				Mul(nil, &ws, want, n, a, k, rows, w)
				ws.Ahead(1, []Stretch{{First: memory[:1<<15], Apart: 1 << 15}})
				Mul(nil, &ws, got, n, a, k, rows, w)
				require.Equal(t, bits(want), bits(got), "%v, %d rows", f, rows)
			}
		}
		require.Equal(t, make([]byte, len(memory)), memory)
	})
}
