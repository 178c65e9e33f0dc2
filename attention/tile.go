// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"

	"github.com/graphkv/graphkv/posenc"
)

// attendTile computes the rows of one tile for the query heads that share the key/value head kv.
func (k *Kernel) attendTile(s *scratch, q *Query, t tile, kv int) {
	s.begin(t.lanes(k), k.headDim)
	s.weightless = q.weightless()
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
		for l := range x.height() {
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
		s.nextKeys, s.nextValues = p.KV.Memory(kv, j, n)
	}
}

// rowsAhead is how many rows ahead outputs are asked for: heads of one row are too short for the hardware to notice.
const rowsAhead = 6

// store writes the tile's results.
func (k *Kernel) store(s *scratch, q *Query, t tile, kv int) {
	d, g := k.headDim, 0
	row := int(t.row)
	for i := range s.panels {
		x := &s.panels[i]
		for l := range x.height() {
			at := row*k.heads + kv*k.group + g
			var sum float32
			if s.weightless {
				sum = total(&x.sum[l])
			} else {
				if end := int(t.row + t.rows); g == 0 && row+rowsAhead < end {
					s.kern.prefetch(q.Out[((row+rowsAhead)*k.heads+kv*k.group)*d:][:k.group*d])
				}
				sum = s.kern.normalize(q.Out[at*d:(at+1)*d], s.o[(x.from+l)*s.stride:][:d], &x.sum[l])
			}
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
