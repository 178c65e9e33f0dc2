// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// Random operations by two stores on one folder against what is allowed: a hit has what was put last or, where another store has not looked
// since, something that was put under the key before; what was damaged is never served; the gauges are right; with room for all, what a store
// put is there.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		defer os.RemoveAll(dir)
		const keys = 5
		budget := int64(rapid.SampledFrom([]int{0, 3, 6, 100}).Draw(rt, "blocks")) * blockSize
		stores := make([]*Store, 2)
		reopen := func(i int) {
			if stores[i] != nil {
				require.NoError(rt, stores[i].Close())
			}
			s, err := Open(dir, Options{Budget: budget})
			require.NoError(rt, err)
			stores[i] = s
		}
		reopen(0)
		reopen(1)
		makeVersion := func(v uint64) *kvcache.KV {
			kv := kvtest.NewKV(shape, int(v%50), v)
			kv.SetInfo(kvcache.Info{Model: [32]byte{byte(v), byte(v >> 8)}})
			return kv
		}
		check := func(h *kvcache.Handle, v uint64) { kvtest.CheckKV(t, h.KV(), shape, int(v%50), v) }
		type held struct {
			h       *kvcache.Handle
			version uint64
		}
		var handles []held
		defer func() {
			for _, s := range stores {
				require.NoError(rt, s.Close())
			}
			for _, x := range handles {
				check(x.h, x.version)
				x.h.Release()
			}
			for _, s := range stores {
				m := s.Metrics()
				require.Zero(rt, m.Handles+m.PinnedEntries+m.OrphanedEntries+m.Entries)
				require.Zero(rt, m.PinnedBytes+m.OrphanedBytes+m.Bytes)
			}
		}()
		exists := make([]bool, keys) // unless evicted
		unsure := make([]bool, keys) // damaged, and perhaps mapped by one of them
		next := uint64(keys)
		matches := func(k int, h *kvcache.Handle) (version uint64) {
			model := h.KV().Info().Model
			v := uint64(model[0]) | uint64(model[1])<<8
			require.True(rt, v < next && v%keys == uint64(k), "key %d: version %d was never put", k, v)
			check(h, v)
			return v
		}
		key := rapid.IntRange(0, keys-1)
		which := rapid.IntRange(0, 1)
		get := func(rt *rapid.T) {
			i, k := which.Draw(rt, "store"), key.Draw(rt, "key")
			h, err := stores[i].Get(ctx, keyOf(uint64(k)))
			var ce *kvcache.CorruptError
			switch {
			case err == nil:
				handles = append(handles, held{h, matches(k, h)})
			case errors.As(err, &ce):
				require.True(rt, unsure[k], "damaged, but nobody did it")
				exists[k] = false
			default:
				require.ErrorIs(rt, err, kvcache.ErrNotFound)
				require.True(rt, budget != 0 || !exists[k] || unsure[k], "key %d is lost", k)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"get":   get,
			"get 2": get,
			"put": func(rt *rapid.T) {
				i, k := which.Draw(rt, "store"), key.Draw(rt, "key")
				v := next - next%keys + uint64(k)
				if v < next {
					v += keys
				}
				next = v + 1
				require.NoError(rt, stores[i].Put(ctx, keyOf(uint64(k)), makeVersion(v)))
				exists[k], unsure[k] = true, false
				if h, err := stores[i].Get(ctx, keyOf(uint64(k))); err == nil {
					require.Equal(rt, v, matches(k, h), "the store that put it has the last")
					h.Release()
				} else {
					require.NotZero(rt, budget)
				}
			},
			"delete": func(rt *rapid.T) {
				i, k := which.Draw(rt, "store"), key.Draw(rt, "key")
				require.NoError(rt, stores[i].Delete(ctx, keyOf(uint64(k))))
				exists[k] = false
				_, err := stores[i].Get(ctx, keyOf(uint64(k)))
				require.ErrorIs(rt, err, kvcache.ErrNotFound)
			},
			"release": func(rt *rapid.T) {
				if len(handles) > 0 {
					n := rapid.IntRange(0, len(handles)-1).Draw(rt, "handle")
					check(handles[n].h, handles[n].version)
					handles[n].h.Release()
					handles = append(handles[:n], handles[n+1:]...)
				}
			},
			"reopen": func(rt *rapid.T) { reopen(which.Draw(rt, "store")) },
			"rescan": func(rt *rapid.T) {
				i := which.Draw(rt, "store")
				require.NoError(rt, stores[i].Rescan(ctx))
				require.Equal(rt, len(files(rt, dir, isEntry)), stores[i].Metrics().Entries)
			},
			"damage": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				path := stores[0].path(keyOf(uint64(k)))
				b, err := os.ReadFile(path)
				if err != nil {
					return
				}
				at := rapid.IntRange(0, 8*len(b)-1).Draw(rt, "bit")
				b[at/8] ^= 1 << (at % 8)
				temp := filepath.Join(dir, "damaged") // a new file: mappings keep the old one
				require.NoError(rt, os.WriteFile(temp, b, 0o600))
				require.NoError(rt, os.Rename(temp, path))
				unsure[k] = true
			},
			"": func(rt *rapid.T) {
				for _, s := range stores {
					checkMetrics(rt, s)
					m := s.Metrics()
					require.True(rt, m.Budget == 0 || m.Bytes <= m.Budget || m.PinnedBytes > 0)
				}
			},
		})
	})
}
