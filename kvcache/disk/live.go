// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A store that writes has a file of its own in the folder "live", named after it, and holds a lock on it. The system gives the lock back
// when the process ends, however it ends. Names are never used twice. So whoever gets the lock of such a file knows that its owner is
// dead, and whoever finds a temporary file without such a file knows that nobody is writing it.

const tempPrefix = "tmp-"

// tempOwner returns whose temporary file it is.
func tempOwner(name string) (owner string, ok bool) {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	at := strings.LastIndexByte(rest, '-')
	if !ok || at < 0 {
		return "", false
	}
	return rest[:at], true
}

// removeTemp removes a temporary file, unless its owner lives. That it cannot is no reason not to scan.
func (s *Store) removeTemp(f *folder, name, owner string) {
	if s.locked != nil || owner == s.owner {
		return
	}
	if alive, err := s.fs.Exists(s.livePath(owner)); err == nil && !alive {
		_ = s.fs.Remove(filepath.Join(f.path, name))
	}
}

func (s *Store) livePath(owner string) string { return filepath.Join(s.root, liveFolder, owner) }

// join makes this store known to others in the folder, or does nothing.
func (s *Store) join() error {
	err := s.exclusive(func() error {
		// Another that makes the folder may have come as far as where the lock is.
		if err := s.fs.Mkdir(filepath.Join(s.root, liveFolder)); err != nil {
			return err
		}
		if _, err := s.sweep(); err != nil {
			return err
		}
		owner := fmt.Sprintf("%d-%s", os.Getpid(), rand.Text())
		live, err := s.fs.TryLock(s.livePath(owner))
		if err != nil {
			return err
		}
		s.owner, s.live = owner, live
		s.joined = time.Now()
		return s.fs.Touch(filepath.Join(s.root, lockName), s.joined)
	})
	if err != nil {
		_ = s.leave()
	}
	return err
}

// leave is the end of what join began.
func (s *Store) leave() error {
	if s.live == nil {
		return nil
	}
	err := s.live.Close()
	s.live = nil
	if gone := s.fs.Remove(s.livePath(s.owner)); err == nil && !notExist(gone) {
		err = gone
	}
	return err
}

// exclusive runs do while no other process joins or sweeps.
func (s *Store) exclusive(do func() error) error {
	path := filepath.Join(s.root, lockName)
	lock, err := s.fs.Lock(path)
	if notExist(err) { // the folder is new, or somebody removed all of it
		if err = s.fs.Mkdir(filepath.Join(s.root, liveFolder)); err == nil {
			lock, err = s.fs.Lock(path)
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Close())
}

// sweep removes the files of owners that died, and returns how many others live.
func (s *Store) sweep() (others int, err error) {
	files, err := s.fs.List(filepath.Join(s.root, liveFolder))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		if file.name == s.owner {
			continue
		}
		path := s.livePath(file.name)
		lock, err := s.fs.TryLock(path)
		if errors.Is(err, errLocked) {
			others++
			continue
		}
		if err != nil {
			return 0, err
		}
		lock.Close()
		if err := s.fs.Remove(path); err != nil && !notExist(err) {
			return 0, err
		}
	}
	return others, nil
}

// lookAround is called before n bytes are written. When this process has written its share since the last time, and others are or were
// there, it takes in what they wrote. So whoever scanned last brought the folder to the budget, and since then every other process
// wrote at most one share, or one entry that is larger.
func (s *Store) lookAround(ctx context.Context, n int64) error {
	if s.opt.Budget == 0 {
		return nil
	}
	s.mu.Lock()
	due := s.written+n > s.opt.Budget/rescanShare
	s.mu.Unlock()
	if !due {
		return nil
	}
	s.scanning.Lock()
	defer s.scanning.Unlock()
	s.mu.Lock()
	seen := s.written // what is published while this looks counts for the next time
	s.mu.Unlock()
	alone, err := s.alone()
	if err == nil && !alone {
		err = s.rescan(ctx)
	}
	if err == nil {
		s.mu.Lock()
		s.written -= seen
		s.mu.Unlock()
	}
	return err
}

// alone reports whether no other process uses the folder, nor did since it was last asked. It needs scanning.
func (s *Store) alone() (alone bool, err error) {
	err = s.exclusive(func() error {
		others, err := s.sweep()
		if err != nil {
			return err
		}
		files, err := s.fs.List(s.root)
		if err != nil {
			return err
		}
		alone = others == 0
		for _, f := range files {
			if f.name == lockName && !f.time.Equal(s.joined) {
				s.joined, alone = f.time, false
			}
		}
		return nil
	})
	return alone, err
}
