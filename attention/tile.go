// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"math/bits"
	"unsafe"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/mem"
	"github.com/graphkv/graphkv/posenc"
)

// scratch is one worker's memory.
type scratch struct {
	kern   *kernels
	stride int       // from one lane's query or sums to the next's
	q, o   []float32 // [lanes][stride] rotated and scaled queries; Σ 2^(score−max)·value
	raw    []float32 // [lanes][HeadDim] queries as they are, for the next part
	panels []panel
	scores []float32                     // [maxLanes][scoreStride] of one panel and one block
	seen   [maxLanes * blockWords]uint64 // keys of the block that each lane sees
	head   []float32                     // [HeadDim]

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

// narrowPanels is the number of panels up to which keys and values are widened as they are read and not once for all panels.
const narrowPanels = 2

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

// attendTile computes the rows of one tile for the query heads that share the key/value head kv.
func (k *Kernel) attendTile(s *scratch, q *Query, t tile, kv int) {
	s.begin(t.lanes(k), k.headDim)
	shift, factor, packed := 0, float32(0), false
	left := int(t.keys)
	for i, first := int(t.part), int(t.key); i < len(q.Parts) && left > 0; i, first = i+1, 0 {
		p := &q.Parts[i]
		end := min(p.Len, first+left)
		left -= end - first
		keys := min(p.bound(int(t.row+t.rows)-1), end)
		if keys <= first || k.hidden(p, kv) {
			continue
		}
		f := k.scale * math.Log2E
		if p.Scale != 0 {
			f *= p.Scale
		}
		if !packed || f != factor || p.Shift != shift && k.rope != nil {
			k.pack(s, q, t, kv, p.Shift, f, !packed)
			shift, factor, packed = p.Shift, f, true
		}
		muted := k.setBias(s, p, kv)
		for j := first; j < keys; j += blockKeys {
			rest := q.Parts[i+1:]
			if left == 0 {
				rest = nil
			}
			s.ahead(p, rest, kv, j+blockKeys, keys)
			k.attendBlock(s, p, t, kv, j, min(blockKeys, p.Len-j), muted)
		}
	}
}

// ahead notes the keys and values that follow: those of p from key j on or, if j ≥ keys, those of the next part.
func (s *scratch) ahead(p *Part, rest []Part, kv, j, keys int) {
	s.nextKeys, s.nextValues = nil, nil
	if j >= keys {
		if len(rest) == 0 {
			return
		}
		p, j, keys = &rest[0], 0, rest[0].Len
	}
	if n := min(blockKeys, keys-j); n > 0 {
		s.nextKeys, s.nextValues = p.KV.raw(kv, j, n)
	}
}

// attendBlock adds n ≤ blockKeys keys from j to every panel.
func (k *Kernel) attendBlock(s *scratch, p *Part, t tile, kv, j, n int, muted bool) {
	d := k.headDim
	format := p.KV.format
	narrow := format != F32 && len(s.panels) <= narrowPanels && s.panels[len(s.panels)-1].height() <= s.kern.narrowRows
	var keys, values, keyScales, valueScales []float32
	var rawKeys, rawValues []byte
	if format == I8 {
		keyScales, valueScales = p.KV.scales(kv, j, n)
	}
	if narrow {
		rawKeys, rawValues = p.KV.raw(kv, j, n)
	} else {
		keys, values = s.block(p.KV, kv, j, n)
	}
	clean := unknown
	for i := range s.panels {
		x := &s.panels[i]
		h := x.height()
		full, some, next := k.look(s, x, p, int(t.row), j, n, muted)
		if some == 0 {
			continue
		}
		panels := (some + panelKeys - 1) / panelKeys
		at := i * aheadOf(d)
		nextKeys, nextValues := from(s.nextKeys, at, &s.scores[0]), from(s.nextValues, at, &s.scores[0])
		q, o := s.q[x.from*s.stride:], s.o[x.from*s.stride:]
		if narrow {
			s.kern.scoresNarrow(format, h, s.scores, q, rawKeys, nextKeys, d, panels)
		} else {
			s.kern.scores(h, s.scores, q, keys, nextKeys, d, panels, s.stride)
		}
		if format == I8 {
			s.kern.multiply(h, s.scores, keyScales[:panels*panelKeys])
		}
		if hidden := full / panelKeys; hidden < panels {
			s.kern.hide(h, s.scores, s.seen[:], next, hidden, panels)
		}
		s.kern.softmax(h, s.scores, &x.lanes, panels)
		if format == I8 {
			s.kern.multiply(h, s.scores, valueScales[:some])
		}
		if narrow && full == some {
			s.kern.mixNarrow(format, h, o, s.scores, rawValues, nextValues, x.alpha[:], d, some)
			continue
		}
		if values == nil {
			_, values = s.block(p.KV, kv, j, n)
		}
		if full < some && !s.finite(values, valueScales, d, full, some, &clean) {
			s.mixSeen(x, values, d, full, some)
			continue
		}
		s.kern.mix(h, o, s.scores, values, x.alpha[:], nextValues, d, some, s.stride)
	}
}

// block returns n keys from token j and their values, widened if need be, without the scales of 8-bit numbers.
func (s *scratch) block(x KV, kv, j, n int) (keys, values []float32) {
	if x.format == F32 {
		return numbers[float32](x, kv, j, n)
	}
	d := x.headDim
	keys, values = s.keys[:roundUp(n)*d], s.values[:n*d]
	switch x.format {
	case F16:
		k, v := numbers[uint16](x, kv, j, n)
		s.kern.widenF16(keys, k)
		s.kern.widenF16(values, v)
	case BF16:
		k, v := numbers[uint16](x, kv, j, n)
		s.kern.widenBF16(keys, k)
		s.kern.widenBF16(values, v)
	case I8:
		k, v := numbers[int8](x, kv, j, n)
		s.kern.widenI8(keys, k)
		s.kern.widenI8(values, v)
	}
	return keys, values
}

// aheadOf returns how many bytes a kernel brings closer while it computes a whole block for a tall panel.
func aheadOf(d int) int { return d * blockKeys / (4 * 2 * panelKeys) * 64 }

// from returns the address of x's byte at, or that of y if there is none.
func from(x []byte, at int, y *float32) unsafe.Pointer {
	if at < len(x) {
		return unsafe.Pointer(&x[at])
	}
	return unsafe.Pointer(y)
}

// What is known of a block's values.
const (
	unknown = iota
	allFinite
	someNot
)

// finite reports whether the values from lo to hi, or for 8-bit ones their scales, are finite, so that hidden ones among them may be
// multiplied by 0. Of long ranges it asks about the whole block, once for all panels.
func (s *scratch) finite(values, scales []float32, d, lo, hi int, state *int) bool {
	if scales != nil {
		return finitePortable(scales[lo:hi])
	}
	if lo, hi = lo*d, hi*d; (hi-lo)*4 < len(values) {
		return s.kern.finite(values[lo:hi])
	}
	if *state == unknown {
		*state = someNot
		if s.kern.finite(values) {
			*state = allFinite
		}
	}
	return *state == allFinite
}

var ones = [maxLanes]float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}

