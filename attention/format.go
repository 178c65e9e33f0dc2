// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import "fmt"

// Format is how the numbers of keys and values are stored. Whatever it is, they are widened to float32 as they are read, and summed in
// float32.
type Format uint8

const (
	F32 Format = iota // 4 bytes a number, exact
)

func (f Format) String() string {
	switch f {
	case F32:
		return "f32"
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Valid reports whether f is one of the formats above.
func (f Format) Valid() bool { return f <= F32 }
