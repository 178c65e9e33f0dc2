// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"sync/atomic"
	"unsafe"
)

// Stretch is memory that is read in rounds, the same number of bytes in each.
type Stretch struct {
	First []byte // what is read in round 0
	Apart int    // bytes from a round's to the next one's
}

// Ahead names what will be read after the products to come: the given round's of all stretches. Products of some rows by packed weights
// compute for longer than they wait for memory, and so have time to bring it closer. s is kept until the next call, of which one without
// stretches ends it.
func (ws *Workspace) Ahead(round int, s []Stretch) {
	h := &ws.call.ahead
	h.round, h.stretches = round, s
	h.at.Store(0)
}

// nextRows is the number of rows from which kernels for packed panels read ahead, nextBytes for every step of k. The generator knows the
// same numbers.
const nextRows, nextBytes = 5, 16

// ahead hands out memory to bring closer.
type ahead struct {
	stretches []Stretch
	round     int
	at        atomic.Uint64 // what comes next: the stretch in the high half, the byte of it in the low one
}

// take returns where a kernel of k steps is to read ahead, or other if nothing is left. It may read beyond a stretch, as no such address is
// ever followed.
func (h *ahead) take(k int, other *byte) *byte {
	for {
		v := h.at.Load()
		i, from := int(v>>32), int(uint32(v))
		if i >= len(h.stretches) {
			return other
		}
		s := &h.stretches[i]
		next := uint64(i+1) << 32
		if end := from + k*nextBytes; end < len(s.First) {
			next = v&^(1<<32-1) | uint64(end)
		}
		if h.at.CompareAndSwap(v, next) {
			return (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.First)), h.round*s.Apart+from))
		}
	}
}