// mixSeen is mix for a block in which a lane must not touch what it does not see: from key full on, each lane goes over the runs of keys
// that it sees. The order of additions is that of mix.
func (s *scratch) mixSeen(x *panel, values []float32, d, full, some int) {
	h := x.to - x.from
	s.kern.mix(h, s.o[x.from*s.stride:], s.scores, values, x.alpha[:], unsafe.Pointer(&values[0]), d, full, s.stride)
	for l := range h {
		o, w := s.o[(x.from+l)*s.stride:], s.scores[l*scoreStride:]
		seen := s.seen[l*blockWords:][:blockWords]
		for j := full; j < some; {
			rest := seen[j/wordBits] >> (j % wordBits)
			if rest == 0 {
				j = (j/wordBits + 1) * wordBits
				continue
			}
			if skip := bits.TrailingZeros64(rest); skip > 0 {
				j += skip
				continue
			}
			n := min(bits.TrailingZeros64(^rest), wordBits-j%wordBits)
			s.kern.mix(1, o, w[j:], values[j*d:(j+n)*d], ones[:], unsafe.Pointer(&values[0]), d, n, s.stride)
			j += n
		}
	}
}

// hidden reports whether no query head of kv sees p.
func (k *Kernel) hidden(p *Part, kv int) bool {
	if p.Bias == nil {
		return false
	}
	for _, b := range p.Bias[kv*k.group : (kv+1)*k.group] {
		if b >= -math.MaxFloat32 {
			return false
		}
	}
	return true
}

