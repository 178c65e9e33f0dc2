// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Every half-precision number by its definition, and by every tier.
func TestWidenEveryNumber(t *testing.T) {
	src, half, brain := make([]uint16, 1<<16), make([]float32, 1<<16), make([]float32, 1<<16)
	for i := range src {
		src[i] = uint16(i)
		sign, exp, frac := 1-2*float64(i>>15), i>>10&0x1f, float64(i&0x3ff)
		switch exp {
		case 0:
			half[i] = float32(sign * math.Ldexp(frac, -24))
		case 31:
			half[i] = float32(sign * math.Inf(1))
			if frac != 0 {
				half[i] = float32(math.NaN())
			}
		default:
			half[i] = float32(sign * math.Ldexp(1024+frac, exp-25))
		}
		brain[i] = math.Float32frombits(uint32(i) << 16)
	}
	for name, ks := range sets(64) {
		dst := make([]float32, len(src))
		ks.widenF16(dst, src)
		require.True(t, sameBits(half, dst), name)
		ks.widenBF16(dst, src)
		require.True(t, sameBits(brain, dst), name)
	}
}

// What rounds to a number is nearest to it among all, and numbers stay what they are.
func TestRound16(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name    string
		to      func(float32) uint16
		from    func(uint16) float32
		largest uint16
	}{{"f16", toF16, fromF16, 0x7bff}, {"bf16", toBF16, fromBF16, 0x7f7f}} {
		for i := range 1 << 16 {
			x := c.from(uint16(i))
			got := c.to(x)
			require.True(t, got == uint16(i) || x != x && c.from(got) != c.from(got), "%s: %#x is %v, which rounds to %#x", c.name, i, x, got)
		}
		check := func(x float32) {
			h := c.to(x)
			mag := h & 0x7fff
			require.Equal(t, math.Signbit(float64(x)), h>>15 != 0, "%s: %v", c.name, x)
			if mag > c.largest {
				limit := float64(c.from(c.largest)) + (float64(c.from(c.largest))-float64(c.from(c.largest-1)))/2
				require.GreaterOrEqual(t, math.Abs(float64(x)), limit, "%s: %v became infinite", c.name, x)
				return
			}
			off := func(m uint16) float64 { return math.Abs(math.Abs(float64(x)) - float64(c.from(m))) }
			best := off(mag)
			for _, m := range []uint16{mag - 1, mag + 1} {
				if m <= c.largest {
					require.True(t, best < off(m) || best == off(m) && mag&1 == 0, "%s: %v rounds to %#x, not %#x", c.name, x, mag, m)
				}
			}
		}
		for range 200_000 {
			x := math.Float32frombits(r.Uint32())
			if finite(x) {
				check(x)
			}
			check(float32(r.NormFloat64()))
		}
		for i := range c.largest { // ties
			a, b := float64(c.from(i)), float64(c.from(i+1))
			check(float32((a + b) / 2))
		}
	}
}

func TestI8(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	src, want := make([]int8, 1<<8), make([]float32, 1<<8)
	for i := range src {
		src[i], want[i] = int8(i), float32(int8(i))
	}
	for name, ks := range sets(64) {
		for n := 8; n <= len(src); n += 8 {
			got, whole := guarded(r, n)
			ks.widenI8(got, src[:n])
			require.True(t, whole(), name)
			require.Equal(t, want[:n], got, name)
		}
		for h := 1; h <= ks.rows; h++ {
			for n := 1; n <= blockKeys; n++ {
				s, whole := gapped(r, h, scoreStride, n)
				scales, scalesWhole := guarded(r, n)
				want := append([]float32(nil), s...)
				for i := range h {
					for j, x := range scales {
						want[i*scoreStride+j] *= x
					}
				}
				ks.multiply(h, s, scales)
				require.True(t, whole() && scalesWhole(), "%s: wrote beyond %d lanes of %d", name, h, n)
				require.True(t, sameBits(want, s), "%s: %d lanes of %d", name, h, n)
			}
		}
	}
}

