// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

var (
	ctx   = context.Background()
	shape = kvcache.Shape{Layers: 2, KVHeads: 2, HeadDim: 4}
	scope = kvcache.NewScope(kvcache.ScopeConfig{Namespace: "disk"})
)

func keyOf(seed uint64) kvcache.Key { return scope.Key([]int32{int32(seed)}, nil) }

// Each test KV has its own length, so that a mix-up shows in the shape as well.
func tokensOf(seed uint64) int { return 1 + int(seed%40) }

func makeKV(seed uint64) *kvcache.KV {
	kv := kvtest.NewKV(shape, tokensOf(seed), seed)
	kv.SetInfo(infoOf(seed))
	return kv
}

func infoOf(seed uint64) kvcache.Info {
	return kvcache.Info{Model: [32]byte{byte(seed % 3)}, Scope: scope.ID(), Cost: float64(seed%5) / 4}
}

func checkHandle(tb testing.TB, h *kvcache.Handle, seed uint64) {
	tb.Helper()
	kvtest.CheckKV(tb, h.KV(), shape, tokensOf(seed), seed)
	require.Equal(tb, infoOf(seed), h.KV().Info())
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
}

func openStore(tb testing.TB, dir string, opt Options) *Store {
	tb.Helper()
	s, err := Open(dir, opt)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, s.Close())
		checkMetrics(tb, s)
		require.Zero(tb, s.Metrics().Handles, "handles not released")
	})
	return s
}

func put(tb testing.TB, s *Store, seeds ...uint64) {
	tb.Helper()
	for _, seed := range seeds {
		require.NoError(tb, s.Put(ctx, keyOf(seed), makeKV(seed)))
	}
}

// has gets a KV, checks it and reports whether it was there.
func has(tb testing.TB, s *Store, seed uint64) bool {
	tb.Helper()
	h, err := s.Get(ctx, keyOf(seed))
	if err != nil {
		require.ErrorIs(tb, err, kvcache.ErrNotFound)
		return false
	}
	checkHandle(tb, h, seed)
	h.Release()
	return true
}

// checkMetrics recomputes the gauges from the index.
func checkMetrics(tb tester, s *Store) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries int
	var bytes int64
	for i := range s.folders {
		for k, e := range s.folders[i].index {
			require.Equal(tb, k, e.key)
			require.True(tb, e.view == nil || e.view.e == e)
			entries++
			bytes += e.bytes
		}
	}
	require.Equal(tb, entries, s.m.Entries)
	require.Equal(tb, bytes, s.m.Bytes)
	require.Equal(tb, entries, s.policy.Len())
	require.Equal(tb, s.m.Handles == 0, s.m.PinnedEntries == 0)
	require.Equal(tb, s.m.PinnedEntries == 0, s.m.PinnedBytes == 0)
	require.Equal(tb, s.m.OrphanedEntries == 0, s.m.OrphanedBytes == 0)
	require.True(tb, s.m.Handles >= s.m.PinnedEntries && s.m.PinnedEntries >= s.m.OrphanedEntries && s.m.OrphanedEntries >= 0, "%+v", s.m)
	require.Zero(tb, s.reserved)
}

