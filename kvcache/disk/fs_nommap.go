// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package disk

import "os"

// mapFile reads the file, so that it can be removed and replaced while it is in use.
func mapFile(f *os.File, n int64) ([]byte, func(), error) { return readWhole(f, n) }
