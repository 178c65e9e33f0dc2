// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
)

// faultFS is the operating system's files, of which chosen operations fail. It keeps a record.
type faultFS struct {
	osFS
	mu    sync.Mutex
	trace []string
	fail  func(n int, op string) error // of the n-th operation, from 0
}

func (f *faultFS) do(op, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.trace)
	f.trace = append(f.trace, op+" "+filepath.Base(path))
	if f.fail != nil {
		if err := f.fail(n, op); err != nil {
			return &os.PathError{Op: op, Path: path, Err: err}
		}
	}
	return nil
}

func (f *faultFS) Mkdir(path string) error {
	if err := f.do("mkdir", path); err != nil {
		return err
	}
	return f.osFS.Mkdir(path)
}

func (f *faultFS) List(path string) ([]listed, error) {
	if err := f.do("list", path); err != nil {
		return nil, err
	}
	return f.osFS.List(path)
}

func (f *faultFS) Create(path string) (writeFile, error) {
	if err := f.do("create", path); err != nil {
		return nil, err
	}
	file, err := f.osFS.Create(path)
	return &faultWriter{file, f, path}, err
}

func (f *faultFS) Open(path string) (readFile, error) {
	if err := f.do("open", path); err != nil {
		return nil, err
	}
	file, err := f.osFS.Open(path)
	return &faultReader{file, f, path}, err
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.do("rename", to); err != nil {
		return err
	}
	return f.osFS.Rename(from, to)
}

func (f *faultFS) Remove(path string) error {
	if err := f.do("remove", path); err != nil {
		return err
	}
	return f.osFS.Remove(path)
}

func (f *faultFS) Touch(path string, t time.Time) error {
	if err := f.do("touch", path); err != nil {
		return err
	}
	return f.osFS.Touch(path, t)
}

func (f *faultFS) SyncDir(path string) error {
	if err := f.do("syncdir", path); err != nil {
		return err
	}
	return f.osFS.SyncDir(path)
}

func (f *faultFS) Lock(path string) (io.Closer, error) {
	if err := f.do("lock", path); err != nil {
		return nil, err
	}
	return f.osFS.Lock(path)
}

func (f *faultFS) TryLock(path string) (io.Closer, error) {
	if err := f.do("trylock", path); err != nil {
		return nil, err
	}
	return f.osFS.TryLock(path)
}

func (f *faultFS) Exists(path string) (bool, error) {
	if err := f.do("exists", path); err != nil {
		return false, err
	}
	return f.osFS.Exists(path)
}

type faultWriter struct {
	writeFile
	fs   *faultFS
	path string
}

func (w *faultWriter) Write(b []byte) (int, error) {
	if err := w.fs.do("write", w.path); err != nil {
		n, _ := w.writeFile.Write(b[:len(b)/2]) // a full disk takes what it has room for
		return n, err
	}
	return w.writeFile.Write(b)
}

func (w *faultWriter) Sync() error {
	if err := w.fs.do("sync", w.path); err != nil {
		return err
	}
	return w.writeFile.Sync()
}

func (w *faultWriter) Close() error {
	return errors.Join(w.fs.do("close", w.path), w.writeFile.Close())
}

type faultReader struct {
	readFile
	fs   *faultFS
	path string
}

func (r *faultReader) Size() (int64, error) {
	if err := r.fs.do("size", r.path); err != nil {
		return 0, err
	}
	return r.readFile.Size()
}

func (r *faultReader) ReadAt(b []byte, off int64) (int, error) {
	if err := r.fs.do("read", r.path); err != nil {
		return 0, err
	}
	return r.readFile.ReadAt(b, off)
}

func (r *faultReader) Map(n int64) ([]byte, func(), error) {
	if err := r.fs.do("map", r.path); err != nil {
		return nil, nil, err
	}
	return r.readFile.Map(n)
}

// What is written is synced before it is renamed, and the folder after that.
func TestWritingInOrder(t *testing.T) {
	fsys := &faultFS{}
	s, err := open(fsys, t.TempDir(), Options{})
	require.NoError(t, err)
	defer s.Close()
	put(t, s, 1) // makes the folder
	fsys.trace = nil
	put(t, s, 1)
	temp, name := fmt.Sprintf("tmp-%s-2", s.owner), keyOf(1).String()+".kv"
	require.Equal(t, []string{
		"create " + temp, "write " + temp, "write " + temp, "write " + temp, "sync " + temp, "close " + temp,
		"rename " + name, "syncdir " + name[:2],
	}, fsys.trace)
	fsys.trace = nil
	require.NoError(t, s.Delete(ctx, keyOf(1)))
	require.Equal(t, []string{"remove " + name, "syncdir " + name[:2]}, fsys.trace)
}

