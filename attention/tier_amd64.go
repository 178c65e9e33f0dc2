// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package attention

//go:generate go -C _generate run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg attention

import (
	"unsafe"

	"github.com/graphkv/graphkv/internal/cpu"
)

type (
	scoresKernel func(s, q *float32, k, next *byte, d, panels int)
	mixKernel    func(o, p *float32, v, next *byte, alpha *float32, d, n int)
)

// The kernels of a tier by the number of lanes, the narrow ones by format first.
var (
	scoresAVX2 = [...]scoresKernel{
		1: scores1AVX2,
		2: scores2AVX2,
		3: scores3AVX2,
		4: scores4AVX2,
		5: scores5AVX2,
		6: scores6AVX2,
	}
	mixAVX2 = [...]mixKernel{
		1: mix1AVX2,
		2: mix2AVX2,
		3: mix3AVX2,
		4: mix4AVX2,
		5: mix5AVX2,
		6: mix6AVX2,
	}
	scoresAVX512 = [...]scoresKernel{
		1:  scores1AVX512,
		2:  scores2AVX512,
		3:  scores3AVX512,
		4:  scores4AVX512,
		5:  scores5AVX512,
		6:  scores6AVX512,
		7:  scores7AVX512,
		8:  scores8AVX512,
		9:  scores9AVX512,
		10: scores10AVX512,
		11: scores11AVX512,
		12: scores12AVX512,
		13: scores13AVX512,
		14: scores14AVX512,
	}
	mixAVX512 = [...]mixKernel{
		1:  mix1AVX512,
		2:  mix2AVX512,
		3:  mix3AVX512,
		4:  mix4AVX512,
		5:  mix5AVX512,
		6:  mix6AVX512,
		7:  mix7AVX512,
		8:  mix8AVX512,
		9:  mix9AVX512,
		10: mix10AVX512,
		11: mix11AVX512,
		12: mix12AVX512,
		13: mix13AVX512,
		14: mix14AVX512,
	}

	narrowScoresAVX2 = [...][]scoresKernel{
		F16: {
			1: scores1F16AVX2,
			2: scores2F16AVX2,
			3: scores3F16AVX2,
			4: scores4F16AVX2,
		},
		BF16: {
			1: scores1BF16AVX2,
			2: scores2BF16AVX2,
			3: scores3BF16AVX2,
			4: scores4BF16AVX2,
		},
		I8: {
			1: scores1I8AVX2,
			2: scores2I8AVX2,
			3: scores3I8AVX2,
			4: scores4I8AVX2,
		},
	}
	narrowMixAVX2 = [...][]mixKernel{
		F16: {
			1: mix1F16AVX2,
			2: mix2F16AVX2,
			3: mix3F16AVX2,
			4: mix4F16AVX2,
		},
		BF16: {
			1: mix1BF16AVX2,
			2: mix2BF16AVX2,
			3: mix3BF16AVX2,
			4: mix4BF16AVX2,
		},
		I8: {
			1: mix1I8AVX2,
			2: mix2I8AVX2,
			3: mix3I8AVX2,
			4: mix4I8AVX2,
		},
	}
	narrowScoresAVX512 = [...][]scoresKernel{
		F16: {
			1: scores1F16AVX512,
			2: scores2F16AVX512,
			3: scores3F16AVX512,
			4: scores4F16AVX512,
			5: scores5F16AVX512,
			6: scores6F16AVX512,
			7: scores7F16AVX512,
			8: scores8F16AVX512,
		},
		BF16: {
			1: scores1BF16AVX512,
			2: scores2BF16AVX512,
			3: scores3BF16AVX512,
			4: scores4BF16AVX512,
			5: scores5BF16AVX512,
			6: scores6BF16AVX512,
			7: scores7BF16AVX512,
			8: scores8BF16AVX512,
		},
		I8: {
			1: scores1I8AVX512,
			2: scores2I8AVX512,
			3: scores3I8AVX512,
			4: scores4I8AVX512,
			5: scores5I8AVX512,
			6: scores6I8AVX512,
			7: scores7I8AVX512,
			8: scores8I8AVX512,
		},
	}
	narrowMixAVX512 = [...][]mixKernel{
		F16: {
			1: mix1F16AVX512,
			2: mix2F16AVX512,
			3: mix3F16AVX512,
			4: mix4F16AVX512,
			5: mix5F16AVX512,
			6: mix6F16AVX512,
			7: mix7F16AVX512,
			8: mix8F16AVX512,
		},
		BF16: {
			1: mix1BF16AVX512,
			2: mix2BF16AVX512,
			3: mix3BF16AVX512,
			4: mix4BF16AVX512,
			5: mix5BF16AVX512,
			6: mix6BF16AVX512,
			7: mix7BF16AVX512,
			8: mix8BF16AVX512,
		},
		I8: {
			1: mix1I8AVX512,
			2: mix2I8AVX512,
			3: mix3I8AVX512,
			4: mix4I8AVX512,
			5: mix5I8AVX512,
			6: mix6I8AVX512,
			7: mix7I8AVX512,
			8: mix8I8AVX512,
		},
	}

	kernelsAVX2   = assembly(scoresAVX2[:], mixAVX2[:], narrowScoresAVX2[:], narrowMixAVX2[:], softmaxAVX2, hideAVX2)
	kernelsAVX512 = assembly(scoresAVX512[:], mixAVX512[:], narrowScoresAVX512[:], narrowMixAVX512[:], softmaxAVX512, hideAVX512)
)

