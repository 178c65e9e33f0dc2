// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gemm

// portableRows is the height of the portable kernel's tiles. Scalar code is bound by its arithmetic and gains nothing from a taller one.
const portableRows = 4

// tilePortable is the portable micro-kernel: c[i][j] = Σₚ a[p][i]·b[p][j] over a tile of h rows and one panel, with a packed [k][h] and b
// [k][16], from c on if more. The product is rounded before it is added, on every architecture, so that a result is the same wherever it is computed.
func tilePortable(c []float32, ldc int, a, b []float32, _, h, _ int, more bool) {
	for i := range h {
		for j := 0; j < Panel; j += 8 {
			var s0, s1, s2, s3, s4, s5, s6, s7 float32
			if more {
				x := (*[8]float32)(c[i*ldc+j:])
				s0, s1, s2, s3, s4, s5, s6, s7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
			}
			for x, y := i, j; x < len(a); x, y = x+h, y+Panel {
				v, w := a[x], (*[8]float32)(b[y:])
				s0 += float32(v * w[0])
				s1 += float32(v * w[1])
				s2 += float32(v * w[2])
				s3 += float32(v * w[3])
				s4 += float32(v * w[4])
				s5 += float32(v * w[5])
				s6 += float32(v * w[6])
				s7 += float32(v * w[7])
			}
			*(*[8]float32)(c[i*ldc+j:]) = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
		}
	}
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