// Those whose files are renamed while the folder is being synced share the next sync.
func TestSyncsAreShared(t *testing.T) {
	fsys := &faultFS{}
	s, err := open(fsys, t.TempDir(), Options{})
	require.NoError(t, err)
	defer s.Close()
	put(t, s, 1)
	f := s.folderOf(keyOf(1))
	f.syncing.Lock() // one is at it
	fsys.trace = nil
	var wg sync.WaitGroup
	const writers = 5
	for range writers {
		wg.Go(func() {
			if err := s.Put(ctx, keyOf(1), makeKV(1)); err != nil {
				t.Error(err)
			}
		})
	}
	for f.renamed.Load() < writers+1 {
		time.Sleep(time.Millisecond)
	}
	f.syncing.Unlock()
	wg.Wait()
	syncs := 0
	for _, op := range fsys.trace {
		if strings.HasPrefix(op, "syncdir") {
			syncs++
		}
	}
	require.Equal(t, 1, syncs)
}

// session uses a store for a while: writes with evictions, hits, replacement, deletion, a damaged file. It returns the seeds that must be
// there at the end, and those that must not. Every error must be one of those that were injected.
func session(t *testing.T, fsys *faultFS, dir string) (there, gone []uint64) {
	injected := func(err error) {
		t.Helper()
		if err != nil {
			require.True(t, errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO), "%v", err)
		}
	}
	failed, corrupt := 0, 0
	s, err := open(fsys, dir, Options{Budget: 4 * blockSize, Events: kvcache.EventListener{
		Failed:  func(kvcache.FailEvent) { failed++ },
		Corrupt: func(kvcache.CorruptEvent) { corrupt++ },
	}})
	if err != nil {
		injected(err)
		return nil, nil
	}
	state := map[uint64]bool{} // what is certain
	doPut := func(seed uint64) {
		t.Helper()
		before := failed
		err := s.Put(ctx, keyOf(seed), makeKV(seed))
		injected(err)
		if err != nil {
			require.Greater(t, failed, before, "an error of Put is reported")
			delete(state, seed)
		} else {
			state[seed] = true
		}
	}
	get := func(seed uint64) {
		t.Helper()
		h, err := s.Get(ctx, keyOf(seed))
		if err == nil {
			checkHandle(t, h, seed)
			require.NotEqual(t, map[uint64]bool{seed: false}, state, "%d is back", seed)
			h.Release()
			return
		}
		var ce *kvcache.CorruptError
		if !errors.Is(err, kvcache.ErrNotFound) && !errors.As(err, &ce) {
			injected(err)
		}
	}
	doPut(0) // all fit one block
	doPut(1)
	get(0)
	get(1)
	get(9)
	doPut(0) // again
	if err := s.Delete(ctx, keyOf(1)); err != nil {
		injected(err)
		delete(state, 1)
	} else {
		state[1] = false
	}
	get(1)
	doPut(2)
	if path := s.path(keyOf(2)); os.Truncate(path, 100) == nil { // before it is mapped
		get(2)
		require.Equal(t, 1, min(corrupt+failed, 1))
		delete(state, 2)
		if info, err := os.Stat(path); err == nil && info.Size() == 100 { // it could not be taken out of the way
			require.NoError(t, os.Remove(path))
		}
	}
	for seed := uint64(3); seed < 8; seed++ {
		doPut(seed)
	}
	s.opt.Events.Evicted = nil
	injected(s.Rescan(ctx))
	get(7)
	checkMetrics(t, s)
	require.LessOrEqual(t, s.Metrics().Bytes, s.Metrics().Budget)
	if err := s.Close(); err != nil {
		injected(err)
	}
	for seed, is := range state {
		switch {
		case !is:
			gone = append(gone, seed)
		case seed == 7: // written last: it was not evicted
			there = append(there, seed)
		}
	}
	return there, gone
}

// reopened checks what a session left.
func reopened(t *testing.T, dir string, there, gone []uint64) {
	t.Helper()
	s, err := Open(dir, Options{Budget: 4 * blockSize})
	require.NoError(t, err)
	defer s.Close()
	require.Empty(t, files(t, dir, isTemp), "temporary files pile up")
	for seed := range uint64(10) {
		if has(t, s, seed) { // whatever is there is right
			require.NotContains(t, gone, seed)
		} else {
			require.NotContains(t, there, seed)
		}
	}
	require.Zero(t, s.Metrics().Corrupt, "half-written")
	require.Len(t, files(t, filepath.Join(dir, "v1", "live"), func(string) bool { return true }), 1)
	put(t, s, 8)
	require.True(t, has(t, s, 8))
	require.LessOrEqual(t, s.Metrics().Bytes, s.Metrics().Budget)
	checkMetrics(t, s)
}

