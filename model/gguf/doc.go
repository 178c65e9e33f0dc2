// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package gguf reads and writes GGUF model files, versions 2 and 3,
// little-endian.
//
// A file is memory-mapped (or read into memory where this package cannot map,
// as on Windows), so opening a model costs the time to walk its header and
// nothing per weight. A [Tensor] is a view of the mapping; [Tensor.Row] expands
// one row of it to float32, and [Dequantize] does the same for loose blocks.
//
// # Trust
//
// Model files come from strangers. Every count is checked against the bytes
// left before anything is allocated for it, every length, offset and shape is
// checked for range and overflow, and names must be unique, so that a file
// that opens can be read without further checks. What is refused as damaged
// matches [ErrCorrupt] and says at which byte and for which name.
//
// # Lifetime
//
// The header (metadata and tensor table) is copied once into a single block of
// memory. Metadata values are decoded from that block when asked for, and
// strings are views of it: an array of 100,000 tokens costs no allocation to
// open and one to fetch, and names and strings stay valid after [File.Close].
// Tensor data does not.
//
// The format is described at
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
package gguf
