// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

// The inner loops round every product before it is added, so that no compiler
// may fuse one of two loops that must agree to the last bit.

// chainDims is the number of elements that one chain of additions of a dot
// product covers. Chains are then added up. Shorter chains round less, which
// shows when logits are large.
const chainDims = 16

// dots4x2 computes the dot products of group g of the lanes of q with two keys.
// Lane l's go to s[l*blockKeys] and s[l*blockKeys+1].
func dots4x2(s []float32, q []lanes16, g int, k0, k1 []float32) {
	s = s[:3*blockKeys+2]
	s[0], s[1] = 0, 0
	s[blockKeys], s[blockKeys+1] = 0, 0
	s[2*blockKeys], s[2*blockKeys+1] = 0, 0
	s[3*blockKeys], s[3*blockKeys+1] = 0, 0
	for len(k0) > 0 {
		n := min(len(k0), chainDims)
		q0, x0, y0 := q[:n], k0[:n], k1[:n]
		q, k0, k1 = q[n:], k0[n:], k1[n:]
		var a0, a1, a2, a3, b0, b1, b2, b3 float32
		for t, x := range x0 {
			y := y0[t]
			v := &q0[t][g&3]
			a0 += float32(v[0] * x)
			b0 += float32(v[0] * y)
			a1 += float32(v[1] * x)
			b1 += float32(v[1] * y)
			a2 += float32(v[2] * x)
			b2 += float32(v[2] * y)
			a3 += float32(v[3] * x)
			b3 += float32(v[3] * y)
		}
		s[0] += a0
		s[1] += b0
		s[blockKeys] += a1
		s[blockKeys+1] += b1
		s[2*blockKeys] += a2
		s[2*blockKeys+1] += b2
		s[3*blockKeys] += a3
		s[3*blockKeys+1] += b3
	}
}

// axpy adds w·v to acc.
func axpy(acc []float32, w float32, v []float32) {
	acc = acc[:len(v)]
	for t, x := range v {
		acc[t] += float32(w * x)
	}
}

// axpy1x4 adds four weighted values, which follow each other in v, to acc.
func axpy1x4(acc []float32, w *[4]float32, v []float32) {
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

// axpy2x4 is axpy1x4 for two lanes.
func axpy2x4(acc0, acc1 []float32, w, u *[4]float32, v []float32) {
	d := len(acc0)
	acc1 = acc1[:d]
	v0, v1, v2, v3 := v[:d], v[d:][:d], v[2*d:][:d], v[3*d:][:d]
	w0, w1, w2, w3 := w[0], w[1], w[2], w[3]
	u0, u1, u2, u3 := u[0], u[1], u[2], u[3]
	for t, x := range acc0 {
		y := acc1[t]
		a, b, c, d := v0[t], v1[t], v2[t], v3[t]
		x += float32(w0 * a)
		y += float32(u0 * a)
		x += float32(w1 * b)
		y += float32(u1 * b)
		x += float32(w2 * c)
		y += float32(u2 * c)
		x += float32(w3 * d)
		y += float32(u3 * d)
		acc0[t], acc1[t] = x, y
	}
}

// scale multiplies acc by a.
func scale(acc []float32, a float32) {
	for t := range acc {
		acc[t] *= a
	}
}

// sum adds up x in four chains, of the elements that are 0, 1, 2 and 3 modulo 4.
// Zeros at the end change nothing.
func sum(x []float32) float32 {
	var s [4]float32
	for ; len(x) >= 4; x = x[4:] {
		s[0] += x[0]
		s[1] += x[1]
		s[2] += x[2]
		s[3] += x[3]
	}
	for i, v := range x {
		s[i&3] += v
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}
