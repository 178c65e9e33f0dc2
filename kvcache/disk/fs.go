// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/graphkv/graphkv/internal/mem"
)

// fileSystem is all that the store does to files, so that tests can make any of it fail.
type fileSystem interface {
	Mkdir(path string) error                // with what is above it
	List(path string) ([]listed, error)     // regular files only
	Create(path string) (writeFile, error)  // which must not exist
	Open(path string) (readFile, error)     // to read
	Rename(from, to string) error           // over what is there
	Remove(path string) error               //
	Touch(path string, t time.Time) error   // sets the time of the last change
	SyncDir(path string) error              // makes what was created, renamed and removed there last
	Lock(path string) (io.Closer, error)    // creates the file and waits until nobody else has it locked
	TryLock(path string) (io.Closer, error) // does not wait: errLocked
	Exists(path string) (exists bool, e error)
}

// errLocked is what TryLock returns when another has the lock.
var errLocked = errors.New("locked by another process")

type listed struct {
	name string
	size int64
	time time.Time // of the last change
}

type writeFile interface {
	io.Writer
	Sync() error
	Close() error
}

type readFile interface {
	io.ReaderAt
	Size() (int64, error)
	// Map returns the first n > 0 bytes at a multiple of 64 bytes in memory, and how to give them back: nil if they were read, not mapped, and are
	// the garbage collector's.
	Map(n int64) ([]byte, func(), error)
	Close() error
}

// osFS is the operating system's.
type osFS struct{}

// Mkdir makes a folder that lasts: every level is made and synced after the one above.
func (o osFS) Mkdir(path string) error {
	err := os.Mkdir(path, 0o755)
	if above := filepath.Dir(path); notExist(err) && above != path {
		if err := o.Mkdir(above); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func (osFS) List(path string) ([]listed, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	files := make([]listed, 0, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		files = append(files, listed{e.Name(), info.Size(), info.ModTime()})
	}
	return files, nil
}

func (osFS) Create(path string) (writeFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Open(path string) (readFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error           { return os.Rename(from, to) }
func (osFS) Remove(path string) error               { return os.Remove(path) }
func (osFS) Touch(path string, t time.Time) error   { return os.Chtimes(path, time.Time{}, t) }
func (osFS) Lock(path string) (io.Closer, error)    { return lock(path, true) }
func (osFS) TryLock(path string) (io.Closer, error) { return lock(path, false) }

func (osFS) Exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osFS) SyncDir(path string) error { return syncDir(path) }

func lock(path string, wait bool) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f, wait); err != nil {
		f.Close()
		if !errors.Is(err, errLocked) {
			err = &os.PathError{Op: "lock", Path: path, Err: err}
		}
		return nil, err
	}
	return f, nil
}

// osFile is a file being read.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, &os.PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	return info.Size(), nil
}

func (f osFile) Map(n int64) ([]byte, func(), error) { return mapFile(f.File, n) }

// readWhole reads a file instead of mapping it.
func readWhole(f *os.File, n int64) ([]byte, func(), error) {
	b := mem.Bytes(int(n))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, n), b); err != nil {
		return nil, nil, err
	}
	return b, nil, nil
}
