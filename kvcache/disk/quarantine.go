// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// The quarantine keeps the damaged files found last, for whoever wants to know what happened to them.
const (
	maxQuarantined      = 32
	maxQuarantinedBytes = 64 << 20
)

// quarantine takes the damaged file of k out of the way, counts and reports it. Another process may have replaced it by a good one since it
// was read: that one is lost, and will be encoded again.
func (s *Store) quarantine(k kvcache.Key, d *damage) *kvcache.CorruptError {
	ce := &kvcache.CorruptError{Key: k, Where: s.path(k), Reason: d.Error()}
	kept := s.isolate(k)
	s.mu.Lock()
	s.m.Corrupt++
	s.mu.Unlock()
	if f := s.opt.Events.Corrupt; f != nil {
		f(kvcache.CorruptEvent{Tier: tier, Err: ce, Kept: kept})
	}
	return ce
}

// isolate moves the file of k to the quarantine, or removes it, and returns where it is. It needs not succeed: a damaged file that
// stays is found to be damaged again.
func (s *Store) isolate(k kvcache.Key) (kept string) {
	if s.locked != nil {
		return ""
	}
	f, path := s.folderOf(k), s.path(k)
	jail := filepath.Join(s.root, quarantineFolder)
	to := filepath.Join(jail, fmt.Sprintf("%019d-%v", time.Now().UnixNano(), k)) // in order of time
	f.mu.Lock()
	err := s.fs.Mkdir(jail)
	if err == nil {
		err = s.fs.Rename(path, to)
	}
	if err != nil {
		to = ""
		_ = s.fs.Remove(path)
	}
	s.mu.Lock()
	if e := f.index[k]; e != nil {
		s.drop(e)
	}
	s.unlock()
	f.mu.Unlock()
	if to == "" || !s.trim(jail, filepath.Base(to)) {
		return ""
	}
	return to
}

// trim removes what is too much, the oldest first, and reports whether name is still there.
func (s *Store) trim(jail, name string) (kept bool) {
	files, err := s.fs.List(jail)
	if err != nil {
		return true
	}
	slices.SortFunc(files, func(a, b listed) int { return -cmp.Compare(a.name, b.name) })
	var bytes int64
	for i, f := range files {
		bytes += onDisk(f.size)
		if i < maxQuarantined && bytes <= maxQuarantinedBytes {
			kept = kept || f.name == name
		} else {
			_ = s.fs.Remove(filepath.Join(jail, f.name))
		}
	}
	return kept
}
