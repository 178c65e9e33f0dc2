// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

func TestRotations(t *testing.T) {
	for name, rotate := range map[string]func(dst, x []float32, heads, stride, dim int, cos, sin []float32, cosFactor, sinFactor, scale float32){
		"RotateInterleaved": RotateInterleaved, "RotateHalfSplit": RotateHalfSplit,
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(21, 22))
			for pairs := range 70 {
				dim, heads := 2*pairs+max(pairs%3, 1-pairs), pairs%5
				stride := dim + pairs%2*9
				x, rest := random(r, heads*dim), random(r, max(heads*stride-(stride-dim), 0))
				table := random(r, 2*pairs)
				const cosFactor, sinFactor, scale = 1.25, -0.75, float32(0.3)
				var first []uint32
				onEveryTierQuietly(func(tier cpu.Tier) {
					src, srcWhole := guarded(x, pairs)
					dst, dstWhole := guarded(rest, 3*pairs)
					cos, cosWhole := guarded(table[:pairs], 5*pairs)
					sin, sinWhole := guarded(table[pairs:], 7*pairs)
					rotate(dst, src, heads, stride, dim, cos, sin, cosFactor, sinFactor, scale)
					require.True(t, srcWhole() && dstWhole() && cosWhole() && sinWhole(), "%v: written outside, %d pairs", tier, pairs)
					require.Equal(t, bits(x), bits(src), "%v: source changed", tier)
					if first == nil {
						first = bits(dst)
					}
					require.Equal(t, first, bits(dst), "%v: differs from a higher tier, %d pairs", tier, pairs)
					for h := range heads {
						for i := range pairs {
							p, q := h*dim+2*i, h*dim+2*i+1
							if name == "RotateHalfSplit" {
								p, q = h*dim+i, h*dim+pairs+i
							}
							z := complex(float64(x[p]), float64(x[q])) * complex(float64(cos[i])*cosFactor, float64(sin[i])*sinFactor) * complex(float64(scale), 0)
							at := h * (stride - dim)
							got := complex(float64(dst[at+p]), float64(dst[at+q]))
							limit := 5 * eps32 * math.Hypot(float64(x[p]), float64(x[q])) * math.Hypot(1.25*float64(cos[i]), 0.75*float64(sin[i]))
							require.LessOrEqual(t, cmplx.Abs(got-z), limit, "%v: head %d of %d, pair %d of %d", tier, h, heads, i, pairs)
						}
						for i := 2 * pairs; i < stride && h*stride+i < len(dst); i++ {
							require.Equal(t, rest[h*stride+i], dst[h*stride+i], "%v: element %d of head %d was touched", tier, i, h)
						}
					}
					rotate(src, src, heads, dim, dim, cos, sin, cosFactor, sinFactor, scale)
					for h := range heads {
						require.Equal(t, bits(dst[h*stride:][:2*pairs]), bits(src[h*dim:][:2*pairs]), "%v: in place", tier)
						require.Equal(t, x[h*dim+2*pairs:(h+1)*dim], src[h*dim+2*pairs:(h+1)*dim], "%v: in place, not to be touched", tier)
					}
				})
			}
		})
	}
}

func TestRotationsRefuseWrongShapes(t *testing.T) {
	x := make([]float32, 12)
	c, s := x[:2], x[2:4]
	for name, call := range map[string]func(){
		"vec: RotateHalfSplit: slice of length 11 among slices of length 12":   func() { RotateHalfSplit(x[:11], x, 3, 4, 4, c, s, 1, 1, 1) },
		"vec: RotateHalfSplit: slice of length 12 among slices of length 10":   func() { RotateHalfSplit(x, x, 2, 5, 5, c, s, 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 3 among slices of length 4":   func() { RotateInterleaved(x, x, 4, 3, 3, c, s, 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 4 among slices of length 6":   func() { RotateInterleaved(x, x, 2, 4, 6, c, s, 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 12 among slices of length 14": func() { RotateInterleaved(x, x, 3, 5, 4, c, s, 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 12 among slices of length -4": func() { RotateInterleaved(x, x, -1, 4, 4, c, s, 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 1 among slices of length 2":   func() { RotateInterleaved(x, x, 3, 4, 4, c, s[:1], 1, 1, 1) },
		"vec: RotateInterleaved: slice of length 0 among slices of length 12":  func() { RotateInterleaved(nil, x, 3, 4, 4, c, s, 1, 1, 1) },
	} {
		func() {
			defer func() {
				e, _ := recover().(*LengthError)
				if assert.NotNil(t, e, name) {
					assert.EqualError(t, e, name)
				}
			}()
			call()
		}()
	}
}
