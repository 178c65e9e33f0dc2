// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/internal/evict"
	"github.com/graphkv/graphkv/kvcache"
)

const (
	tier = "disk"

	versionFolder    = "v1"
	liveFolder       = "live"
	quarantineFolder = "quarantine"
	lockName         = "lock"

	// blockSize is what files are rounded up to when they are counted: the block of the file systems in common use.
	blockSize = 4096
	// rescanShare is the part of the budget that a process writes before it looks what other processes wrote.
	rescanShare = 32
	// stampEvery is how old the last use that a file shows may be before a use is written to it.
	stampEvery = time.Minute
)

// Options are what a store can be told.
type Options struct {
	// Budget bounds the disk blocks that entries take, in bytes; 0 means that nothing is evicted. See the package comment for processes that
	// share a folder, which must all be given the same budget, or none.
	Budget int64
	// Events are told what happens, see [kvcache.EventListener].
	Events kvcache.EventListener
}

// Store is a folder of KVs, one file each; see the package comment. It is a [kvcache.Store].
type Store struct {
	root    string // the version folder
	fs      fileSystem
	opt     Options
	owner   string    // names this store among those that share the folder
	live    io.Closer // its lock
	locked  error     // why the folder cannot be written to, nil if it can
	temps   atomic.Uint64
	folders [256]folder

	evicting sync.Mutex // taken before a folder's
	scanning sync.Mutex // taken before a folder's; guards joined
	ops      sync.WaitGroup

	mu       sync.Mutex // taken after a folder's
	closed   bool
	policy   evict.Policy[*entry]
	loads    map[kvcache.Key]*load
	idle     views         // mapped and held by nobody
	dead     []func()      // what unlock has to unmap
	reserved int64         // for files being written
	freed    chan struct{} // closed when some of that is given back
	written  int64         // since this process looked what others wrote
	joined   time.Time     // when a process last joined, as the lock's file says
	known    struct {      // entries whose cost is known
		bytes int64
		cost  float64
	}
	m kvcache.Metrics
}

// folder is one of the fan-out folders: the entries whose keys begin with the same byte.
type folder struct {
	path string
	// mu is held while a file of the folder appears, is replaced or disappears and the index is told, so that the index agrees with what
	// this process did to the folder.
	mu    sync.Mutex
	index map[kvcache.Key]*entry // guarded by Store.mu
	gen   uint64                 // of the index, guarded by Store.mu

	renamed atomic.Uint64 // files renamed
	syncing sync.Mutex
	synced  uint64 // of those renamed, how many surely last; guarded by syncing
	lasts   bool   // the folder itself; guarded by syncing
}

// sync makes the renames so far last. Those who come while another syncs share the next sync.
func (f *folder) sync(fs fileSystem) error {
	ticket := f.renamed.Load()
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.synced >= ticket {
		return nil
	}
	if !f.lasts { // another may have made it a moment ago, and not have synced what is above it yet
		if err := fs.SyncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
		f.lasts = true
	}
	covered := f.renamed.Load()
	if err := fs.SyncDir(f.path); err != nil {
		return err
	}
	f.synced = covered
	return nil
}

var _ kvcache.Store = (*Store)(nil)

// Open opens the store in dir, which it makes if need be, and builds its index from the names and sizes of the files there. What is
// above the budget is evicted, and what processes that died were writing is removed. A folder that can be read but not written to
// can be opened; Put and Delete return why.
func Open(dir string, opt Options) (*Store, error) {
	return open(osFS{}, dir, opt)
}

func open(fsys fileSystem, dir string, opt Options) (*Store, error) {
	if opt.Budget < 0 {
		return nil, fmt.Errorf("disk: a budget of %d bytes", opt.Budget)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.New("disk: files are little-endian and read in place, this machine is big-endian")
	}
	s := &Store{
		root:  filepath.Join(dir, versionFolder),
		fs:    fsys,
		opt:   opt,
		loads: make(map[kvcache.Key]*load),
		freed: make(chan struct{}),
		m:     kvcache.Metrics{Tier: tier, Budget: opt.Budget},
	}
	for i := range s.folders {
		s.folders[i] = folder{path: filepath.Join(s.root, fmt.Sprintf("%02x", i)), index: make(map[kvcache.Key]*entry)}
	}
	if err := s.join(); err != nil {
		if exists, _ := fsys.Exists(s.root); !exists {
			return nil, fmt.Errorf("disk: %w", err)
		}
		s.locked = fmt.Errorf("disk: %s cannot be written to: %w", s.root, err)
	}
	if err := s.scan(); err != nil {
		s.leave()
		return nil, fmt.Errorf("disk: %w", err)
	}
	s.relieve()
	return s, nil
}

// Metrics returns the store's counters and gauges. Bytes are disk blocks; PinnedBytes and OrphanedBytes count the same way.
func (s *Store) Metrics() kvcache.Metrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.m
	m.Down = s.closed
	return m
}

// Close waits for what is being read and written, unmaps what nobody holds and tells other processes that this one is gone. A second call does
// nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.ops.Wait()

	s.mu.Lock()
	for i := range s.folders {
		for _, e := range s.folders[i].index {
			s.drop(e)
		}
	}
	s.unlock()
	return s.leave()
}

// begin counts an operation that Close must wait for.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kvcache.ErrClosed
	}
	s.ops.Add(1)
	return nil
}

// beginWrite is begin for operations that write. In a folder that cannot be written to they fail.
func (s *Store) beginWrite(op string, k kvcache.Key) error {
	if err := s.begin(); err != nil {
		return err
	}
	if s.locked != nil {
		s.failed(op, k, s.locked, 0)
		s.ops.Done()
		return s.locked
	}
	return nil
}

// unlock releases mu, and unmaps what drop and release found to be unused.
func (s *Store) unlock() {
	dead := s.dead
	s.dead = nil
	s.mu.Unlock()
	for _, unmap := range dead {
		unmap()
	}
}

// failed counts and reports an operation that failed.
func (s *Store) failed(op string, k kvcache.Key, err error, took time.Duration) {
	s.mu.Lock()
	s.m.Failures++
	s.mu.Unlock()
	if f := s.opt.Events.Failed; f != nil {
		f(kvcache.FailEvent{Tier: tier, Op: op, Key: k, Err: err, Took: took})
	}
}

func (s *Store) folderOf(k kvcache.Key) *folder { return &s.folders[k[0]] }

const extension = ".kv"

// path returns the name of the file of k.
func (s *Store) path(k kvcache.Key) string {
	return filepath.Join(s.folderOf(k).path, k.String()+extension)
}

// onDisk returns the disk blocks that a file of n bytes takes, in bytes.
func onDisk(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
