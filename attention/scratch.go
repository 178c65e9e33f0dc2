// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/mem"
)

// scratch is one worker's memory.
type scratch struct {
	kern   *kernels
	stride int       // from one lane's query or sums to the next's
	q, o   []float32 // [lanes][stride] rotated and scaled queries; Σ 2^(score−max)·value
	raw    []float32 // [lanes][HeadDim] queries as they are, for the next part
	panels []panel
	// weightless is set while only log-sum-exps are wanted.
	weightless bool
	scores     []float32                     // [maxLanes][scoreStride] of one panel and one block
	seen       [maxLanes * blockWords]uint64 // keys of the block that each lane sees
	head       []float32                     // [HeadDim]

	keys, values         []float32 // [blockKeys][HeadDim] of a block, widened
	nextKeys, nextValues []byte    // the block after the one at hand

	words  []uint64 // of a partial block of a mask
	bitmap Bitmap   // a window on them
}

// panel is up to kernels.rows lanes that go through the kernels together. Lane l of a tile is its row l/group and head l%group.
type panel struct {
	from, to int // lanes of the tile
	lanes
}

func (x *panel) height() int { return x.to - x.from }

func strideFor(headDim int) int {
	if headDim <= maxHeadDim {
		return laneStride
	}
	return headDim + panelKeys
}

// resize readies the scratch memory for tiles of up to n lanes, for keys and values that are to be widened, and for bitmaps of some words. It
// does so for every worker, whichever of them will find work.
func (s *scratch) resize(n, headDim int, widen bool, words int) {
	s.kern, s.stride = kernelsFor(cpu.Current(), headDim), strideFor(headDim)
	if count := (n + s.kern.rows - 1) / s.kern.rows; cap(s.panels) < count {
		s.panels = make([]panel, count)
	}
	if widen && len(s.keys) < blockKeys*headDim {
		s.keys, s.values = mem.Floats(blockKeys*headDim), mem.Floats(blockKeys*headDim)
	}
	if cap(s.words) < words {
		s.words = make([]uint64, words)
	}
	if len(s.raw) < n*headDim {
		s.raw = mem.Floats(n * headDim)
	}
	if n *= s.stride; len(s.q) < n {
		s.q, s.o = mem.Floats(n), mem.Floats(n)
	}
	if s.scores == nil {
		s.scores = mem.Floats(maxLanes * scoreStride)
	}
	if cap(s.head) < headDim {
		s.head = make([]float32, headDim)
	}
	s.head = s.head[:headDim]
}

// begin cuts the lanes of a tile into panels of nearly equal height and forgets what they knew.
func (s *scratch) begin(n, headDim int) {
	count := (n + s.kern.rows - 1) / s.kern.rows
	s.panels = s.panels[:count]
	for i := range s.panels {
		x := &s.panels[i]
		x.from, x.to = i*n/count, (i+1)*n/count
		x.lanes.sum = [maxLanes][panelKeys]float32{}
		for l := range x.max {
			x.max[l] = float32(math.Inf(-1))
		}
	}
	for l := range n {
		clear(s.o[l*s.stride:][:headDim])
	}
}
