// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"

	"github.com/graphkv/graphkv/internal/mem"
)

// decodeKeys is the number of keys of a range that a worker takes when a query of few rows is split over its keys. It does not depend on
// the number of workers, so neither does the result.
const decodeKeys = 4 * blockKeys

// decode is the part of a Workspace that serves queries split over keys.
type decode struct {
	split  []splitTile
	pieces int       // ranges of all split tiles
	lanes  int       // lanes of all ranges, for one key/value head
	out    []float32 // [KVHeads][lanes][HeadDim] weighted sums of the ranges
	max    []float32 // [KVHeads][lanes] largest scores, times log₂e
	sum    []float32 // [KVHeads][lanes] sums of weights
	body   func(worker, i int)
}

// splitTile is a tile whose ranges are pieces first…first+n−1. Ranges of a tile have equally many lanes, at one run.
type splitTile struct {
	tile
	first, n int32
	lane     int // of the first range
}

func (x *decode) reset() { x.split, x.pieces, x.lanes = x.split[:0], 0, 0 }

// cutKeys splits t into ranges of at least decodeKeys keys, in whole blocks of a part, and lists them as tiles. It returns false if there
// is but one range.
func (ws *Workspace) cutKeys(q *Query, t tile) bool {
	x := &ws.decode
	st := splitTile{tile: t, first: int32(x.pieces), lane: x.lanes}
	tiles := len(ws.tiles)
	t.key, t.part, t.keys = 0, 0, 0
	add := func() {
		t.piece, t.cost = int32(x.pieces), int64(t.rows)*2*int64(t.keys)
		ws.tiles = append(ws.tiles, t)
		x.pieces++
		x.lanes += t.lanes(ws.kernel)
	}
	for i := range q.Parts {
		keys := q.Parts[i].Len
		for j := 0; j < keys; j += blockKeys {
			if t.keys == 0 {
				t.part, t.key = int32(i), int32(j)
			}
			if t.keys += int32(min(blockKeys, keys-j)); t.keys >= decodeKeys {
				add()
				t.keys = 0
			}
		}
	}
	if t.keys > 0 {
		add()
	}
	if st.n = int32(x.pieces) - st.first; st.n <= 1 {
		ws.tiles, x.pieces, x.lanes = ws.tiles[:tiles], int(st.first), st.lane
		return false
	}
	x.split = append(x.split, st)
	return true
}

func (x *decode) resize(k *Kernel) {
	n := x.lanes * k.kvHeads
	if len(x.max) < n {
		x.max, x.sum = make([]float32, n), make([]float32, n)
	}
	if n *= k.headDim; len(x.out) < n {
		x.out = mem.Floats(n)
	}
}

// lane returns the first lane of a piece: those of a split tile follow each other.
func (x *decode) lane(k *Kernel, piece int32) int {
	lo, hi := 0, len(x.split)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; x.split[m].first <= piece {
			lo = m
		} else {
			hi = m
		}
	}
	st := &x.split[lo]
	return st.lane + int(piece-st.first)*st.lanes(k)
}

// keep saves the result of a range.
func (x *decode) keep(k *Kernel, s *scratch, t tile, kv int) {
	at := kv*x.lanes + x.lane(k, t.piece)
	for i := range s.panels {
		p := &s.panels[i]
		for l := range p.to - p.from {
			x.max[at], x.sum[at] = p.max[l], total(&p.sum[l])
			copy(x.out[at*k.headDim:(at+1)*k.headDim], s.o[(p.from+l)*s.stride:])
			at++
		}
	}
}

// merge joins the ranges of one split tile for one key/value head by their maxima and sums, in their order.
func (ws *Workspace) merge(worker, i int) {
	x, k := &ws.decode, ws.kernel
	st, kv := &x.split[i/k.kvHeads], i%k.kvHeads
	q, s, d := &ws.queries[st.query], &ws.scratch[worker], k.headDim
	lanes := st.lanes(k)
	for l := range lanes {
		first := kv*x.lanes + st.lane + l
		top := float32(math.Inf(-1))
		for p := range int(st.n) {
			if m := x.max[first+p*lanes]; m > top {
				top = m
			}
		}
		acc, sum := s.head, float32(0)
		clear(acc)
		for p := range int(st.n) {
			at := first + p*lanes
			if x.sum[at] == 0 { // saw nothing, or nothing but −Inf
				continue
			}
			w := exp2Portable(x.max[at] - top)
			sum += float32(w * x.sum[at])
			for t, v := range x.out[at*d : (at+1)*d] {
				acc[t] += float32(w * v)
			}
		}
		at := (int(st.row)+l/k.group)*k.heads + kv*k.group + l%k.group
		if sum == 0 {
			clear(q.Out[at*d : (at+1)*d])
		} else {
			s.kern.scale(q.Out[at*d:(at+1)*d], acc, 1/sum)
		}
		if q.LSE != nil {
			q.LSE[at] = logSum(top, sum)
		}
	}
}
