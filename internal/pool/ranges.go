// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package pool

import "sync/atomic"

// ranges hands out iterations so that a worker gets neighbours: each has a range of its own to go through from the front, and takes half of
// what is left of another's, the far half, when it is done.
type ranges []span

// span is the iterations that one worker has yet to begin, the first in the low half and the end in the high one. Only its worker puts more
// into it, and no range ever returns, so that a compare-and-swap on an old value fails.
type span struct {
	atomic.Uint64
	_ [56]byte // a line of its own
}

func pack(from, to uint32) uint64 { return uint64(from) | uint64(to)<<32 }

func (s *span) bounds() (v uint64, from, to uint32) {
	v = s.Load()
	return v, uint32(v), uint32(v >> 32)
}

// deal spreads n iterations over all workers.
func (r ranges) deal(n int) {
	for w := range r {
		r[w].Store(pack(uint32(w*n/len(r)), uint32((w+1)*n/len(r))))
	}
}

// left reports whether there are iterations to begin.
func (r ranges) left() bool {
	for w := range r {
		if _, from, to := r[w].bounds(); from < to {
			return true
		}
	}
	return false
}

// take returns an iteration for worker w, −1 if there are none.
func (r ranges) take(w int) int {
	for {
		v, from, to := r[w].bounds()
		if from == to {
			break
		}
		if r[w].CompareAndSwap(v, pack(from+1, to)) {
			return int(from)
		}
	}
	for {
		victim, most := -1, uint32(0)
		for o := range r {
			if _, from, to := r[o].bounds(); to-from > most {
				victim, most = o, to-from
			}
		}
		if victim < 0 {
			return -1
		}
		v, from, to := r[victim].bounds()
		if from == to {
			continue
		}
		middle := from + (to-from)/2
		if r[victim].CompareAndSwap(v, pack(from, middle)) {
			r[w].Store(pack(middle+1, to))
			return int(middle)
		}
	}
}

// drop forgets the iterations that no worker has taken.
func (r ranges) drop() {
	for w := range r {
		r[w].Store(0)
	}
}
