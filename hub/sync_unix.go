// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build unix

package hub

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncDir brings a rename to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
