// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package disk

import (
	"io"
	"os"
	"unsafe"
)

// inMemory says whether a mapping takes memory of its own, rather than pages that the system may take back.
const inMemory = true

// mapFile reads the file, so that it can be removed and replaced while it is in use.
func mapFile(f *os.File, n int64) ([]byte, func(), error) {
	b := make([]byte, n+align-1)
	from := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % align
	b = b[from:][:n:n]
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, n), b); err != nil {
		return nil, nil, err
	}
	return b, func() {}, nil
}
