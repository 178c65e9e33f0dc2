// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris

package gguf

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file for reading and returns how to undo it.
func mapFile(path string) ([]byte, func() error, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() // the mapping outlives the descriptor
	size, err := regularSize(file)
	if err != nil {
		return nil, nil, err
	}
	if size == 0 { // cannot be mapped; the parser says what is missing
		return nil, func() error { return nil }, nil
	}
	data, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return data, func() error { return unix.Munmap(data) }, nil
}
