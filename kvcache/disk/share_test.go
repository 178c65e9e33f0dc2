// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
)

// Two stores on one folder are to each other as two processes are: locks belong to open files.

func TestFoundAndLostByOthers(t *testing.T) {
	dir := t.TempDir()
	a, b := openStore(t, dir, Options{Budget: 1 << 20}), openStore(t, dir, Options{Budget: 1 << 20})
	put(t, a, 1, 2, 3)
	require.Zero(t, b.Metrics().Entries)
	require.True(t, has(t, b, 1), "a miss in the index looks for the file")
	require.Equal(t, 1, b.Metrics().Entries)
	require.NoError(t, b.Rescan(ctx))
	require.Equal(t, 3, b.Metrics().Entries)
	require.Equal(t, a.Metrics().Bytes, b.Metrics().Bytes)

	for seed := uint64(1); seed <= 3; seed++ {
		require.NoError(t, a.Delete(ctx, keyOf(seed)))
	}
	require.False(t, has(t, b, 2), "it was not mapped")
	require.True(t, has(t, b, 1), "it is mapped, and equal keys mean equal KVs")
	require.NoError(t, b.Rescan(ctx))
	require.False(t, has(t, b, 1))
	require.Zero(t, b.Metrics().Entries)
	checkMetrics(t, a)
	checkMetrics(t, b)

	// Replaced by another: noticed by the size.
	put(t, a, 1)
	require.True(t, has(t, b, 1))
	long := kvtest.NewKV(shape, 200, 3)
	require.NoError(t, a.Put(ctx, keyOf(1), long))
	require.NoError(t, b.Rescan(ctx))
	h, err := b.Get(ctx, keyOf(1))
	require.NoError(t, err)
	kvtest.CheckKV(t, h.KV(), shape, 200, 3)
	h.Release()
	require.Equal(t, a.Metrics().Bytes, b.Metrics().Bytes)
}

// What another process uses is not evicted as if nobody did.
func TestUsesOfOthersCount(t *testing.T) {
	dir, o := t.TempDir(), Options{Budget: 4 * blockSize}
	a, b := openStore(t, dir, o), openStore(t, dir, o)
	put(t, a, 5, 10, 15, 20) // of which none has a cost
	require.True(t, has(t, b, 5))
	put(t, a, 25)
	require.True(t, has(t, a, 5), "b has used it last")
	require.False(t, has(t, a, 10))
}

// What those write that are gone or dead is removed, what others are writing is not.
func TestTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	a := openStore(t, dir, Options{})
	put(t, a, 1)
	folder := a.folderOf(keyOf(1)).path
	temp := func(owner string) string { return filepath.Join(folder, "tmp-"+owner+"-7") }
	for _, owner := range []string{a.owner, "123-DEAD", "124-UNSWEPT"} {
		require.NoError(t, os.WriteFile(temp(owner), []byte("half"), 0o600))
	}
	require.NoError(t, os.WriteFile(a.livePath("124-UNSWEPT"), nil, 0o600)) // it was killed
	b := openStore(t, dir, Options{})
	require.FileExists(t, temp(a.owner))
	require.NoFileExists(t, temp("123-DEAD"))
	require.NoFileExists(t, temp("124-UNSWEPT"))
	require.NoFileExists(t, a.livePath("124-UNSWEPT"))
	require.FileExists(t, a.livePath(a.owner))
	require.NoError(t, a.Close())
	require.NoFileExists(t, a.livePath(a.owner))
	require.NoError(t, b.Rescan(ctx))
	require.NoFileExists(t, temp(a.owner))
}

