// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// preferLargePages asks for the whole large pages inside b. It is advice: where the system does not take it nothing else changes.
func preferLargePages(b []byte) {
	const page = 2 << 20
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	if n := (len(b) - skip) / page * page; n > 0 {
		_ = unix.Madvise(b[skip:skip+n], unix.MADV_HUGEPAGE)
	}
}
