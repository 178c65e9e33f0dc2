// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/internal/cpu"
)

// sets returns the kernel sets of this machine for heads of d elements, the portable one last.
func sets(d int) map[string]*kernels {
	m := map[string]*kernels{}
	for _, t := range cpu.Tiers() {
		m[t.String()] = kernelsFor(t, d)
	}
	return m
}

// guarded returns n numbers of variance 1 inside a larger slice filled with NaNs of a pattern, and a function that reports whether the
// pattern is whole. A stray read shows in a result, a stray write in the pattern.
func guarded(r *rand.Rand, n int) (x []float32, whole func() bool) {
	const band = 64
	pattern := func(i int) uint32 { return 0x7fc00000 | uint32(i) }
	all := make([]float32, n+2*band)
	for i := range all {
		all[i] = math.Float32frombits(pattern(i))
	}
	for i := range n {
		all[band+i] = float32(r.NormFloat64())
	}
	return all[band : band+n : band+n], func() bool {
		for i, v := range all {
			if (i < band || i >= band+n) && math.Float32bits(v) != pattern(i) {
				return false
			}
		}
		return true
	}
}

// gapped is guarded for h lanes of which only the first used numbers count: the rest of a lane belongs to the pattern too.
func gapped(r *rand.Rand, h, stride, used int) (x []float32, whole func() bool) {
	x, outer := guarded(r, (h-1)*stride+used)
	poison := math.Float32frombits(0x7fc12345)
	for i := range x {
		if i%stride >= used {
			x[i] = poison
		}
	}
	return x, func() bool {
		for i, v := range x {
			if i%stride >= used && math.Float32bits(v) != math.Float32bits(poison) {
				return false
			}
		}
		return outer()
	}
}

