// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attentiontest

import "github.com/graphkv/graphkv/attention"

// Cut returns a copy of the heads from ≤ h < to and the tokens lo ≤ i < hi of x.
func Cut(x attention.KV, from, to, lo, hi int) attention.KV {
	d := x.HeadDim()
	k, v := make([]float32, x.KVHeads()*d), make([]float32, x.KVHeads()*d)
	y := attention.NewKV(x.Format(), to-from, d, hi-lo)
	for i := lo; i < hi; i++ {
		x.Load(i, k, v)
		y.Store(i-lo, k[from*d:to*d], v[from*d:to*d])
	}
	return y
}

// Clone returns a copy of x.
func Clone(x attention.KV) attention.KV { return Cut(x, 0, x.KVHeads(), 0, x.Tokens()) }
