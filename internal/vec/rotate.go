// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

// Turn is a rotation of pairs of dimensions, as rotary embeddings do them: pair (a, b) number i becomes
//
//	((a·c − b·s)·Scale, (a·s + b·c)·Scale)  with  c = Cos[i]·CosFactor, s = Sin[i]·SinFactor
//
// where every operation rounds, so that all tiers give the same bits.
type Turn struct {
	Cos, Sin                    []float32 // one value for each pair
	CosFactor, SinFactor, Scale float32
}

// check panics unless x is heads vectors [dim], Cos, Sin and dim fit together, and dst has room for the heads.
func (t *Turn) check(name string, dst, x []float32, heads, stride, dim int) {
	check(name, len(t.Cos), len(t.Sin))
	check(name, max(dim, 2*len(t.Cos)), dim)
	check(name, max(stride, dim), stride)
	check(name, heads*dim, len(x))
	if need := (heads-1)*stride + dim; heads > 0 && len(dst) < need {
		check(name, need, len(dst))
	}
}

// RotateInterleaved turns the pairs (0,1), (2,3), … of every head of x [heads][dim] and writes head h to dst[h·stride:]. Dimensions from
// 2·len(t.Cos) on are not touched. dst may be x if stride is dim.
func RotateInterleaved(dst, x []float32, heads, stride, dim int, t *Turn) {
	t.check("RotateInterleaved", dst, x, heads, stride, dim)
	if heads <= 0 || rotateInterleavedVector(dst, x, heads, stride, dim, t) {
		return
	}
	cos, sin := t.Cos, t.Sin[:len(t.Cos)]
	for h := range heads {
		v, out := x[h*dim:][:2*len(cos)], dst[h*stride:][:2*len(cos)]
		for i, c := range cos {
			co, si := c*t.CosFactor, sin[i]*t.SinFactor
			a, b := v[2*i], v[2*i+1]
			out[2*i] = (float32(a*co) - float32(b*si)) * t.Scale
			out[2*i+1] = (float32(a*si) + float32(b*co)) * t.Scale
		}
	}
}

// RotateHalfSplit turns the pairs (i, n+i) for i < n = len(t.Cos) of every head of x [heads][dim] and writes head h to dst[h·stride:].
// Dimensions from 2n on are not touched. dst may be x if stride is dim.
func RotateHalfSplit(dst, x []float32, heads, stride, dim int, t *Turn) {
	t.check("RotateHalfSplit", dst, x, heads, stride, dim)
	if heads <= 0 || rotateHalfSplitVector(dst, x, heads, stride, dim, t) {
		return
	}
	cos, sin := t.Cos, t.Sin[:len(t.Cos)]
	for h := range heads {
		low, high := x[h*dim:][:len(cos)], x[h*dim+len(cos):][:len(cos)]
		outLow, outHigh := dst[h*stride:][:len(cos)], dst[h*stride+len(cos):][:len(cos)]
		for i, c := range cos {
			co, si := c*t.CosFactor, sin[i]*t.SinFactor
			a, b := low[i], high[i]
			outLow[i] = (float32(a*co) - float32(b*si)) * t.Scale
			outHigh[i] = (float32(a*si) + float32(b*co)) * t.Scale
		}
	}
}
