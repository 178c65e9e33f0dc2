// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt marks a file that breaks the format: cut short, with counts
	// or offsets out of range, with duplicate names and so on. The error that
	// matches it is a *[CorruptError].
	ErrCorrupt = errors.New("gguf: corrupt file")

	// ErrUnsupported marks what may be well-formed but cannot be read here:
	// version 1 or later than 3, big-endian files, tensor types without a
	// dequantiser or unknown to this package.
	ErrUnsupported = errors.New("gguf: unsupported")

	// ErrMissing marks a metadata key that the file does not have.
	ErrMissing = errors.New("gguf: missing key")

	// ErrType marks a metadata value of another type than was asked for, or
	// one that does not fit it.
	ErrType = errors.New("gguf: wrong value type")

	// ErrClosed marks the use of tensor data after [File.Close].
	ErrClosed = errors.New("gguf: file is closed")
)

// CorruptError says what is wrong with a file and where. It matches
// [ErrCorrupt].
type CorruptError struct {
	Offset int64  // byte offset in the file at which the fault was noticed
	Name   string // the header field, metadata key or tensor concerned
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("gguf: corrupt file: byte %d: %s: %s", e.Offset, e.Name, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) hold.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