// fma is a fused multiply-add of float32, exact but for the one rounding. The product of two float32 is exact in float64, and the sum of
// that and a float32 is rounded to odd before it is rounded to float32.
func fma(x, y, z float32) float32 {
	p, a := float64(x)*float64(y), float64(z)
	s := p + a
	b := s - p
	e := (p - (s - b)) + (a - b) // the error of s
	if e != 0 && math.Float64bits(s)&1 == 0 {
		if (e > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}

func TestScoresAreChains(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, d := range []int{5, 8, 16, 24, 54, 64, 80, 128, 256} {
		for name, ks := range sets(d) {
			for h := 1; h <= ks.rows; h++ {
				for _, panels := range []int{1, 2, 3, 4, 5, 7, 8} {
					q, qWhole := gapped(r, h, laneStride, d)
					k, kWhole := guarded(r, panels*d*panelKeys)
					s, sWhole := gapped(r, h, scoreStride, panels*panelKeys)
					ks.scores(h, s, q, k, unsafe.Pointer(&k[0]), d, panels, laneStride)
					require.True(t, qWhole() && kWhole() && sWhole(), "%s: d %d, %d lanes, %d panels: wrote beyond", name, d, h, panels)
					for i := range h {
						for j := range panels * panelKeys {
							want, exact := float32(0), 0.0
							for e := range d {
								x, y := q[i*laneStride+e], k[(j/panelKeys*d+e)*panelKeys+j%panelKeys]
								want = fma(x, y, want)
								exact += float64(x) * float64(y)
							}
							got := s[i*scoreStride+j]
							if ks == &portable {
								require.InDelta(t, exact, got, 1e-5*float64(d))
							} else if math.Float32bits(got) != math.Float32bits(want) {
								t.Fatalf("%s: d %d, lane %d of %d, key %d: %v, want %v", name, d, i, h, j, got, want)
							}
						}
					}
				}
			}
		}
	}
}

func TestMixIsAChain(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range []int{5, 8, 16, 24, 54, 64, 80, 128, 256} {
		for name, ks := range sets(d) {
			for h := 1; h <= ks.rows; h++ {
				for _, n := range []int{0, 1, 3, 4, 18, blockKeys} {
					p, pWhole := gapped(r, h, scoreStride, max(n, 1))
					v, vWhole := guarded(r, n*d)
					o, oWhole := gapped(r, h, laneStride, d)
					alpha, aWhole := guarded(r, h)
					want := append([]float32(nil), o...)
					for i := range h {
						for e := range d {
							x := want[i*laneStride+e] * alpha[i]
							for j := range n {
								if w, y := p[i*scoreStride+j], v[j*d+e]; ks == &portable {
									x += float32(w * y)
								} else {
									x = fma(w, y, x)
								}
							}
							want[i*laneStride+e] = x
						}
					}
					ks.mix(h, o, p, v, alpha, unsafe.Pointer(&o[0]), d, n, laneStride)
					require.True(t, pWhole() && vWhole() && oWhole() && aWhole(), "%s: d %d, %d lanes, %d keys: wrote beyond", name, d, h, n)
					for i := range o {
						if math.Float32bits(o[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%s: d %d, lane %d of %d, %d keys, element %d: %v, want %v", name, d, i/laneStride, h, n, i%laneStride, o[i], want[i])
						}
					}
				}
			}
		}
	}
}

// exp2With computes 2^x of at most blockKeys numbers below 0 by way of a softmax whose maximum is 0.
func exp2With(ks *kernels, x []float32) []float32 {
	var st lanes
	s := make([]float32, maxLanes*scoreStride)
	st.max[0] = 0
	copy(s, x)
	for i := len(x); i < roundUp(len(x)); i++ {
		s[i] = float32(math.Inf(-1))
	}
	ks.softmax(1, s, &st, roundUp(len(x))/panelKeys)
	return s[:len(x)]
}

// The error of 2ˣ is below 2⁻²² of the result, everywhere: each 61st float32 from −0 to −126 is compared with float64.
func TestExp2Bound(t *testing.T) {
	step := uint32(61)
	if testing.Short() {
		step = 6101
	}
	for name, ks := range sets(64) {
		worst, at := 0.0, float32(0)
		var x []float32
		flush := func() {
			for i, got := range exp2With(ks, x) {
				want := math.Exp2(float64(x[i]))
				if x[i] < exp2Cut {
					require.Zero(t, got, "%s: 2^%v", name, x[i])
					continue
				}
				if e := math.Abs(float64(got)-want) / want; !(e <= worst) {
					worst, at = e, x[i]
				}
			}
			x = x[:0]
		}
		for bits := math.Float32bits(float32(math.Copysign(0, -1))); bits <= math.Float32bits(-126); bits += step {
			if x = append(x, math.Float32frombits(bits)); len(x) == blockKeys {
				flush()
			}
		}
		flush()
		t.Logf("%s: largest relative error %.3g·2⁻²³ at %v", name, worst*(1<<23), at)
		require.Less(t, worst, 0x1p-22, "%s: at %v", name, at)
		special := exp2With(ks, []float32{0, float32(math.Copysign(0, -1)), -1, -125, float32(math.Inf(-1)), -math.MaxFloat32, float32(math.NaN())})
		require.Equal(t, []float32{1, 1, 0.5, 0x1p-125, 0, 0}, special[:6], name)
		require.True(t, special[6] != special[6], name)
	}
}

// The two assembly tiers give the same bits; the portable one nearly.
func TestSoftmaxTiersAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	special := []float32{float32(math.Inf(-1)), float32(math.Inf(1)), float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32, 0}
	for range 300 {
		h, panels := 1+r.IntN(6), 1+r.IntN(blockKeys/panelKeys)
		var state lanes
		for i := range state.max {
			state.max[i], state.bias[i] = float32(r.NormFloat64()*20), float32(r.NormFloat64()*5)
			if r.IntN(3) == 0 {
				state.max[i] = float32(math.Inf(-1))
			}
			if r.IntN(6) == 0 {
				state.bias[i] = float32(math.Inf(-1))
			}
			for j := range state.sum[i] {
				state.sum[i][j] = r.Float32()
			}
		}
		s := make([]float32, (h-1)*scoreStride+panels*panelKeys)
		for i := range s {
			s[i] = float32(r.NormFloat64() * 30)
			if r.IntN(200) == 0 {
				s[i] = special[r.IntN(len(special))]
			}
		}
		for i := range h {
			if state.bias[i] < -math.MaxFloat32 { // such a lane sees nothing
				for j := range panels * panelKeys {
					s[i*scoreStride+j] = float32(math.Inf(-1))
				}
			}
		}
		wantS, want := append([]float32(nil), s...), state
		portable.softmax(h, wantS, &want, panels)
		var first []float32
		var firstState lanes
		for name, ks := range sets(64) {
			if ks == &portable {
				continue
			}
			gotS, got := append([]float32(nil), s...), state
			ks.softmax(h, gotS, &got, panels)
			if first == nil {
				first, firstState = gotS, got
			}
			for i := range h {
				require.True(t, sameBits(got.sum[i][:], firstState.sum[i][:]), name)
				require.True(t, near(want.sum[i][:], got.sum[i][:]), "%s: sums %v, want %v", name, got.sum[i], want.sum[i])
			}
			require.True(t, sameBits(first, gotS), name)
			require.True(t, near(wantS, gotS), name)
			require.True(t, sameBits(want.max[:h], got.max[:h]), "%s: %v, want %v", name, got.max[:h], want.max[:h])
			require.True(t, near(want.alpha[:h], got.alpha[:h]), "%s: %v, want %v", name, got.alpha[:h], want.alpha[:h])
		}
	}
}

func sameBits(x, y []float32) bool {
	for i := range x {
		if math.Float32bits(x[i]) != math.Float32bits(y[i]) && (x[i] == x[i] || y[i] == y[i]) {
			return false
		}
	}
	return true
}

func near(x, y []float32) bool {
	for i := range x {
		if x[i] != y[i] && (x[i] == x[i] || y[i] == y[i]) && !(math.Abs(float64(x[i]-y[i])) <= 1e-6*math.Abs(float64(x[i]))+1e-37) {
			return false
		}
	}
	return true
}

func TestHide(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for name, ks := range sets(64) {
		for range 300 {
			h, last := 1+r.IntN(ks.rows), 1+r.IntN(blockKeys/panelKeys)
			first, next := r.IntN(last), blockWords*r.IntN(2)
			words := make([]uint64, h*blockWords)
			for i := range words {
				words[i] = r.Uint64()
			}
			s, whole := gapped(r, h, scoreStride, last*panelKeys)
			want := append([]float32(nil), s...)
			for i := range h {
				for j := first * panelKeys; j < last*panelKeys; j++ {
					if words[i*next+j/wordBits]>>(j%wordBits)&1 == 0 {
						want[i*scoreStride+j] = float32(math.Inf(-1))
					}
				}
			}
			ks.hide(h, s, words, next, first, last)
			require.True(t, whole(), name)
			require.True(t, sameBits(want, s), name)
		}
	}
}

func TestNormalize(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for name, ks := range sets(64) {
		for d := 8; d <= maxHeadDim; d += 8 {
			src, _ := guarded(r, d)
			src[1], src[2] = float32(math.Copysign(0, -1)), float32(math.Inf(1))
			var sums [panelKeys]float32
			for _, kind := range []string{"sums", "nothing", "NaN"} {
				for i := range sums {
					sums[i] = r.Float32()
				}
				switch kind {
				case "nothing":
					sums = [panelKeys]float32{}
				case "NaN":
					sums[r.IntN(panelKeys)] = float32(math.NaN())
				}
				want, got := make([]float32, d), float32(0)
				dst, whole := guarded(r, d)
				sum := total(&sums)
				for i, x := range src {
					if sum != 0 {
						want[i] = float32(x*(1/sum)) + 0
					}
				}
				got = ks.normalize(dst, src, &sums)
				require.True(t, whole(), name)
				require.True(t, sameBits([]float32{sum}, []float32{got}), "%s: sum of %s is %v, want %v", name, kind, got, sum)
				require.True(t, sameBits(want, dst), "%s: %s", name, kind)
			}
		}
	}
}

func TestFiniteAndScale(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for name, ks := range sets(64) {
		for n := 8; n <= 160; n += 8 {
			x, _ := guarded(r, n)
			require.True(t, ks.finite(x), name)
			for i := range x {
				for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
					old := x[i]
					x[i] = float32(bad)
					require.False(t, ks.finite(x), "%s: %v at %d of %d", name, bad, i, n)
					x[i] = old
				}
			}
			x[3], x[n-1] = float32(math.Copysign(0, -1)), math.MaxFloat32
			dst, whole := guarded(r, n)
			ks.scale(dst, x, 0.3)
			require.True(t, whole(), name)
			for i, v := range x {
				require.Equal(t, math.Float32bits(v*0.3+0), math.Float32bits(dst[i]), name)
			}
		}
	}
}
