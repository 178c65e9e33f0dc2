// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package disk

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxMappings bounds the mappings of all stores of a process. Linux gives a process 65530, and when none is left the Go runtime, which needs
// some to grow, ends the process. Further files are read.
const maxMappings = 1 << 15

var mappings atomic.Int64

func mapFile(f *os.File, n int64) ([]byte, func(), error) {
	if mappings.Add(1) > maxMappings {
		mappings.Add(-1)
		return readWhole(f, n)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		mappings.Add(-1)
		return nil, nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return data, func() {
		_ = unix.Munmap(data) // it cannot fail: data is what Mmap returned
		mappings.Add(-1)
	}, nil
}

func lockFile(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
