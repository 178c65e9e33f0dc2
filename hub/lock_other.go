// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !unix && !windows

package hub

import "os"

// tryLock has no lock between processes to take here.
func tryLock(*os.File) (bool, error) { return true, nil }

// syncDir has nothing to do: folders cannot be synced here.
func syncDir(string) error { return nil }
