// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

// onEveryTier runs f once per tier that the machine has, with the higher ones switched off.
func onEveryTier(t *testing.T, f func(t *testing.T)) {
	for _, tier := range cpu.Tiers() {
		t.Run(tier.String(), func(t *testing.T) {
			defer cpu.Lower(tier)()
			f(t)
		})
	}
}

// guarded returns a copy of x, starting at any offset from an aligned address, inside a larger slice filled with a pattern, and a function
// that reports whether the pattern is whole.
func guarded(x []float32, offset int) (inside []float32, whole func() bool) {
	const band = 80
	pattern := func(i int) float32 { return math.Float32frombits(0x7fc00000 | uint32(i)) } // NaNs: a stray read shows in a result
	all := make([]float32, len(x)+2*band)
	for i := range all {
		all[i] = pattern(i)
	}
	from := band - 16 + offset%16
	copy(all[from:], x)
	return all[from : from+len(x) : from+len(x)], func() bool {
		for i, v := range all {
			if (i < from || i >= from+len(x)) && math.Float32bits(v) != math.Float32bits(pattern(i)) {
				return false
			}
		}
		return true
	}
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
		if v != v { // which of two NaNs survives is not specified
			b[i] = math.Float32bits(float32(math.NaN()))
		}
	}
	return b
}

// spread fills a slice with normal values of very different sizes and, where odd is set, values that need care.
func spread(r *rand.Rand, n int, odd bool) []float32 {
	x := random(r, n)
	special := []float32{0, float32(math.Copysign(0, -1)), 1e-42, -1e-42, 88.7, -88.7, -103, -110, 120, 3e38, float32(math.Inf(1)), float32(math.NaN())}
	for i := range x {
		x[i] *= float32(math.Ldexp(1, r.IntN(12)-6))
		if odd && r.IntN(4) == 0 {
			x[i] = special[r.IntN(len(special))]
		}
	}
	return x
}

// operation is a function of slices of one length that writes its first.
type operation struct {
	name        string
	inputs      int  // the first is written, and read where the function accumulates
	accumulates bool // reads what it writes: has no destination of its own
	elementwise bool // an element depends on the same elements only
	exact       bool // the portable tier gives the same bits
	run         func(dst []float32, in [][]float32)
}

var operations = []operation{
	{"Add", 2, true, true, true, func(dst []float32, in [][]float32) { Add(dst, in[1]) }},
	{"SiLUMul", 2, false, true, false, func(dst []float32, in [][]float32) { SiLUMul(dst, in[0], in[1]) }},
	{"RMSNorm", 2, false, false, true, func(dst []float32, in [][]float32) { RMSNorm(dst, in[0], in[1], 1e-5) }},
}

// Every length up to several blocks, at every alignment: nothing is read or written outside, sources stay as they are, assembly tiers agree
// to the bit, an element's bits do not depend on its place, and a destination may be the first source.
func TestKernelsOnEveryLength(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, uint64(len(op.name))))
			for n := range 160 {
				in := make([][]float32, op.inputs)
				for i := range in {
					in[i] = spread(r, n, n%3 == 0)
				}
				var assembly, portable []uint32
				onEveryTierQuietly(func(tier cpu.Tier) {
					args, wholes := make([][]float32, len(in)), make([]func() bool, len(in))
					for i := range in {
						args[i], wholes[i] = guarded(in[i], n+5*i)
					}
					dst, whole := args[0], wholes[0]
					if !op.accumulates {
						dst, whole = guarded(make([]float32, n), 3*n)
					}
					op.run(dst, args)
					require.True(t, whole(), "%v, length %d: written outside", tier, n)
					got := bits(dst)
					for i := range in {
						require.True(t, wholes[i](), "%v, length %d: written outside source %d", tier, n, i)
						if i > 0 || !op.accumulates {
							require.Equal(t, bits(in[i]), bits(args[i]), "%v, length %d: source %d changed", tier, n, i)
						}
					}
					if tier == cpu.Portable {
						portable = got
					} else {
						if assembly == nil {
							assembly = got
						}
						require.Equal(t, assembly, got, "%v, length %d: differs from a higher tier", tier, n)
					}
					if !op.accumulates {
						op.run(args[0], args)
						require.Equal(t, got, bits(args[0]), "%v, length %d: in place", tier, n)
					}
					if op.elementwise && n > 0 {
						at := r.IntN(n)
						one := make([][]float32, len(in))
						for i := range in {
							one[i] = append([]float32(nil), in[i][at])
						}
						op.run(one[0], one)
						require.Equal(t, got[at], bits(one[0])[0], "%v: element %d of %d is different alone", tier, at, n)
					}
				})
				if op.exact && assembly != nil {
					require.Equal(t, portable, assembly, "length %d: portable differs", n)
				}
			}
		})
	}
}

func onEveryTierQuietly(f func(tier cpu.Tier)) {
	for _, tier := range cpu.Tiers() {
		restore := cpu.Lower(tier)
		f(tier)
		restore()
	}
}
