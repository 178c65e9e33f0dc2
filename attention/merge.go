// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
)

// Merge joins two results over disjoint sets of keys into the result over their
// union, in place in out and lse:
//
//	lse ← log(exp(lse) + exp(otherLSE))
//	out ← out·exp(lse_old−lse) + otherOut·exp(otherLSE−lse)
//
// out and otherOut hold [n][headDim] and lse and otherLSE [n], where n counts
// rows and heads in the layout of [Query]. A side whose log-sum-exp is −Inf saw
// no key: its output is ignored, whatever it holds. Swapping the two sides gives
// the same bits. Merge panics if a length does not fit.
func Merge(out, lse, otherOut, otherLSE []float32, headDim int) {
	if headDim < 1 || len(lse) != len(otherLSE) || len(out) != len(lse)*headDim || len(otherOut) != len(out) {
		panic(fmt.Sprintf("attention: Merge of outputs of %d and %d elements with log-sum-exps of %d and %d, headDim %d",
			len(out), len(otherOut), len(lse), len(otherLSE), headDim))
	}
	for i, b := range otherLSE {
		a := lse[i]
		if b < -math.MaxFloat32 {
			continue
		}
		x, y := out[i*headDim:(i+1)*headDim], otherOut[i*headDim:(i+1)*headDim]
		if a < -math.MaxFloat32 {
			copy(x, y)
			lse[i] = b
			continue
		}
		top := float64(max(a, b))
		wa, wb := math.Exp(float64(a)-top), math.Exp(float64(b)-top)
		sum := wa + wb
		lse[i] = float32(top + math.Log(sum))
		wa, wb = wa/sum, wb/sum
		for t, v := range y {
			x[t] = float32(float64(wa*float64(x[t])) + float64(wb*float64(v)))
		}
	}
}