// Several that fill one folder exceed the budget by no more than is promised.
func TestSharedBudget(t *testing.T) {
	dir := t.TempDir()
	const budget, stores, each = 64 * blockSize, 4, 60
	var wg sync.WaitGroup
	limit := int64(budget + (stores-1)*max(budget/rescanShare, blockSize))
	usage := func() (bytes int64) {
		paths, err := filepath.Glob(filepath.Join(dir, "v1", "[0-9a-f][0-9a-f]", "*"))
		require.NoError(t, err)
		return int64(len(paths)) * blockSize // each takes one
	}
	for g := range uint64(stores) {
		s := openStore(t, dir, Options{Budget: budget})
		wg.Go(func() {
			for i := range uint64(each) {
				if err := s.Put(ctx, keyOf(g*1000+i), makeKV(1)); err != nil {
					t.Errorf("Put: %v", err)
				}
				if n := usage(); n > limit {
					t.Errorf("%d bytes, want at most %d", n, limit)
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, usage(), int64(budget)*8/10)
}

// A process that came, wrote and went is noticed as well.
func TestBudgetAfterAGuest(t *testing.T) {
	dir := t.TempDir()
	const budget = 64 * blockSize
	s := openStore(t, dir, Options{Budget: budget})
	put(t, s, 1)
	guest := openStore(t, dir, Options{})
	for seed := uint64(100); seed < 160; seed++ {
		put(t, guest, seed)
	}
	require.NoError(t, guest.Close())
	for seed := uint64(10); seed < 40; seed++ {
		put(t, s, seed)
	}
	require.LessOrEqual(t, len(files(t, s.root, isEntry)), 64)
	require.Equal(t, len(files(t, s.root, isEntry)), s.Metrics().Entries)
}

// Somebody removes the whole folder under a running store. What was mapped is served, what was not is a miss, and Put goes on.
func TestFolderVanishes(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{Budget: 4 * blockSize})
	put(t, s, 1, 2)
	require.True(t, has(t, s, 1))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "v1")))
	require.True(t, has(t, s, 1))
	require.False(t, has(t, s, 2))
	for seed := uint64(3); seed < 9; seed++ {
		put(t, s, seed)
		require.True(t, has(t, s, seed))
	}
	require.NoError(t, s.Rescan(ctx))
	require.Equal(t, len(files(t, dir, isEntry)), s.Metrics().Entries)
	require.False(t, has(t, s, 1))
	checkMetrics(t, s)
}

func TestEvictionByCostAndRecency(t *testing.T) {
	const room = 8
	var evicted []kvcache.Key
	events := kvcache.EventListener{Evicted: func(e kvcache.EvictEvent) { evicted = append(evicted, e.Key) }}
	dir := t.TempDir()
	costed := func(s *Store, seed uint64, cost float64) {
		kv := makeKV(1)
		kv.SetInfo(kvcache.Info{Cost: cost})
		require.NoError(t, s.Put(ctx, keyOf(seed), kv))
	}
	s := openStore(t, dir, Options{Budget: room * blockSize, Events: events})
	costed(s, 0, 50) // dear
	for seed := uint64(1); seed < room; seed++ {
		costed(s, seed, 1)
	}
	h, err := s.Get(ctx, keyOf(1)) // used
	require.NoError(t, err)
	h.Release()
	costed(s, 8, 1)
	costed(s, 9, 1)
	require.Equal(t, []kvcache.Key{keyOf(2), keyOf(3)}, evicted)
	require.NoError(t, s.Close())
	evicted = nil

	// Opened again, the order of last uses is known by the files' times.
	now := time.Now()
	for i, seed := range []uint64{0, 6, 1, 4, 5, 7, 8, 9} {
		require.NoError(t, os.Chtimes(s.path(keyOf(seed)), time.Time{}, now.Add(time.Duration(i-100)*time.Minute)))
	}
	s = openStore(t, dir, Options{Budget: room * blockSize, Events: events})
	costed(s, 10, 1)
	costed(s, 11, 1)
	require.Equal(t, []kvcache.Key{keyOf(6), keyOf(1)}, evicted)
}

// After a restart what is dear is found out when it is about to go, and nothing is read of what stays.
func TestCostsAreReadWhenNeeded(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	const n, victims = 160, 20
	dear := map[kvcache.Key]bool{}
	for seed := range uint64(n) {
		kv := makeKV(1)
		cost := 1.0
		if seed%10 == 3 {
			cost, dear[keyOf(seed)] = 30, true
		}
		kv.SetInfo(kvcache.Info{Cost: cost})
		require.NoError(t, s.Put(ctx, keyOf(seed), kv))
	}
	require.NoError(t, s.Close())
	evictions := 0
	fsys := &faultFS{}
	s, err := open(fsys, dir, Options{Budget: (n - victims) * blockSize, Events: kvcache.EventListener{Evicted: func(e kvcache.EvictEvent) {
		evictions++
		require.False(t, dear[e.Key])
	}}})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, victims, evictions)
	reads := 0
	for _, op := range fsys.trace {
		if strings.HasPrefix(op, "read ") {
			reads++
		}
	}
	require.LessOrEqual(t, reads, sample+victims+victims/5)
}

