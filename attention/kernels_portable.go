// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"unsafe"
)

// The loops here round every product before it is added, so that no compiler may fuse one of two loops that must agree to the last bit.

// chainDims is the number of elements that one chain of additions of a dot product covers. Chains are then added up. Shorter chains round
// less, which makes up for the rounding of the products.
const chainDims = 16

// scoresPortable takes four elements at a time through one sum after the other, as the portable kernel of package gemm does: see there.
func scoresPortable(h int, s, q, k []float32, _ unsafe.Pointer, d, panels, stride int) {
	whole := d // the last chain is apart if it is not made of fours
	if d%4 != 0 {
		whole -= d % chainDims
	}
	for p := range panels {
		kp := k[p*d*panelKeys:][:d*panelKeys]
		for i := range h {
			qi := q[i*stride:][:d]
			for j := 0; j < panelKeys; j += 8 {
				out := (*[8]float32)(s[i*scoreStride+p*panelKeys+j:])
				*out = [8]float32{}
				for t := 0; t < whole; t += chainDims {
					var a0, a1, a2, a3, a4, a5, a6, a7 float32
					for u := t; u < min(t+chainDims, whole); u += 4 {
						x, y := (*[4]float32)(qi[u:]), (*elements4)(kp[u*panelKeys+j:])
						x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
						a0 = y.add(a0, x0, x1, x2, x3, 0)
						a1 = y.add(a1, x0, x1, x2, x3, 1)
						a2 = y.add(a2, x0, x1, x2, x3, 2)
						a3 = y.add(a3, x0, x1, x2, x3, 3)
						a4 = y.add(a4, x0, x1, x2, x3, 4)
						a5 = y.add(a5, x0, x1, x2, x3, 5)
						a6 = y.add(a6, x0, x1, x2, x3, 6)
						a7 = y.add(a7, x0, x1, x2, x3, 7)
					}
					out[0] += a0
					out[1] += a1
					out[2] += a2
					out[3] += a3
					out[4] += a4
					out[5] += a5
					out[6] += a6
					out[7] += a7
				}
				for e := 0; whole < d && e < len(out); e++ {
					var a float32
					for u := whole; u < d; u++ {
						a += float32(qi[u] * kp[u*panelKeys+j+e])
					}
					out[e] += a
				}
			}
		}
	}
}

// elements4 is four elements of eight keys of a panel.
type elements4 [3*panelKeys + 8]float32

// add returns s plus the products of key j, one after the other.
func (y *elements4) add(s, x0, x1, x2, x3 float32, j int) float32 {
	s += float32(x0 * y[j])
	s += float32(x1 * y[j+panelKeys])
	s += float32(x2 * y[j+2*panelKeys])
	return s + float32(x3*y[j+3*panelKeys])
}

func hidePortable(h int, s []float32, words []uint64, next, first, last int) {
	lowest := float32(math.Inf(-1))
	for i := range h {
		row, w := s[i*scoreStride:][:last*panelKeys], words[i*next:]
		for j := first * panelKeys; j < len(row); j++ {
			if w[j/wordBits]>>(j%wordBits)&1 == 0 {
				row[j] = lowest
			}
		}
	}
}

// softmaxPortable turns the scores of a block into weights 2^(score+bias−max), where max is the largest score plus bias so far, and updates
// max and the sums of weights. It leaves in alpha what earlier sums and weighted sums are to be multiplied by; the former it has
// multiplied. Scores and biases are to base 2.
//
// NaN never becomes the maximum, but the weight of a NaN score is NaN, and so is that of +Inf. A score of −Inf weighs 0.
func softmaxPortable(h int, s []float32, st *lanes, panels int) {
	lowest := float32(math.Inf(-1))
	for i := range h {
		row := s[i*scoreStride:][:panels*panelKeys]
		top := lowest
		for _, x := range row {
			if x > top {
				top = x
			}
		}
		st.top[i] = top
		top += st.bias[i]
		if !(top > st.max[i]) {
			top = st.max[i]
		}
		alpha, ref := float32(1), float32(math.Inf(1)) // nothing but −Inf so far: −Inf − −Inf would be NaN
		if top != lowest {
			alpha, ref = exp2Portable(st.max[i]-top), top-st.bias[i]
		}
		st.max[i], st.alpha[i], st.ref[i] = top, alpha, ref
		sum := &st.sum[i]
		for j := range sum {
			sum[j] *= alpha
		}
		for ; len(row) >= panelKeys; row = row[panelKeys:] {
			for j := range sum {
				x := exp2Portable(row[j] - ref)
				row[j] = x
				sum[j] += x
			}
		}
	}
}