// What is stored is read back as near as the format allows, other tokens stay, and the kernels read what Load reads.
func TestStoreLoad(t *testing.T) {
	const heads, d, tokens = 3, 24, 37
	r := rand.New(rand.NewPCG(5, 6))
	for _, f := range Formats() {
		t.Run(f.String(), func(t *testing.T) {
			x := NewKV(f, heads, d, tokens)
			require.Len(t, x.mem, KVSize(f, heads, d, tokens))
			k, v := make([][]float32, tokens), make([][]float32, tokens)
			for _, i := range r.Perm(tokens) {
				k[i], _ = guarded(r, heads*d)
				v[i], _ = guarded(r, heads*d)
				x.Store(i, k[i], v[i])
			}
			gotK, gotV := make([]float32, heads*d), make([]float32, heads*d)
			var s scratch
			s.resize(1, d, true, 0)
			for i := range tokens {
				x.Load(i, gotK, gotV)
				for h := range heads {
					for what, p := range map[string][2][]float32{"key": {k[i], gotK}, "value": {v[i], gotV}} {
						want, got := p[0][h*d:(h+1)*d], p[1][h*d:(h+1)*d]
						top := 0.0
						for _, y := range want {
							top = max(top, math.Abs(float64(y)))
						}
						for e := range want {
							bound := map[Format]float64{
								F32: 0, F16: math.Abs(float64(want[e]))/2048 + 0x1p-25, BF16: math.Abs(float64(want[e])) / 256, I8: top / 254 * (1 + 1e-6),
							}[f]
							require.LessOrEqual(t, math.Abs(float64(got[e]-want[e])), bound, "%s of token %d, head %d, element %d", what, i, h, e)
						}
					}
					block := i &^ (panelKeys - 1)
					n := min(tokens-block, panelKeys)
					keys, values := s.block(x, h, block, n)
					keyScale, valueScale := float32(1), float32(1)
					if f == I8 {
						ks, vs := x.scales(h, block, n)
						keyScale, valueScale = ks[i-block], vs[i-block]
					}
					for e := range d {
						require.Equal(t, gotK[h*d+e], keys[e*panelKeys+i-block]*keyScale)
						require.Equal(t, gotV[h*d+e], values[(i-block)*d+e]*valueScale)
					}
				}
			}
		})
	}
}

func TestI8NotFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		x := PackKV(I8, 1, 2, []float32{1, float32(bad)}, []float32{0, 0})
		k, v := make([]float32, 2), make([]float32, 2)
		x.Load(0, k, v)
		require.True(t, k[0] != k[0] && k[1] != k[1])
		require.Equal(t, []float32{0, 0}, v)
	}
}

// The extremes of 8-bit numbers: nothing overflows, and what is too small for a scale is 0.
func TestI8Extremes(t *testing.T) {
	for _, c := range []struct{ in, out []float32 }{
		{[]float32{math.MaxFloat32, -math.MaxFloat32, 0}, []float32{math.MaxFloat32, -math.MaxFloat32, 0}},
		{[]float32{0x1p-140, 0, -0x1p-140}, []float32{0, 0, 0}},
		{[]float32{127, -63.5, 0.4}, []float32{127, -64, 0}},
		{[]float32{0, 0, 0}, []float32{0, 0, 0}},
	} {
		x := PackKV(I8, 1, 3, c.in, c.in)
		k, v := make([]float32, 3), make([]float32, 3)
		x.Load(0, k, v)
		for i, want := range c.out {
			require.InDelta(t, want, k[i], 1e-6*math.Abs(float64(want)))
			require.Equal(t, k[i], v[i])
		}
	}
}

