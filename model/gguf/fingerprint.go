// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// fingerprintLeaf is how much of a tensor is hashed in one piece.
const fingerprintLeaf = 1 << 20

// Fingerprint identifies the model: it is the same for two files exactly if
// they hold the same tensors (names, types, shapes, bytes) and the same
// metadata that bears on what the model computes, wherever these lie in the
// file. Left out are the general.* keys save general.architecture, the
// quantize.* keys and chat templates, which describe the model or its use.
//
// It is a SHA-256 tree: tensor data is hashed in leaves of 1 MiB on all
// processors, then the digests with everything else in order of name. The
// first call reads the whole file, further calls return the same value. It
// panics with [ErrClosed] if the file was closed before the first call.
func (f *File) Fingerprint() [32]byte { return f.hash() }

func (f *File) fingerprint() [32]byte {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed.Load() {
		panic(ErrClosed)
	}
	tensors := f.Tensors()
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	leaves := hashLeaves(tensors)

	w := treeHash{sha256.New()}
	w.text("graphkv model fingerprint 1")
	keys := slices.DeleteFunc(f.Keys(), func(k string) bool { return !identifies(k) })
	slices.Sort(keys)
	w.uint(uint64(len(keys)))
	for _, k := range keys {
		v, _ := f.Value(k)
		w.text(k)
		w.uint(uint64(v.kind))
		w.uint(uint64(v.elem))
		w.uint(uint64(v.n))
		w.text(v.raw)
	}
	w.uint(uint64(len(tensors)))
	for i, t := range tensors {
		w.text(t.Name)
		w.uint(uint64(t.Type))
		w.uint(uint64(len(t.Shape)))
		for _, n := range t.Shape {
			w.uint(uint64(n))
		}
		w.uint(uint64(len(t.Data)))
		for _, leaf := range leaves[i] {
			w.h.Write(leaf[:])
		}
	}
	return [32]byte(w.h.Sum(nil))
}

// identifies reports whether a metadata key is part of a model's identity.
func identifies(key string) bool {
	switch {
	case key == "general.architecture":
		return true
	case strings.HasPrefix(key, "general."), strings.HasPrefix(key, "quantize."),
		strings.HasPrefix(key, "tokenizer.chat_template"):
		return false
	}
	return true
}

// hashLeaves returns the digests of every tensor's leaves.
func hashLeaves(tensors []Tensor) [][][32]byte {
	type leaf struct {
		digest *[32]byte
		data   []byte
	}
	digests := make([][][32]byte, len(tensors))
	var work []leaf
	for i, t := range tensors {
		digests[i] = make([][32]byte, (len(t.Data)+fingerprintLeaf-1)/fingerprintLeaf)
		j := 0
		for piece := range slices.Chunk(t.Data, fingerprintLeaf) {
			work = append(work, leaf{&digests[i][j], piece})
			j++
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(work)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(work) {
					return
				}
				*work[i].digest = sha256.Sum256(work[i].data)
			}
		})
	}
	wg.Wait()
	return digests
}

// treeHash writes fields so that no two sequences of them write the same bytes.
type treeHash struct{ h hash.Hash }

func (w treeHash) uint(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	w.h.Write(b[:])
}

func (w treeHash) text(s string) {
	w.uint(uint64(len(s)))
	w.h.Write([]byte(s))
}