// pack rotates and scales the tile's queries for one part, the first or a further one.
func (k *Kernel) pack(s *scratch, q *Query, t tile, kv, shift int, factor float32, first bool) {
	d := k.headDim
	width, nextRow := k.group*d, k.heads*d
	src := q.Q[int(t.row)*nextRow+kv*width:]
	if t.rows > 1 && len(q.Parts) > 2 {
		// Rows stand so far apart that they drive each other out of the caches: they are gathered for the parts to come.
		for i := 0; first && i < int(t.rows); i++ {
			copy(s.raw[i*width:(i+1)*width], src[i*nextRow:])
		}
		src, nextRow = s.raw, width
	}
	if k.rope != nil {
		place := posenc.Place{Rows: int(t.rows), Heads: k.group, NextRow: nextRow, Stride: s.stride}
		k.rope.RotateTo(s.q, src, place, shift+int(t.row), factor)
		return
	}
	for i := range t.lanes(k) {
		s.kern.scale(s.q[i*s.stride:][:d], src[i/k.group*nextRow+i%k.group*d:][:d], factor)
	}
}

// setBias sets the biases of the lanes and reports whether any hides the part.
func (k *Kernel) setBias(s *scratch, p *Part, kv int) (muted bool) {
	for i := range s.panels {
		x := &s.panels[i]
		if p.Bias == nil {
			x.bias = [maxLanes]float32{}
			continue
		}
		for l := range x.to - x.from {
			b := p.Bias[kv*k.group+(x.from+l)%k.group]
			muted = muted || b < -math.MaxFloat32
			if b >= -math.MaxFloat32 {
				b = max(b*math.Log2E, -math.MaxFloat32)
			}
			x.bias[l] = b
		}
	}
	return muted
}

// look finds which of the n keys from j the lanes of a panel see. It returns the number of leading keys that all lanes see, and the number
// of leading keys beyond which no lane sees any. Where they differ, or full is not a multiple of panelKeys, s.seen has the bits of every
// lane, next words from one lane to the next.
func (k *Kernel) look(s *scratch, x *panel, p *Part, row0, j, n int, muted bool) (full, some, next int) {
	row, last := row0+x.from/k.group, row0+(x.to-1)/k.group
	if p.Mask == nil && !muted && p.bound(row)-j >= n {
		for w := range blockWords {
			s.seen[w] = span(0, n-w*wordBits)
		}
		return n, n, 0
	}
	if p.bound(last) <= j {
		return 0, 0, 0
	}
	var all, any [blockWords]uint64
	for w := range all {
		all[w] = ^uint64(0)
	}
	g := x.from % k.group
	var words [blockWords]uint64
	for l, fresh := 0, true; l < x.to-x.from; l++ {
		if fresh {
			for w := range words {
				words[w] = p.visible(row, j+w*wordBits, n-w*wordBits)
			}
		}
		for w, v := range words {
			if x.bias[l] < -math.MaxFloat32 {
				v = 0
			}
			s.seen[l*blockWords+w] = v
			all[w] &= v
			any[w] |= v
		}
		if g++; g == k.group {
			row, g, fresh = row+1, 0, true
		} else {
			fresh = false
		}
	}
	for w := range all {
		lead := bits.TrailingZeros64(^all[w])
		if full == w*wordBits {
			full += lead
		}
		if any[w] != 0 {
			some = w*wordBits + bits.Len64(any[w])
		}
	}
	return full, some, blockWords
}

// rowsAhead is how many rows ahead outputs are asked for: heads of one row are too short for the hardware to notice.
const rowsAhead = 6

// store writes the tile's results.
func (k *Kernel) store(s *scratch, q *Query, t tile, kv int) {
	d, g := k.headDim, 0
	row := int(t.row)
	for i := range s.panels {
		x := &s.panels[i]
		for l := range x.to - x.from {
			at := row*k.heads + kv*k.group + g
			if end := int(t.row + t.rows); g == 0 && row+rowsAhead < end {
				s.kern.prefetch(q.Out[((row+rowsAhead)*k.heads+kv*k.group)*d:][:k.group*d])
			}
			sum := s.kern.normalize(q.Out[at*d:(at+1)*d], s.o[(x.from+l)*s.stride:][:d], &x.sum[l])
			if q.LSE != nil {
				q.LSE[at] = logSum(x.max[l], sum)
			}
			if g++; g == k.group {
				row, g = row+1, 0
			}
		}
	}
}

// logSum returns log(2^top·sum), −Inf for a sum of 0.
func logSum(top, sum float32) float32 {
	if sum == 0 {
		return float32(math.Inf(-1))
	}
	return float32(float64(top)*math.Ln2 + math.Log(float64(sum)))
}
