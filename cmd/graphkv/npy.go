// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"

	"github.com/sbinet/npyio"
)

// writeLogits writes x as a float32 array of one dimension.
func writeLogits(path string, x []float32) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return npyio.Write(f, x)
}
