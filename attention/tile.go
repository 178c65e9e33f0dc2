// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"math/bits"
)

const (
	// panelLanes is the number of lanes, pairs of a query row and a head, that
	// the inner loops take at once: a vector of 16 float32.
	panelLanes = 16
	// tileLanes is the number of lanes of a tile. They read a block of keys from
	// the first-level cache after the first panel has loaded it.
	tileLanes = 64
	// blockKeys is the number of keys after which maxima and sums are updated.
	// Blocks start at multiples of it from a part's first key, whatever the rows,
	// which keeps a lane's arithmetic independent of its neighbours.
	blockKeys = wordBits
)

// lanes16 holds one number for each lane of a panel, in four groups.
type lanes16 [4][4]float32

// panel is the state of up to 16 lanes. Lane l is row l/group and head l%group
// of the tile, counted from the first lane of the tile.
type panel struct {
	lanes int       // lanes in use
	q     []lanes16 // [HeadDim] rotated and scaled queries, transposed
	acc   []float32 // [panelLanes][HeadDim] Σ exp(score−max)·value
	max   [panelLanes]float32
	sum   [panelLanes]float32 // Σ exp(score−max)
	bias  [panelLanes]float32
}

// scratch is one worker's memory.
type scratch struct {
	panels []panel
	head   []float32                       // [HeadDim]
	scores [panelLanes * blockKeys]float32 // of one panel and one block
	seen   [panelLanes]uint64              // keys of the block that each lane sees
}

func (s *scratch) resize(panels, headDim int) {
	for len(s.panels) < panels {
		s.panels = append(s.panels, panel{})
	}
	for i := range s.panels[:panels] {
		p := &s.panels[i]
		if cap(p.q) < headDim {
			p.q = make([]lanes16, headDim)
			p.acc = make([]float32, headDim*panelLanes)
		}
		p.q, p.acc = p.q[:headDim], p.acc[:headDim*panelLanes]
	}
	if cap(s.head) < headDim {
		s.head = make([]float32, headDim)
	}
	s.head = s.head[:headDim]
}

// attendTile computes rows row0…row0+rows−1 of q for the query heads that share
// the key/value head kv.
func (k *Kernel) attendTile(s *scratch, q *Query, row0, rows, kv int) {
	d := k.headDim
	panels := s.panels[:(rows*k.group+panelLanes-1)/panelLanes]
	for i := range panels {
		panels[i].reset(min(panelLanes, rows*k.group-i*panelLanes))
	}
	shift, factor, packed := 0, float32(0), false
	for i := range q.Parts {
		p := &q.Parts[i]
		keys := p.bound(row0 + rows - 1)
		if keys == 0 || k.hidden(p, kv) {
			continue
		}
		f := k.scale
		if p.Scale != 0 {
			f *= p.Scale
		}
		if !packed || f != factor || p.Shift != shift && k.rope != nil {
			k.pack(s, panels, q, row0, kv, p.Shift, f)
			shift, factor, packed = p.Shift, f, true
		}
		k.setBias(panels, p, kv)
		kp, vp := p.K[kv*p.stride()*d:], p.V[kv*p.stride()*d:]
		for j := 0; j < keys; j += blockKeys {
			n := min(blockKeys, p.Len-j)
			for x := range panels {
				full, some := k.look(s, &panels[x], p, row0, x*panelLanes, kv, j, n)
				if some > 0 {
					panels[x].block(s, kp[j*d:(j+some)*d], vp[j*d:(j+some)*d], full)
				}
			}
		}
	}
	k.store(panels, q, row0, kv)
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

// pack rotates and scales the tile's queries for one part.
func (k *Kernel) pack(s *scratch, panels []panel, q *Query, row0, kv, shift int, factor float32) {
	d, row, g := k.headDim, row0, 0
	for x := range panels {
		p := &panels[x]
		for l := range p.lanes {
			at := (row*k.heads + kv*k.group + g) * d
			copy(s.head, q.Q[at:at+d])
			if k.rope != nil {
				k.rope.Rotate(s.head, shift+row)
			}
			for t, v := range s.head {
				p.q[t][l>>2][l&3] = v * factor
			}
			if g++; g == k.group {
				row, g = row+1, 0
			}
		}
	}
}

func (k *Kernel) setBias(panels []panel, p *Part, kv int) {
	g := 0
	for x := range panels {
		for l := range panels[x].lanes {
			b := float32(0)
			if p.Bias != nil {
				b = p.Bias[kv*k.group+g]
			}
			panels[x].bias[l] = b
			if g++; g == k.group {
				g = 0
			}
		}
	}
}

// look finds which of the n keys from j the panel's lanes see, in s.seen. It
// returns the number of leading keys that all lanes see, and the number of
// leading keys beyond which no lane sees any.
func (k *Kernel) look(s *scratch, x *panel, p *Part, row0, lane0, kv, j, n int) (full, some int) {
	row, g := row0+lane0/k.group, lane0%k.group
	last := row0 + (lane0+x.lanes-1)/k.group
	if p.Mask == nil && p.Bias == nil && p.bound(row)-j >= n {
		return n, n
	}
	if p.bound(last) <= j {
		return 0, 0
	}
	all, any := ^uint64(0), uint64(0)
	w := p.visible(row, j, n)
	for l := range x.lanes {
		s.seen[l] = w
		if x.bias[l] < -math.MaxFloat32 {
			s.seen[l] = 0
		}
		all &= s.seen[l]
		any |= s.seen[l]
		if g++; g == k.group && l+1 < x.lanes {
			row, g = row+1, 0
			w = p.visible(row, j, n)
		}
	}
	return bits.TrailingZeros64(^all), bits.Len64(any)
}

// store writes the tile's results.
func (k *Kernel) store(panels []panel, q *Query, row0, kv int) {
	d, row, g := k.headDim, row0, 0
	for x := range panels {
		p := &panels[x]
		for l := range p.lanes {
			at := row*k.heads + kv*k.group + g
			out, acc := q.Out[at*d:(at+1)*d], p.acc[l*d:(l+1)*d]
			lse := float32(math.Inf(-1))
			if p.sum[l] == 0 {
				clear(out)
			} else {
				inv := 1 / p.sum[l]
				for t, v := range acc {
					out[t] = v * inv
				}
				lse = float32(float64(p.max[l]) + math.Log(float64(p.sum[l])))
			}
			if q.LSE != nil {
				q.LSE[at] = lse
			}
			if g++; g == k.group {
				row, g = row+1, 0
			}
		}
	}
}

func (p *panel) reset(lanes int) {
	p.lanes = lanes
	clear(p.q)
	clear(p.acc)
	for l := range p.max {
		p.max[l], p.sum[l] = float32(math.Inf(-1)), 0
	}
}
