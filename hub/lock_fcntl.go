// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build aix || solaris

package hub

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// tryLock takes an exclusive lock that ends when f, or another handle of this
// process on the same file, is closed.
func tryLock(f *os.File) (bool, error) {
	err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart})
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