// Every operation on files in turn fails: it alone, or it and all after it, as when the disk is gone or full.
func TestEveryOperationFails(t *testing.T) {
	count := &faultFS{}
	there, gone := session(t, count, t.TempDir())
	require.Equal(t, []uint64{7}, there)
	require.Equal(t, []uint64{1}, gone)
	ops := len(count.trace)
	require.Greater(t, ops, 300)
	kinds := map[string]bool{}
	var interesting []int // not each of the 256 folders that are listed
	for n, op := range count.trace {
		kind, name, _ := strings.Cut(op, " ")
		kinds[kind] = true
		if kind != "list" || len(name) != 2 || n%50 == 0 {
			interesting = append(interesting, n)
		}
	}
	for _, kind := range strings.Fields("mkdir list create open rename remove touch syncdir lock trylock exists write sync close size read map") {
		require.True(t, kinds[kind], "the session does no %s", kind)
	}
	for _, after := range []bool{false, true} {
		for i, n := range interesting {
			if testing.Short() && i%3 != 0 {
				continue
			}
			dir := t.TempDir()
			at := ""
			fsys := &faultFS{fail: func(i int, op string) error {
				if i == n || after && i > n {
					if at == "" {
						at = op
					}
					if op == "write" || op == "create" || op == "mkdir" {
						return syscall.ENOSPC
					}
					return syscall.EIO
				}
				return nil
			}}
			there, gone := session(t, fsys, dir)
			reopened(t, dir, there, gone)
			if t.Failed() {
				t.Fatalf("operation %d, %s, failed; and all after it: %v", n, at, after)
			}
		}
	}
}

// A full disk: Put says so, nothing is left behind, what is there goes on to be served.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	full := false
	fsys := &faultFS{fail: func(_ int, op string) error {
		if full && (op == "write" || op == "sync") {
			return syscall.ENOSPC
		}
		return nil
	}}
	var events []kvcache.FailEvent
	s, err := open(fsys, dir, Options{Events: kvcache.EventListener{Failed: func(e kvcache.FailEvent) { events = append(events, e) }}})
	require.NoError(t, err)
	defer s.Close()
	put(t, s, 1)
	full = true
	err = s.Put(ctx, keyOf(2), makeKV(2))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Len(t, events, 1)
	require.Equal(t, "put", events[0].Op)
	require.Equal(t, keyOf(2), events[0].Key)
	require.ErrorIs(t, events[0].Err, syscall.ENOSPC)
	require.Error(t, s.Put(ctx, keyOf(1), makeKV(1)), "a replacement")
	require.Len(t, files(t, dir, func(name string) bool { return isTemp(name) || isEntry(name) }), 1)
	require.True(t, has(t, s, 1))
	require.False(t, has(t, s, 2))
	require.EqualValues(t, 2, s.Metrics().Failures)
	full = false
	put(t, s, 2)
	require.True(t, has(t, s, 2))
	checkMetrics(t, s)
}

// A folder that cannot be written to serves what it has.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	put(t, s, 1, 2)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(s.path(keyOf(2)), []byte("damaged"), 0o600))
	writes := strings.Fields("mkdir create rename remove touch lock trylock")
	fsys := &faultFS{fail: func(_ int, op string) error {
		if slices.Contains(writes, op) {
			return syscall.EROFS
		}
		return nil
	}}
	s, err := open(fsys, dir, Options{Budget: 1})
	require.NoError(t, err)
	defer s.Close()
	require.True(t, has(t, s, 1))
	for range 2 {
		_, err = s.Get(ctx, keyOf(2))
		var ce *kvcache.CorruptError
		require.ErrorAs(t, err, &ce)
	}
	require.ErrorIs(t, s.Put(ctx, keyOf(3), makeKV(3)), syscall.EROFS)
	require.ErrorIs(t, s.Delete(ctx, keyOf(1)), syscall.EROFS)
	require.True(t, has(t, s, 1))
	require.EqualValues(t, 2, s.Metrics().Failures)

	_, err = open(fsys, filepath.Join(t.TempDir(), "absent"), Options{})
	require.ErrorIs(t, err, syscall.EROFS)
}
