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

func (t *Turn) check(name string, dst, x []float32, dim int) {
	check(name, len(dst), len(x))
	check(name, len(t.Cos), len(t.Sin))
	check(name, max(dim, 2*len(t.Cos)), dim)
	if len(x) > 0 {
		check(name, len(x)/dim*dim, len(x))
	}
}

// RotateInterleaved turns the pairs (0,1), (2,3), … of every head of x [heads][dim] into dst. Dimensions from 2·len(t.Cos) on are not touched.
func RotateInterleaved(dst, x []float32, dim int, t *Turn) {
	t.check("RotateInterleaved", dst, x, dim)
	if len(x) == 0 || rotateInterleavedVector(dst, x, dim, t) {
		return
	}
	cos, sin := t.Cos, t.Sin[:len(t.Cos)]
	for ; len(x) > 0; dst, x = dst[dim:], x[dim:] {
		v, out := x[:2*len(cos)], dst[:2*len(cos)]
		for i, c := range cos {
			co, si := c*t.CosFactor, sin[i]*t.SinFactor
			a, b := v[2*i], v[2*i+1]
			out[2*i] = (float32(a*co) - float32(b*si)) * t.Scale
			out[2*i+1] = (float32(a*si) + float32(b*co)) * t.Scale
		}
	}
}

// RotateHalfSplit turns the pairs (i, n+i) for i < n = len(t.Cos) of every head of x [heads][dim] into dst. Dimensions from 2n on are not
// touched.
func RotateHalfSplit(dst, x []float32, dim int, t *Turn) {
	t.check("RotateHalfSplit", dst, x, dim)
	if len(x) == 0 || rotateHalfSplitVector(dst, x, dim, t) {
		return
	}
	cos, sin := t.Cos, t.Sin[:len(t.Cos)]
	for ; len(x) > 0; dst, x = dst[dim:], x[dim:] {
		low, high := x[:len(cos)], x[len(cos):][:len(cos)]
		outLow, outHigh := dst[:len(cos)], dst[len(cos):][:len(cos)]
		for i, c := range cos {
			co, si := c*t.CosFactor, sin[i]*t.SinFactor
			a, b := low[i], high[i]
			outLow[i] = (float32(a*co) - float32(b*si)) * t.Scale
			outHigh[i] = (float32(a*si) + float32(b*co)) * t.Scale
		}
	}
}