const (
	exp2Round = 0x1.8p23 // adding it rounds a float32 of small magnitude to an integer, which then stands in the low bits
	exp2Cut   = -125
	// 2ᶠ ≈ 1 + e1·f + … + e5·f⁵ on |f| ≤ ½ with a relative error below 0.9·2⁻²³ (minimax, coefficients rounded to float32).
	e1 = 0x1.62e42ap-1
	e2 = 0x1.ebf9bcp-3
	e3 = 0x1.c6b754p-5
	e4 = 0x1.3ceab8p-7
	e5 = 0x1.5bba4cp-10
)

// exp2Portable returns 2ˣ for x ≤ 1 with a relative error below 2⁻²², and 1 for 0. Below −125 the result is 0: what weighs less than 2⁻¹²⁵
// of the heaviest key weighs nothing. 2^NaN is NaN.
func exp2Portable(x float32) float32 {
	if x < exp2Cut {
		return 0
	}
	t := x + exp2Round
	f := x - (t - exp2Round)
	p := float32(float32(e5)*f) + e4
	p = float32(p*f) + e3
	p = float32(p*f) + e2
	p = float32(p*f) + e1
	p = float32(p*f) + 1
	return p * math.Float32frombits(math.Float32bits(t)<<23+0x3f800000)
}

func mixPortable(h int, o, p, v, alpha []float32, _ unsafe.Pointer, d, n, stride int) {
	for i := range h {
		acc, w := o[i*stride:][:d], p[i*scoreStride:][:n]
		a := alpha[i]
		for t := range acc {
			acc[t] *= a
		}
		j := 0
		for ; j+4 <= n; j += 4 {
			axpy4(acc, (*[4]float32)(w[j:]), v[j*d:][:4*d])
		}
		for ; j < n; j++ {
			w := w[j]
			for t, x := range v[j*d:][:d] {
				acc[t] += float32(w * x)
			}
		}
	}
}

// axpy4 adds four weighted values, which follow each other in v, to acc.
func axpy4(acc []float32, w *[4]float32, v []float32) {
	d := len(acc)
	v0, v1, v2, v3 := v[:d], v[d:][:d], v[2*d:][:d], v[3*d:][:d]
	w0, w1, w2, w3 := w[0], w[1], w[2], w[3]
	for t, x := range acc {
		x += float32(w0 * v0[t])
		x += float32(w1 * v1[t])
		x += float32(w2 * v2[t])
		x += float32(w3 * v3[t])
		acc[t] = x
	}
}

func finitePortable(x []float32) bool {
	for _, v := range x {
		if !finite(v) {
			return false
		}
	}
	return true
}

func scalePortable(dst, src []float32, factor float32) {
	for i, x := range src {
		dst[i] = float32(x*factor) + 0
	}
}

func widenF16Portable(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = fromF16(h)
	}
}

func widenBF16Portable(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = fromBF16(h)
	}
}

func widenI8Portable(dst []float32, src []int8) {
	for i, x := range src {
		dst[i] = float32(x)
	}
}

func multiplyPortable(h int, s, scales []float32) {
	for i := range h {
		row := s[i*scoreStride:][:len(scales)]
		for j, x := range scales {
			row[j] *= x
		}
	}
}

func normalizePortable(dst, src []float32, sums *[panelKeys]float32) float32 {
	sum := total(sums)
	if sum == 0 {
		clear(dst)
		return 0
	}
	scalePortable(dst, src[:len(dst)], 1/sum)
	return sum
}

// total adds up a lane's sums.
func total(x *[panelKeys]float32) float32 {
	var y [8]float32
	for i := range y {
		y[i] = x[i] + x[i+8]
	}
	return ((y[0] + y[4]) + (y[2] + y[6])) + ((y[1] + y[5]) + (y[3] + y[7]))
}
