// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// zipMagic starts a file of several NumPy arrays.
const zipMagic = "PK\x03\x04"

// writeNPZ writes arrays as numpy.savez does: an archive of .npy files, not compressed.
func writeNPZ(w io.Writer, arrays []array) error {
	z := zip.NewWriter(w)
	for i := range arrays {
		f, err := z.CreateHeader(&zip.FileHeader{Name: arrays[i].name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if err := writeNPY(f, &arrays[i]); err != nil {
			return err
		}
	}
	return z.Close()
}

// parseNPZ reads those of an archive's arrays that have one of the names. Together they may have limit bytes, whatever the
// archive says about them.
func parseNPZ(data []byte, known map[string]bool, limit int64) (map[string]array, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	arrays := map[string]array{}
	left := limit
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok || !known[name] {
			continue
		}
		if _, twice := arrays[name]; twice {
			return nil, fmt.Errorf("array %q is there twice", name)
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		const header = maxNPYHeader + 16
		file, err := io.ReadAll(io.LimitReader(r, left+header+1))
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		if int64(len(file)) > left+header {
			return nil, &LimitError{What: fmt.Sprintf("array %q", name), Bytes: int64(len(file)), Limit: limit}
		}
		a, err := parseNPY(name, file, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(a.data))
		arrays[name] = a
	}
	return arrays, nil
}
