// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"math/bits"

	"github.com/graphkv/graphkv/internal/vec"
)

// block adds a block of keys and their values, each [n][HeadDim], to the panel.
// All lanes see the first full keys; beyond them s.seen says which lane sees
// which key.
//
// The steps dots, softmax and accumulate are the whole of the arithmetic. They
// share the layout of s.scores, [lane][blockKeys], and nothing else, so faster
// ones can replace them. Whatever they are, a lane's result must not depend on
// other lanes, on how many there are, or on hidden keys: every score is summed
// in one fixed order of the elements, weights and weighted values in one fixed
// order of the keys, and a hidden key adds nothing or an exact zero. Of vec.Exp
// this asks that an element's result does not depend on its place.
func (p *panel) block(s *scratch, k, v []float32, full int) {
	n := len(k) / len(p.q)
	p.dots(s.scores[:], k)
	for l := range p.lanes {
		row := s.scores[l*blockKeys : l*blockKeys+n]
		if full < n {
			if s.seen[l] == 0 {
				continue
			}
			for hide := ^s.seen[l] & span(0, n); hide != 0; hide &= hide - 1 {
				row[bits.TrailingZeros64(hide)] = float32(math.Inf(-1))
			}
		}
		p.softmax(l, row)
	}
	p.accumulate(s.scores[:], v, full)
	if full == n {
		return
	}
	d := len(p.q)
	for l := range p.lanes {
		acc := p.acc[l*d : (l+1)*d]
		for rest := s.seen[l] &^ span(0, full); rest != 0; rest &= rest - 1 {
			j := bits.TrailingZeros64(rest)
			axpy(acc, s.scores[l*blockKeys+j], v[j*d:(j+1)*d])
		}
	}
}

// dots computes the scores of all lanes and keys, four lanes and two keys at a
// time.
func (p *panel) dots(s, k []float32) {
	d := len(p.q)
	n := len(k) / d
	for g := 0; g*4 < p.lanes; g++ {
		s := s[g*4*blockKeys:][:4*blockKeys]
		j := 0
		for ; j+2 <= n; j += 2 {
			dots4x2(s[j:], p.q, g, k[j*d:(j+1)*d], k[(j+1)*d:(j+2)*d])
		}
		if j < n {
			dots4x2(s[j:], p.q, g, k[j*d:(j+1)*d], k[j*d:(j+1)*d])
		}
	}
}

// softmax turns the scores of one lane into weights relative to the lane's
// running maximum, which it updates together with the sum and the accumulator.
func (p *panel) softmax(l int, row []float32) {
	top, bias := p.max[l], p.bias[l]
	for j, x := range row {
		x += bias
		row[j] = x
		if x > top {
			top = x
		}
	}
	ref := top
	if ref < -math.MaxFloat32 { // nothing but −Inf so far: −Inf − −Inf would be NaN
		ref = 0
	}
	if top != p.max[l] {
		alpha := [1]float32{p.max[l] - ref}
		vec.Exp(alpha[:], alpha[:])
		p.max[l] = top
		p.sum[l] *= alpha[0]
		d := len(p.q)
		scale(p.acc[l*d:(l+1)*d], alpha[0])
	}
	for j := range row {
		row[j] -= ref
	}
	vec.Exp(row, row)
	p.sum[l] += sum(row)
}

// accumulate adds the first n values, weighted, to the accumulators, two lanes
// and four keys at a time.
func (p *panel) accumulate(s, v []float32, n int) {
	d := len(p.q)
	j := 0
	for ; j+4 <= n; j += 4 {
		v := v[j*d : (j+4)*d]
		l := 0
		for ; l+2 <= p.lanes; l += 2 {
			acc := p.acc[l*d : (l+2)*d]
			w := s[l*blockKeys+j:]
			axpy2x4(acc[:d], acc[d:], (*[4]float32)(w), (*[4]float32)(w[blockKeys:]), v)
		}
		if l < p.lanes {
			axpy1x4(p.acc[l*d:(l+1)*d], (*[4]float32)(s[l*blockKeys+j:]), v)
		}
	}
	for ; j < n; j++ {
		for l := range p.lanes {
			axpy(p.acc[l*d:(l+1)*d], s[l*blockKeys+j], v[j*d:(j+1)*d])
		}
	}
}
