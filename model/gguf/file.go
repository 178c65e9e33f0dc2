// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// File is an open GGUF file. Its methods may be called by several goroutines
// at once, save that Close must not run while tensor data is in use.
type File struct {
	h       *header
	tensors []Tensor // in file order

	unmap  func() error
	closed atomic.Bool
	mu     sync.RWMutex // held for reading while the data is hashed, for writing to unmap it

	hash func() [32]byte // computes the fingerprint once
}

// Open maps a file and reads its header. The error matches [ErrCorrupt] if the
// file is damaged, [ErrUnsupported] if it is of a version, byte order or tensor
// type that cannot be read.
//
// The file must not be changed or cut short while it is open; on most systems
// reading a part that is gone ends the program. Replacing it by renaming
// another over it is fine.
func Open(path string) (*File, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	f, err := Parse(data)
	if err != nil {
		_ = unmap() // the first error says more
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.unmap = unmap
	return f, nil
}

// Parse reads a file from memory. Tensors are views of data, which must not be
// changed while they are in use. Its errors are those of [Open].
func Parse(data []byte) (*File, error) {
	// The header is walked in place to find its end, then copied and read from
	// the copy, so that what was checked is what later gets decoded, even if
	// the file changes meanwhile.
	h, err := parse(unsafe.String(unsafe.SliceData(data), len(data)), uint64(len(data)))
	if err != nil {
		return nil, err
	}
	h, err = parse(string(data[:h.end]), uint64(len(data)))
	if err != nil {
		return nil, err
	}
	f := &File{h: h, tensors: make([]Tensor, len(h.tensors))}
	for i, e := range h.tensors {
		f.tensors[i] = Tensor{
			Name: e.name, Type: e.typ, Shape: e.shape, Offset: int64(e.start),
			Data: data[e.start : e.start+e.size : e.start+e.size],
			file: f, rowLen: e.rowLen, rows: e.rows,
		}
	}
	f.hash = sync.OnceValue(f.fingerprint)
	return f, nil
}

// Close unmaps the file. Tensor data must not be used any more; names and
// metadata remain valid. Further calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Swap(true) || f.unmap == nil {
		return nil
	}
	return f.unmap()
}

// Version returns the version of the format, 2 or 3.
func (f *File) Version() uint32 { return f.h.version }

// Tensors returns the tensors in file order.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.h.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// regularSize returns the size of a file that can be mapped or read whole.
func regularSize(file *os.File) (int, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: not a regular file", file.Name())
	}
	if info.Size() > math.MaxInt {
		return 0, fmt.Errorf("%s: %d bytes do not fit the address space", file.Name(), info.Size())
	}
	return int(info.Size()), nil
}
