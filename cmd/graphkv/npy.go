// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// writeNPY writes x as a NumPy array of one dimension, format version 1.0: magic,
// version, length of the header, and a header that ends at a multiple of 64 bytes.
func writeNPY(w io.Writer, x []float32) error {
	const magic = "\x93NUMPY\x01\x00"
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }", len(x))
	pad := 64 - (len(magic)+2+len(header)+1)%64
	header += strings.Repeat(" ", pad) + "\n"
	buf := append([]byte(magic), byte(len(header)), byte(len(header)>>8))
	buf = append(buf, header...)
	buf, err := binary.Append(buf, binary.LittleEndian, x)
	if err != nil {
		return err
	}
	_, err = w.Write(buf)
	return err
}
