// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

// The rotations turn pairs of dimensions of head vectors as rotary embeddings do: pair (a, b) number i becomes
//
//	((a·c − b·s)·scale, (a·s + b·c)·scale)  with  c = cos[i]·cosFactor, s = sin[i]·sinFactor
//
// where every operation rounds, so that all tiers give the same bits. x is heads vectors [dim] and head h is written to dst[h·stride:], which
// may be x if stride is dim. There are as many pairs as cosines and sines; dimensions beyond them are not touched. Arguments are not gathered
// in a struct because writing one takes as long as rotating a head.

// RotateInterleaved turns the pairs (0,1), (2,3), … of every head.
func RotateInterleaved(dst, x []float32, heads, stride, dim int, cos, sin []float32, cosFactor, sinFactor, scale float32) {
	if heads == 0 && len(x) == 0 {
		return
	}
	if !headsFit(dst, x, heads, stride, dim, cos, sin) {
		refuseHeads("RotateInterleaved", dst, x, heads, stride, dim, cos, sin)
	}
	if rotateInterleavedVector(dst, x, heads, stride, dim, cos, sin, cosFactor, sinFactor, scale) {
		return
	}
	sin = sin[:len(cos)]
	for h := range heads {
		v, out := x[h*dim:][:2*len(cos)], dst[h*stride:][:2*len(cos)]
		for i, c := range cos {
			co, si := c*cosFactor, sin[i]*sinFactor
			a, b := v[2*i], v[2*i+1]
			out[2*i] = (float32(a*co) - float32(b*si)) * scale
			out[2*i+1] = (float32(a*si) + float32(b*co)) * scale
		}
	}
}

// RotateHalfSplit turns the pairs (i, n+i) for i < n = len(cos) of every head.
func RotateHalfSplit(dst, x []float32, heads, stride, dim int, cos, sin []float32, cosFactor, sinFactor, scale float32) {
	if heads == 0 && len(x) == 0 {
		return
	}
	if !headsFit(dst, x, heads, stride, dim, cos, sin) {
		refuseHeads("RotateHalfSplit", dst, x, heads, stride, dim, cos, sin)
	}
	if rotateHalfSplitVector(dst, x, heads, stride, dim, cos, sin, cosFactor, sinFactor, scale) {
		return
	}
	sin = sin[:len(cos)]
	for h := range heads {
		low, high := x[h*dim:][:len(cos)], x[h*dim+len(cos):][:len(cos)]
		outLow, outHigh := dst[h*stride:][:len(cos)], dst[h*stride+len(cos):][:len(cos)]
		for i, c := range cos {
			co, si := c*cosFactor, sin[i]*sinFactor
			a, b := low[i], high[i]
			outLow[i] = (float32(a*co) - float32(b*si)) * scale
			outHigh[i] = (float32(a*si) + float32(b*co)) * scale
		}
	}
}

func headsFit(dst, x []float32, heads, stride, dim int, cos, sin []float32) bool {
	return len(cos) == len(sin) && 2*len(cos) <= dim && dim <= stride && len(x) == heads*dim && len(dst) >= (heads-1)*stride+dim
}

// refuseHeads panics with the first length that keeps the heads from fitting.
func refuseHeads(name string, dst, x []float32, heads, stride, dim int, cos, sin []float32) {
	check(name, len(cos), len(sin))
	check(name, max(dim, 2*len(cos)), dim)
	check(name, max(stride, dim), stride)
	check(name, heads*dim, len(x))
	check(name, (heads-1)*stride+dim, len(dst))
}