// files returns the names below dir for which match says yes.
func files(tb tester, dir string, match func(name string) bool) (paths []string) {
	tb.Helper()
	require.NoError(tb, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && match(d.Name()) {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func isTemp(name string) bool  { return strings.HasPrefix(name, "tmp-") }
func isEntry(name string) bool { return strings.HasSuffix(name, ".kv") }

// The file is what the package comment says, read here by offsets written out by hand.
func TestFileFormat(t *testing.T) {
	for _, format := range attention.Formats() {
		for _, shape := range []kvcache.Shape{
			{Layers: 1, KVHeads: 1, HeadDim: 1, Format: format},
			{Layers: 3, KVHeads: 2, HeadDim: 5, Format: format},
			{Layers: 40, KVHeads: 1, HeadDim: 8, Format: format},
		} {
			for _, tokens := range []int{0, 1, 16, 33} {
				dir := t.TempDir()
				s := openStore(t, dir, Options{})
				kv := kvtest.NewKV(shape, tokens, 1)
				kv.SetInfo(kvcache.Info{Model: [32]byte{1, 2}, Scope: [32]byte{3, 4}, Cost: 0.75})
				k := keyOf(99)
				require.NoError(t, s.Put(ctx, k, kv))

				b, err := os.ReadFile(filepath.Join(dir, "v1", k.String()[:2], k.String()+".kv"))
				require.NoError(t, err)
				le := binary.LittleEndian
				require.Equal(t, "\x89GKV\r\n\x1a\n", string(b[:8]))
				require.EqualValues(t, 1, le.Uint32(b[8:]))
				h := int(le.Uint32(b[12:]))
				require.Zero(t, h%64)
				require.True(t, h >= 156+4*shape.Layers && h < 156+4*shape.Layers+64)
				require.Equal(t, k[:], b[16:48])
				require.Equal(t, append([]byte{1, 2}, make([]byte, 30)...), b[48:80])
				require.Equal(t, append([]byte{3, 4}, make([]byte, 30)...), b[80:112])
				require.Equal(t, 0.75, math.Float64frombits(le.Uint64(b[112:])))
				require.EqualValues(t, shape.Layers, le.Uint32(b[120:]))
				require.EqualValues(t, shape.KVHeads, le.Uint32(b[124:]))
				require.EqualValues(t, shape.HeadDim, le.Uint32(b[128:]))
				require.EqualValues(t, shape.Format, le.Uint32(b[132:]))
				require.EqualValues(t, tokens, le.Uint64(b[136:]))
				layer := int(le.Uint64(b[144:]))
				require.Zero(t, layer%64)
				require.Len(t, b, h+layer*shape.Layers)
				table := crc32.MakeTable(0x82f63b78) // Castagnoli
				for l := range shape.Layers {
					require.Equal(t, crc32.Checksum(b[h+l*layer:h+(l+1)*layer], table), le.Uint32(b[152+4*l:]))
				}
				require.Equal(t, make([]byte, h-4-152-4*shape.Layers), b[152+4*shape.Layers:h-4])
				require.Equal(t, crc32.Checksum(b[:h-4], table), le.Uint32(b[h-4:]))
				require.True(t, bytes.Equal(kv.Data(), b[h:]))

				got, err := s.Get(ctx, k)
				require.NoError(t, err)
				require.Equal(t, shape, got.KV().Shape())
				require.Equal(t, tokens, got.KV().Tokens())
				require.True(t, bytes.Equal(kv.Data(), got.KV().Data()))
				require.Equal(t, kv.Info(), got.KV().Info())
				for l := range shape.Layers {
					if layer > 0 {
						require.Zero(t, uintptr(unsafe.Pointer(&got.KV().Data()[l*layer]))%64)
					}
				}
				got.Release()
			}
		}
	}
}

func TestPutGetDelete(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{Budget: 1 << 20})
	require.False(t, has(t, s, 1))
	require.NoError(t, s.Delete(ctx, keyOf(1)))
	put(t, s, 1, 2, 3)
	for seed := uint64(1); seed <= 3; seed++ {
		require.True(t, has(t, s, seed))
		require.True(t, has(t, s, seed))
	}
	held, err := s.Get(ctx, keyOf(2))
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, keyOf(2)))
	require.False(t, has(t, s, 2))
	checkHandle(t, held, 2)
	put(t, s, 2)
	require.NoError(t, s.Put(ctx, keyOf(2), makeKV(7))) // replaced by something else
	h, err := s.Get(ctx, keyOf(2))
	require.NoError(t, err)
	checkHandle(t, h, 7)
	h.Release()
	checkHandle(t, held, 2)
	m := s.Metrics()
	require.EqualValues(t, 1, m.OrphanedEntries)
	require.EqualValues(t, []uint64{5, 1, 1, 8, 2}, []uint64{m.Puts, m.Replaced, m.Deletes, m.Hits, m.Misses})
	require.Equal(t, 3, m.Entries)
	held.Release()
	held.Release() // does nothing
	checkMetrics(t, s)

	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = s.Get(ctx, keyOf(1))
	require.ErrorIs(t, err, kvcache.ErrClosed)
	require.ErrorIs(t, s.Put(ctx, keyOf(1), makeKV(1)), kvcache.ErrClosed)
	require.ErrorIs(t, s.Delete(ctx, keyOf(1)), kvcache.ErrClosed)
	require.ErrorIs(t, s.Rescan(ctx), kvcache.ErrClosed)

	s = openStore(t, dir, Options{Budget: 1 << 20})
	require.Equal(t, 3, s.Metrics().Entries)
	require.True(t, has(t, s, 1))
	require.True(t, has(t, s, 3))
	require.Empty(t, files(t, dir, isTemp))
}

