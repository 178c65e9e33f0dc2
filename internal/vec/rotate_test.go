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
	for name, rotate := range map[string]func(dst, x []float32, dim int, t *Turn){
		"RotateInterleaved": RotateInterleaved, "RotateHalfSplit": RotateHalfSplit,
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(21, 22))
			for pairs := range 70 {
				dim, heads := 2*pairs+max(pairs%3, 1-pairs), pairs%5
				x, rest := random(r, heads*dim), random(r, heads*dim)
				turn := Turn{Cos: random(r, pairs), Sin: random(r, pairs), CosFactor: 1.25, SinFactor: -0.75, Scale: 0.3}
				var first []uint32
				onEveryTierQuietly(func(tier cpu.Tier) {
					src, srcWhole := guarded(x, pairs)
					dst, dstWhole := guarded(rest, 3*pairs)
					cos, cosWhole := guarded(turn.Cos, 5*pairs)
					sin, sinWhole := guarded(turn.Sin, 7*pairs)
					turn := turn
					turn.Cos, turn.Sin = cos, sin
					rotate(dst, src, dim, &turn)
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
							z := complex(float64(x[p]), float64(x[q])) * complex(float64(cos[i])*1.25, float64(sin[i])*-0.75) * complex(float64(turn.Scale), 0)
							got := complex(float64(dst[p]), float64(dst[q]))
							limit := 5 * eps32 * math.Hypot(float64(x[p]), float64(x[q])) * math.Hypot(1.25*float64(cos[i]), 0.75*float64(sin[i]))
							require.LessOrEqual(t, cmplx.Abs(got-z), limit, "%v: head %d of %d, pair %d of %d", tier, h, heads, i, pairs)
						}
						for i := h*dim + 2*pairs; i < (h+1)*dim; i++ {
							require.Equal(t, rest[i], dst[i], "%v: dimension %d was touched", tier, i)
							dst[i] = x[i]
						}
					}
					rotate(src, src, dim, &turn)
					require.Equal(t, bits(dst), bits(src), "%v: in place", tier)
				})
			}
		})
	}
}

func TestRotationsRefuseWrongShapes(t *testing.T) {
	turn := &Turn{Cos: make([]float32, 2), Sin: make([]float32, 2)}
	x := make([]float32, 12)
	for name, call := range map[string]func(){
		"vec: RotateHalfSplit: slice of length 11 among slices of length 12":  func() { RotateHalfSplit(x, x[:11], 4, turn) },
		"vec: RotateHalfSplit: slice of length 12 among slices of length 10":  func() { RotateHalfSplit(x, x, 5, turn) },
		"vec: RotateInterleaved: slice of length 3 among slices of length 4":  func() { RotateInterleaved(x, x, 3, turn) },
		"vec: RotateInterleaved: slice of length 1 among slices of length 2":  func() { RotateInterleaved(x, x, 4, &Turn{Cos: x[:2], Sin: x[:1]}) },
		"vec: RotateInterleaved: slice of length 12 among slices of length 0": func() { RotateInterleaved(nil, x, 4, turn) },
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