// kernelsFor returns the best kernels for heads of d elements. Vectors of 16 want heads of a multiple of 16; vectors of 8 take those of 8.
// Both give the same bits.
func kernelsFor(t cpu.Tier, d int) *kernels {
	switch {
	case d > maxHeadDim:
		return &portable
	case t >= cpu.AVX512 && d%16 == 0:
		return kernelsAVX512
	case t >= cpu.AVX2 && d%8 == 0:
		return kernelsAVX2
	}
	return &portable
}

// assembly makes the kernel set of a tier. The assembly has no bounds checks: they are here.
func assembly(scores []scoresKernel, mix []mixKernel, narrowScores [][]scoresKernel, narrowMix [][]mixKernel,
	softmax func(s, st *float32, h, panels int), hide func(s *float32, bits *uint16, next, h, panels int)) *kernels {
	return &kernels{
		rows:       len(scores) - 1,
		narrowRows: len(narrowScores[F16]) - 1,
		scoresNarrow: func(f Format, h int, s, q []float32, k []byte, d, panels int) {
			_, _, _ = s[(h-1)*scoreStride+panels*panelKeys-1], q[(h-1)*laneStride+d-1], k[panels*d*panelKeys*f.bytes()-1]
			narrowScores[f][h](&s[0], &q[0], &k[0], nil, d, panels)
		},
		mixNarrow: func(f Format, h int, o, p []float32, v []byte, alpha []float32, d, n int) {
			_, _, _, _ = o[(h-1)*laneStride+d-1], p[(h-1)*scoreStride+n-1], v[n*d*f.bytes()-1], alpha[h-1]
			narrowMix[f][h](&o[0], &p[0], &v[0], nil, &alpha[0], d, n)
		},
		scores: func(h int, s, q, k []float32, next unsafe.Pointer, d, panels, _ int) {
			_, _, _ = s[(h-1)*scoreStride+panels*panelKeys-1], q[(h-1)*laneStride+d-1], k[panels*d*panelKeys-1]
			scores[h](&s[0], &q[0], (*byte)(unsafe.Pointer(&k[0])), (*byte)(next), d, panels)
		},
		multiply: func(h int, s, scales []float32) {
			_ = s[(h-1)*scoreStride+len(scales)-1]
			multiplyAVX2(&s[0], &scales[0], h, len(scales))
		},
		hide: func(h int, s []float32, words []uint64, next, first, last int) {
			_, _ = s[(h-1)*scoreStride+last*panelKeys-1], words[(h-1)*next+(last-1)/4]
			bits := (*uint16)(unsafe.Add(unsafe.Pointer(&words[0]), 2*first)) // 16 bits a panel
			hide(&s[first*panelKeys], bits, 8*next, h, last-first)
		},
		softmax: func(h int, s []float32, st *lanes, panels int) {
			_ = s[(h-1)*scoreStride+panels*panelKeys-1]
			softmax(&s[0], &st.max[0], h, panels)
		},
		mix: func(h int, o, p, v, alpha []float32, next unsafe.Pointer, d, n, _ int) {
			if n == 0 {
				v = alpha // anything that exists
			} else {
				_ = v[n*d-1]
			}
			_, _, _ = o[(h-1)*laneStride+d-1], p[(h-1)*scoreStride+max(n, 1)-1], alpha[h-1]
			mix[h](&o[0], &p[0], (*byte)(unsafe.Pointer(&v[0])), (*byte)(next), &alpha[0], d, n)
		},
		finite: func(x []float32) bool {
			return finiteAVX2(&x[0], len(x))
		},
		widenF16: func(dst []float32, src []uint16) {
			_ = dst[len(src)-1]
			widenF16AVX2(&dst[0], &src[0], len(src))
		},
		widenBF16: func(dst []float32, src []uint16) {
			_ = dst[len(src)-1]
			widenBF16AVX2(&dst[0], &src[0], len(src))
		},
		widenI8: func(dst []float32, src []int8) {
			_ = dst[len(src)-1]
			widenI8AVX2(&dst[0], &src[0], len(src))
		},
		scale: func(dst, src []float32, factor float32) {
			_ = dst[len(src)-1]
			scaleAVX2(&dst[0], &src[0], len(src), factor)
		},
		normalize: func(dst, src []float32, sums *[panelKeys]float32) float32 {
			_ = src[len(dst)-1]
			return normalizeAVX2(&dst[0], &src[0], &sums[0], len(dst))
		},
		prefetch: func(x []float32) { prefetchAVX2(&x[0], len(x)) },
	}
}