// What is held is not evicted, and a KV that finds no room because of that is not kept.
func TestHeldIsNotEvicted(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Budget: 3 * blockSize})
	put(t, s, 1, 2, 3)
	var held []*kvcache.Handle
	for seed := uint64(1); seed <= 3; seed++ {
		h, err := s.Get(ctx, keyOf(seed))
		require.NoError(t, err)
		held = append(held, h)
	}
	put(t, s, 4)
	require.False(t, has(t, s, 4))
	m := s.Metrics()
	require.EqualValues(t, 1, m.Rejected)
	require.Zero(t, m.Evictions)
	require.EqualValues(t, 3*blockSize, m.PinnedBytes)
	held[1].Release()
	put(t, s, 4)
	require.True(t, has(t, s, 4))
	require.False(t, has(t, s, 2))
	for i, seed := range []uint64{1, 0, 3} {
		if i != 1 {
			checkHandle(t, held[i], seed)
			held[i].Release()
		}
	}
	require.NoError(t, s.Put(ctx, keyOf(1), kvtest.NewKV(shape, 4000, 1)), "larger than the budget")
	require.False(t, has(t, s, 1), "what it was to replace is gone")
	require.EqualValues(t, 2, s.Metrics().Rejected)
	checkMetrics(t, s)
}

// Mappings that nobody holds are kept up to a limit.
func TestIdleMappingsAreBounded(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	put(t, s, 1)
	require.True(t, has(t, s, 1))
	require.Equal(t, 1, s.idle.list.Len())
	s.mu.Lock()
	s.idle.mapped += maxIdleMapped // as if there were others
	s.mu.Unlock()
	require.True(t, has(t, s, 1))
	require.Zero(t, s.idle.list.Len())
	require.EqualValues(t, maxIdleMapped, s.idle.mapped)
	s.idle.mapped = 0
	require.True(t, has(t, s, 1), "mapped again")
	checkMetrics(t, s)
}

// slowMkdir makes a folder, and what has it last only when it is told to.
type slowMkdir struct {
	osFS
	made, last chan struct{}
}

func (f slowMkdir) Mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil || filepath.Base(filepath.Dir(path)) != versionFolder || len(filepath.Base(path)) != 2 {
		return f.osFS.Mkdir(path)
	}
	close(f.made)
	<-f.last
	return f.SyncDir(filepath.Dir(path))
}

// The folder of a file that was put lasts as well, even if another has made it and has not got so far.
func TestFolderOfAnotherLasts(t *testing.T) {
	dir := t.TempDir()
	slow := slowMkdir{made: make(chan struct{}), last: make(chan struct{})}
	a, err := open(slow, dir, Options{})
	require.NoError(t, err)
	defer a.Close()
	first := make(chan error, 1)
	go func() { first <- a.Put(ctx, keyOf(1), makeKV(1)) }()
	<-slow.made
	fsys := &faultFS{}
	b, err := open(fsys, dir, Options{})
	require.NoError(t, err)
	defer b.Close()
	err = b.Put(ctx, keyOf(1), makeKV(1))
	trace := fsys.trace
	close(slow.last)
	require.NoError(t, <-first)
	require.NoError(t, err)
	require.Contains(t, trace, "syncdir "+versionFolder)
	fsys.trace = nil
	put(t, b, 1)
	require.NotContains(t, fsys.trace, "syncdir "+versionFolder, "once is enough")
}

// Stores that are the first in a folder, at the same time, can all be written to.
func TestFirstTogether(t *testing.T) {
	for i := range uint64(40) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		var wg sync.WaitGroup
		for g := range uint64(4) {
			wg.Go(func() {
				s, err := Open(dir, Options{})
				if !assert.NoError(t, err) {
					return
				}
				defer s.Close()
				assert.NoError(t, s.Put(t.Context(), keyOf(g), kvtest.NewKV(shape, 3, i)))
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}
