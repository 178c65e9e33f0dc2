// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// found is a file of an entry as a listing shows it.
type found struct {
	key  kvcache.Key
	size int64
	time time.Time
}

// parseName returns the key in the name of an entry's file.
func parseName(name string) (k kvcache.Key, ok bool) {
	digits, ok := strings.CutSuffix(name, extension)
	if !ok || len(digits) != hex.EncodedLen(len(k)) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(digits))
	return k, err == nil && k.String() == digits // lower case only
}

// list returns the entries of a folder, removes what dead processes were writing there, and skips what is not ours.
func (s *Store) list(f *folder) ([]found, error) {
	files, err := s.fs.List(f.path)
	if notExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries := make([]found, 0, len(files))
	for _, file := range files {
		if k, ok := parseName(file.name); ok && s.folderOf(k) == f {
			entries = append(entries, found{k, file.size, file.time})
		} else if owner, ok := tempOwner(file.name); ok {
			s.removeTemp(f, file.name, owner)
		}
	}
	return entries, nil
}

// scanners is how many folders are listed at a time: on a disk that has to look for them, more than there are processors.
const scanners = 8

// sample is about how many headers are read when a store is opened, so that it is known what a dear entry is.
const sample = 32

// scan fills the empty index, the entry used last at the end of the policy's queue.
func (s *Store) scan() error {
	var wg sync.WaitGroup
	var next atomic.Int32
	var lists [len(s.folders)][]found
	var errs [scanners]error
	for w := range scanners {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(s.folders) {
					return
				}
				lists[i], errs[w] = s.list(&s.folders[i])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	all := slices.Concat(lists[:]...)
	slices.SortFunc(all, func(a, b found) int { return a.time.Compare(b.time) })
	entries := make([]entry, len(all))
	for i, x := range all {
		e := &entries[i]
		*e = entry{key: x.key, bytes: onDisk(x.size), used: x.time}
		if i%(len(all)/sample+1) == 0 {
			if h, err := s.readHeader(s.path(e.key), e.key); err == nil { // otherwise Get takes care of it
				e.cost = h.info.Cost
				s.learn(e)
			}
		}
		s.insert(e)
	}
	return nil
}

// Rescan brings the index up to date with what other processes wrote and removed, and evicts what is above the budget. A store does so by itself when it must to keep the
// budget, and Get finds a file that the index does not know; so this is for those who want to see the entries of others in Metrics.
func (s *Store) Rescan(ctx context.Context) error {
	start := time.Now()
	if err := s.begin(); err != nil {
		return err
	}
	defer s.ops.Done()
	s.scanning.Lock()
	err := s.rescan(ctx)
	s.scanning.Unlock()
	s.relieve()
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("disk: %w", err)
		s.failed("scan", kvcache.Key{}, err, time.Since(start))
	}
	return err
}

// rescan needs scanning.
func (s *Store) rescan(ctx context.Context) error {
	for i := range s.folders {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.rescanFolder(&s.folders[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) rescanFolder(f *folder) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := s.list(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	there := make(map[kvcache.Key]bool, len(entries))
	for _, x := range entries {
		there[x.key] = true
		e, bytes := f.index[x.key], onDisk(x.size)
		if e != nil && e.bytes != bytes {
			s.drop(e) // replaced by another
			e = nil
		}
		if e == nil {
			s.insert(&entry{key: x.key, bytes: bytes, used: x.time})
		} else if x.time.After(e.used) {
			e.used = x.time
			s.policy.Use(&e.Item) // by another process
		}
	}
	for k, e := range f.index {
		if !there[k] {
			s.drop(e)
		}
	}
	return nil
}
