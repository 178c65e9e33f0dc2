// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import "unsafe"

const (
	// maxLanes is the largest number of lanes, pairs of a query row and a head, of a panel.
	maxLanes = 16
	// blockKeys is the number of keys after which maxima and sums are updated. Blocks start at multiples of it from a part's first key,
	// whatever the rows, which keeps a lane's arithmetic independent of its neighbours.
	blockKeys  = 128
	blockWords = blockKeys / wordBits
	// scoreStride is the distance from one lane's scores to the next's. It is not a multiple of a large power of two, lest lanes compete for
	// the same places in the first-level cache.
	scoreStride = blockKeys + panelKeys
	// The assembly knows the distance from one lane's query, or sums, to the next's, which limits the dimensions.
	maxHeadDim = 256
	laneStride = maxHeadDim + panelKeys
)

// lanes is what a panel of lanes knows about the keys so far. The assembly depends on the order of the fields.
type lanes struct {
	max   [maxLanes]float32            // largest score plus bias, times log₂e
	bias  [maxLanes]float32            // of the part at hand, times log₂e
	ref   [maxLanes]float32            // what is subtracted from the block's scores
	alpha [maxLanes]float32            // what earlier sums are multiplied by
	top   [maxLanes]float32            // largest score of the block
	sum   [maxLanes][panelKeys]float32 // Σ 2^(score−max), by the key's place in its panel
}

// kernels is the set of tile kernels of one tier: the whole of the arithmetic. While they compute, scores and mix may bring some memory from
// the start of next on closer, which is soon to be read: n·d/64 lines, for n keys. For few lanes they ask for what follows their own keys and
// values in memory instead.
//
// Whatever they are, a lane's result must not depend on other lanes, on how many there are, or on hidden keys: every score is summed in one
// fixed order of the elements, weights and weighted values in one fixed order of the keys, and a hidden key adds an exact zero. Scores,
// queries and sums are [lane] with scoreStride and stride elements from one lane to the next.
type kernels struct {
	rows int // lanes of the tallest panel
	// scores computes s[i][p·16+j] = Σₜ q[i][t]·k[p][t][j].
	scores func(h int, s, q, k []float32, next unsafe.Pointer, d, panels, stride int)
	// hide sets s[i][p·16+j] to −Inf where bit p·16+j of lane i is clear, for first ≤ p < last. Bits of lane i are words[i·next:].
	hide func(h int, s []float32, words []uint64, next, first, last int)
	// softmax turns scores into weights, see softmaxPortable.
	softmax func(h int, s []float32, st *lanes, panels int)
	// mix computes o[i][t] = alpha[i]·o[i][t] + Σⱼ p[i][j]·v[j][t], j < n.
	mix func(h int, o, p, v, alpha []float32, next unsafe.Pointer, d, n, stride int)
	// scoresNarrow and mixNarrow are scores and mix, to the bit, of keys and n ≥ 1 values that they widen as they read them, for up to
	// narrowRows lanes: so few that memory decides how long it takes. Formats are all but F32; 8-bit numbers are taken without their scales.
	narrowRows   int
	scoresNarrow func(f Format, h int, s, q []float32, k []byte, d, panels int)
	mixNarrow    func(f Format, h int, o, p []float32, v []byte, alpha []float32, d, n int)
	// multiply computes s[i][j] *= scales[j]: scores by the scales of their keys, or weights by those of their values.
	multiply func(h int, s, scales []float32)
	// finite reports whether no element is NaN or infinite.
	finite func(x []float32) bool
	// prefetch brings memory closer that is soon to be written.
	prefetch func(x []float32)
	// The widen functions write float32 in the order of what they read, 8-bit numbers without their scales.
	widenF16, widenBF16 func(dst []float32, src []uint16)
	widenI8             func(dst []float32, src []int8)
	// scale computes dst = src·factor + 0, where −0 + 0 = 0.
	scale func(dst, src []float32, factor float32)
	// normalize computes dst = src/Σ sums + 0 and returns Σ sums. If that is 0, so is dst.
	normalize func(dst, src []float32, sums *[panelKeys]float32) float32
}

var portable = kernels{
	rows: maxLanes, scores: scoresPortable, multiply: multiplyPortable, hide: hidePortable, softmax: softmaxPortable, mix: mixPortable,
	finite: finitePortable, prefetch: func([]float32) {}, widenF16: widenF16Portable, widenBF16: widenBF16Portable, widenI8: widenI8Portable,
	scale: scalePortable, normalize: normalizePortable,
}