func TestKVPanics(t *testing.T) {
	x := NewKV(F16, 2, 3, 4)
	good := make([]float32, 6)
	for name, f := range map[string]func(){
		"format":                func() { NewKV(Format(9), 1, 1, 1) },
		"heads":                 func() { NewKV(F32, 0, 1, 1) },
		"head size":             func() { NewKV(F32, 1, -1, 1) },
		"tokens":                func() { NewKV(F32, 1, 1, -1) },
		"memory":                func() { ViewKV(F32, 1, 1, 1, make([]byte, 67)) },
		"alignment":             func() { ViewKV(I8, 1, 1, 1, make([]byte, KVSize(I8, 1, 1, 1)+1)[1:]) },
		"token":                 func() { x.Store(4, good, good) },
		"before":                func() { x.Load(-1, good, good) },
		"short key":             func() { x.Store(0, good[1:], good) },
		"short value":           func() { x.Load(0, good, good[1:]) },
		"plain arrays":          func() { PackKV(F32, 1, 2, good[:3], good[:3]) },
		"view inside a panel":   func() { NewKV(F32, 1, 1, 40).From(17) },
		"view past the end":     func() { NewKV(F32, 1, 1, 40).From(48) },
		"view before the start": func() { NewKV(F32, 1, 1, 40).From(-16) },
		"plain pair":            func() { PackKV(F32, 1, 2, good[:4], good[:2]) },
	} {
		require.Panics(t, f, name)
	}
	require.Equal(t, "[f32 f16 bf16 i8]", fmt.Sprint(Formats()))
	require.Equal(t, "Format(4)", Format(4).String())
}

// Kernels that widen as they read give the bits of those that read what was widened.
func TestNarrowKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range []int{8, 16, 24, 64, 80, 128} {
		for name, ks := range sets(d) {
			for h := 1; h <= ks.narrowRows; h++ {
				for _, n := range []int{1, 3, 16, 50, 77, blockKeys} {
					for _, f := range []Format{F16, BF16, I8} {
						panels := roundUp(n) / panelKeys
						x := NewKV(f, 1, d, n)
						for i := range n {
							k, _ := guarded(r, d)
							v, _ := guarded(r, d)
							x.Store(i, k, v)
						}
						var s scratch
						s.resize(1, d, true, 0)
						s.kern = ks
						keys, values := s.block(x, 0, 0, n)
						rawKeys, rawValues := x.Memory(0, 0, n)
						q, _ := gapped(r, h, laneStride, d)
						want, _ := gapped(r, h, scoreStride, panels*panelKeys)
						got, whole := gapped(r, h, scoreStride, panels*panelKeys)
						ks.scores(h, want, q, keys, unsafe.Pointer(&keys[0]), d, panels, laneStride)
						ks.scoresNarrow(f, h, got, q, rawKeys, d, panels)
						require.True(t, whole(), "%s %v: wrote beyond", name, f)
						require.True(t, sameBits(want, got), "%s %v: d %d, %d lanes, %d keys", name, f, d, h, n)

						p, _ := gapped(r, h, scoreStride, n)
						alpha, _ := guarded(r, h)
						o, whole := gapped(r, h, laneStride, d)
						wantO := append([]float32(nil), o...)
						ks.mix(h, wantO, p, values, alpha, unsafe.Pointer(&values[0]), d, n, laneStride)
						ks.mixNarrow(f, h, o, p, rawValues, alpha, d, n)
						require.True(t, whole(), "%s %v: wrote beyond", name, f)
						require.True(t, sameBits(wantO, o), "%s %v: d %d, %d lanes, %d keys", name, f, d, h, n)
					}
				}
			}
		}
	}
}

// Keys can be written and read by themselves.
func TestKeysAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, f := range Formats() {
		x, y := NewKV(f, 2, 5, 40), NewKV(f, 2, 5, 40)
		for i := range 40 {
			k, v := make([]float32, 10), make([]float32, 10)
			for e := range k {
				k[e], v[e] = float32(r.NormFloat64()), float32(r.NormFloat64())
			}
			x.Store(i, k, v)
			y.Store(i, make([]float32, 10), v)
			y.Store(i, k, nil)
		}
		require.Equal(t, x, y)
		for i := range 40 {
			k, v, alone := make([]float32, 10), make([]float32, 10), make([]float32, 10)
			x.Load(i, k, v)
			x.Load(i, alone, nil)
			require.Equal(t, k, alone)
		}
	}
}