// Two Gets of one entry give the same memory, and the second verifies nothing.
func TestWarmHitIsTheMapping(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 1)
	address := func() *byte {
		h, err := s.Get(ctx, keyOf(1))
		require.NoError(t, err)
		defer h.Release()
		return unsafe.SliceData(h.KV().Data())
	}
	first := address()
	require.NoError(t, os.Remove(s.path(keyOf(1)))) // nothing is opened again
	require.Same(t, first, address())
	if raceEnabled { // the detector's bookkeeping allocates
		return
	}
	allocs := testing.AllocsPerRun(100, func() { address() })
	require.LessOrEqual(t, allocs, 3.0, "a handle and its release")
}

func TestHandlesOutliveClose(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 5)
	h, err := s.Get(ctx, keyOf(5))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	checkHandle(t, h, 5)
	h.Release()
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	put(t, s, 1)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Get(ended, keyOf(1))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Put(ended, keyOf(2), makeKV(2)), context.Canceled)
	require.ErrorIs(t, s.Delete(ended, keyOf(1)), context.Canceled)
	require.Zero(t, s.Metrics().Failures)
	require.True(t, has(t, s, 1))
	require.False(t, has(t, s, 2))
	require.Empty(t, files(t, dir, isTemp))
}

func TestOpenRefuses(t *testing.T) {
	_, err := Open(t.TempDir(), Options{Budget: -1})
	require.EqualError(t, err, "disk: a budget of -1 bytes")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Open(file, Options{})
	require.ErrorContains(t, err, "disk: ")
}

func TestTooManyLayers(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	kv := kvcache.NewKV(kvcache.Shape{Layers: maxLayers + 1, KVHeads: 1, HeadDim: 1}, 0)
	require.EqualError(t, s.Put(ctx, keyOf(1), kv), "disk: a KV of 65537 layers, a file holds at most 65536")
	kv = kvcache.NewKV(kvcache.Shape{Layers: maxLayers, KVHeads: 1, HeadDim: 1}, 1) // its header is longer than the first read
	require.NoError(t, s.Put(ctx, keyOf(1), kv))
	h, err := s.Get(ctx, keyOf(1))
	require.NoError(t, err)
	require.Equal(t, kv.Data(), h.KV().Data())
	h.Release()
}

func TestConcurrent(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Budget: 12 * 8192})
	const keys = 16
	var wg sync.WaitGroup
	for g := range uint64(6) {
		wg.Go(func() {
			x := g*2654435761 + 1
			for range 80 {
				x = x*6364136223846793005 + 1442695040888963407
				seed := x >> 33 % keys
				switch x >> 50 % 5 {
				case 0, 1:
					if err := s.Put(ctx, keyOf(seed), makeKV(seed)); err != nil {
						t.Errorf("Put: %v", err)
					}
				case 2:
					if err := s.Delete(ctx, keyOf(seed)); err != nil {
						t.Errorf("Delete: %v", err)
					}
				default:
					if h, err := s.Get(ctx, keyOf(seed)); err == nil {
						kvtest.CheckKV(t, h.KV(), shape, tokensOf(seed), seed)
						h.Release()
					} else if err != kvcache.ErrNotFound {
						t.Errorf("Get: %v", err)
					}
				}
				if m := s.Metrics(); m.Bytes > m.Budget {
					t.Errorf("%d bytes exceed the budget of %d", m.Bytes, m.Budget)
				}
			}
		})
	}
	wg.Wait()
	checkMetrics(t, s)
	m := s.Metrics()
	require.Equal(t, m.Puts, uint64(m.Entries)+m.Replaced+m.Deletes+m.Evictions+m.Rejected, "%+v", m)
	require.Zero(t, m.Corrupt+m.Failures)
	require.Equal(t, m.Entries, len(files(t, s.root, isEntry)))
}

func ExampleStore() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	store, err := Open(dir, Options{Budget: 1 << 30})
	if err != nil {
		panic(err)
	}
	kv := kvcache.NewKV(kvcache.Shape{Layers: 2, KVHeads: 1, HeadDim: 8}, 100)
	kv.SetInfo(kvcache.Info{Cost: 0.25})
	k := scope.Key([]int32{1, 2, 3}, nil)
	if err := store.Put(context.Background(), k, kv); err != nil {
		panic(err)
	}
	store.Close()

	store, _ = Open(dir, Options{Budget: 1 << 30}) // another process, another day
	defer store.Close()
	h, err := store.Get(context.Background(), k)
	if err != nil {
		panic(err)
	}
	defer h.Release()
	fmt.Println(h.KV().Tokens(), "tokens cost", h.KV().Info().Cost, "seconds")
	// Output: 100 tokens cost 0.25 seconds
}
