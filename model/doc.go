// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package model runs Llama-family decoders on the CPU from GGUF files
// (architectures "llama" and "qwen2").
//
// A forward pass takes a batch of runs. A run is a stretch of consecutive tokens
// of one node: it attends to the node's sources, whose keys and values it reads
// in place, and causally to the node itself. Every layer first computes the keys
// and values of all runs and only then attends, so a run may read sources that
// are encoded in the very same batch, and runs may read one another in a circle. A whole graph, its query included, is
// therefore one pass over the weights however deep it is; a plain causal prompt
// is the same pass with one run.
//
// Keys are rotated at local positions 0…L−1 when they are encoded and never
// again: where a source appears to stand is a shift of the reader's query (see
// package attention).
//
// What a token's keys and values are depends on nothing but its node's tokens
// and sources. The other runs of a batch, how a node is split into runs, and the
// number of workers change no bit of them.
package model
