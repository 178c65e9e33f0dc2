// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

// portableRows is the height of the portable kernel's tiles. Scalar code is bound by its arithmetic and gains nothing from a taller one.
const portableRows = 4

// tilePortable is the portable micro-kernel: c[i][j] = Σₚ a[p][i]·b[p][j] over a tile of h rows and one panel, with a packed [k][h] and b
// [k][16], from c on if more. The product is rounded before it is added, on every architecture, so that a result is the same wherever it is
// computed.
//
// Four steps of k at a time go through one sum after the other: products of a step made side by side need more registers than there are, and
// a sum that waits in memory costs half the speed.
func tilePortable(c []float32, ldc int, a, b []float32, _, h, _ int, more bool) {
	for i := range h {
		for j := 0; j < Panel; j += 8 {
			out := (*[8]float32)(c[i*ldc+j:])
			if !more {
				clear(out[:])
			}
			s0, s1, s2, s3, s4, s5, s6, s7 := out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]
			x, y := i, j
			for ; x+3*h < len(a); x, y = x+4*h, y+4*Panel {
				x0, x1, x2, x3, w := a[x], a[x+h], a[x+2*h], a[x+3*h], (*steps4)(b[y:])
				s0 = w.add(s0, x0, x1, x2, x3, 0)
				s1 = w.add(s1, x0, x1, x2, x3, 1)
				s2 = w.add(s2, x0, x1, x2, x3, 2)
				s3 = w.add(s3, x0, x1, x2, x3, 3)
				s4 = w.add(s4, x0, x1, x2, x3, 4)
				s5 = w.add(s5, x0, x1, x2, x3, 5)
				s6 = w.add(s6, x0, x1, x2, x3, 6)
				s7 = w.add(s7, x0, x1, x2, x3, 7)
			}
			*out = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
			for ; x < len(a); x, y = x+h, y+Panel {
				for e, w := range (*[8]float32)(b[y:]) {
					out[e] += float32(a[x] * w)
				}
			}
		}
	}
}

// steps4 is four steps of half a panel.
type steps4 [3*Panel + 8]float32

// add returns s plus the products of output j, one after the other.
func (w *steps4) add(s, x0, x1, x2, x3 float32, j int) float32 {
	s += float32(x0 * w[j])
	s += float32(x1 * w[j+Panel])
	s += float32(x2 * w[j+2*Panel])
	return s + float32(x3*w[j+3*Panel])
}

// packPortable interleaves h rows of k values.
func packPortable(dst, src []float32, lda, h, k int) {
	for i := range h {
		row := src[i*lda:][:k]
		for p, at := 0, i; p < len(row) && at < len(dst); p, at = p+1, at+h {
			dst[at] = row[p]
		}
	}
}
