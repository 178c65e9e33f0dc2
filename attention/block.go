// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"math/bits"
	"unsafe"
)

// narrowPanels is the number of panels up to which keys and values are widened as they are read and not once for all panels.
const narrowPanels = 2

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
		rawKeys, rawValues = p.KV.Memory(kv, j, n)
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
			s.kern.scoresNarrow(format, h, s.scores, q, rawKeys, d, panels)
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
		if s.weightless {
			continue
		}
		if format == I8 {
			s.kern.multiply(h, s.scores, valueScales[:some])
		}
		if narrow && full == some {
			s.kern.mixNarrow(format, h, o, s.scores, rawValues, x.alpha[:], d, some)
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
	for l, fresh := 0, true; l < x.height(); l++ {
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
	h := x.height()
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
