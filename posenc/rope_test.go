// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/internal/cpu"
)

// rotated turns x to position pos in float64 with complex numbers, z_i ↦ m·z_i·e^(i·pos·f_i): the RoPE paper's equation,
// independent of the code under test.
func rotated(x []float32, freq []float64, pairing Pairing, mag, pos float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	for i, f := range freq {
		p, q := 2*i, 2*i+1
		if pairing == HalfSplit {
			p, q = i, i+len(freq)
		}
		z := complex(y[p], y[q]) * complex(mag*math.Cos(pos*f), mag*math.Sin(pos*f))
		y[p], y[q] = real(z), imag(z)
	}
	return y
}

func assertClose(t testing.TB, want []float64, got []float32, tol float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if d := math.Abs(want[i] - float64(got[i])); !(d <= tol) {
			t.Fatalf("dimension %d: %v, want %v (off by %g)", i, got[i], want[i], d)
		}
	}
}

func randomVector(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func mustRoPE(t require.TestingT, c Config) *RoPE {
	r, err := NewRoPE(c)
	require.NoError(t, err)
	return r
}

// factors are like those of a Llama 3.1 file: 1 for the fast frequencies, a ramp, 8 for the slow ones.
func factors(n int) []float32 {
	f := make([]float32, n)
	for i := range f {
		f[i] = float32(min(max(float64(i-n/3), 1), 8))
	}
	return f
}

var configs = map[string]Config{
	"plain":        {HeadDim: 64, Base: 10000},
	"half-split":   {HeadDim: 64, Base: 10000, Pairing: HalfSplit},
	"two":          {HeadDim: 2, Base: 10000},
	"partial":      {HeadDim: 80, RotaryDim: 32, Base: 10000},
	"partial-half": {HeadDim: 7, RotaryDim: 6, Base: 10000, Pairing: HalfSplit},
	"linear":       {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: LinearScaling, Factor: 4}},
	"llama3":       {HeadDim: 128, Base: 500000, Scaling: Scaling{Kind: Llama3Scaling, Factor: 8, OriginalContext: 8192}},
	"yarn":         {HeadDim: 128, Base: 10000, Pairing: HalfSplit, Scaling: Scaling{Kind: YaRNScaling, Factor: 16, OriginalContext: 4096}},
	"yarn-quiet":   {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 16, OriginalContext: 4096, AttentionFactor: 0.75}},
	"factors":      {HeadDim: 128, Base: 500000, Scaling: Scaling{FreqFactors: factors(64)}},
	"yarn-factors": {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 2, OriginalContext: 2048, FreqFactors: factors(32)}},
}

var positions = []int{0, 1, -1, 2, 255, 256, -257, 4095, 100000, -131071, 131072, 1 << 20, -(1 << 20)}

func TestRotateFollowsTheFormula(t *testing.T) {
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			r := mustRoPE(t, c)
			rng := rand.New(rand.NewPCG(1, 2))
			for _, pos := range positions {
				x := randomVector(rng, c.HeadDim)
				want := rotated(x, r.Frequencies(), c.Pairing, r.Magnitude(), float64(pos))
				got := append([]float32(nil), x...)
				r.Rotate(got, pos)
				assertClose(t, want, got, 2e-6)

				r.Unrotate(got, pos)
				for i := range x {
					assert.InDelta(t, x[i], got[i], 2e-6)
				}

				got = append(got[:0], x...)
				r.Shift(got, pos)
				assertClose(t, rotated(x, r.Frequencies(), c.Pairing, 1, float64(pos)), got, 2e-6)
			}
		})
	}
}

func TestRotateHeads(t *testing.T) {
	c := configs["partial"]
	r := mustRoPE(t, c)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, pos := range []int{5, -77, 1 << 18} {
		x := randomVector(rng, 3*c.HeadDim)
		want := append([]float32(nil), x...)
		for h := range 3 {
			r.Rotate(want[h*c.HeadDim:][:c.HeadDim], pos)
		}
		r.RotateHeads(x, 3, pos)
		assert.Equal(t, want, x)
	}
	r.RotateHeads(nil, 0, 5)
	assert.PanicsWithValue(t, "posenc: vector of length 79, want 1 heads of 80 dimensions", func() { r.Rotate(make([]float32, 79), 0) })
	assert.PanicsWithValue(t, "posenc: vector of length 160, want 3 heads of 80 dimensions", func() { r.RotateHeads(make([]float32, 160), 3, 0) })
}

// onEveryTier runs f once per tier that the machine has, with the higher ones switched off.
func onEveryTier(t *testing.T, f func(t *testing.T)) {
	for _, tier := range cpu.Tiers() {
		t.Run(tier.String(), func(t *testing.T) {
			defer cpu.Lower(tier)()
			f(t)
		})
	}
}

// RotateTo must give the bits of Rotate and a multiplication, which attention used before, whatever the number of heads and rows.
func TestRotateToEqualsRotateAndScale(t *testing.T) { onEveryTier(t, testRotateToEqualsRotateAndScale) }

func testRotateToEqualsRotateAndScale(t *testing.T) {
	for name, c := range configs {
		r := mustRoPE(t, c)
		rng := rand.New(rand.NewPCG(13, 14))
		for n, pos := range append(slices.Clone(positions), -3, chunkSize-2, -chunkSize-2, -chunkSize+1, tableSize-2, -tableSize-1) {
			for _, scale := range []float32{1, 0.3} {
				p := Place{Rows: 1 + n%6, Heads: 1 + n%2*2}
				width := p.Heads * c.HeadDim
				x := randomVector(rng, p.Rows*width)
				want := append([]float32(nil), x...)
				for h := range p.Rows * p.Heads {
					r.Rotate(want[h*c.HeadDim:][:c.HeadDim], pos+h/p.Heads)
				}
				tokens := append([]float32(nil), x...)
				r.RotateTokens(tokens, p.Heads, pos)
				require.Equal(t, want, tokens, "%s from %d", name, pos)
				back := append([]float32(nil), tokens...)
				for h := range p.Rows * p.Heads {
					r.Unrotate(back[h*c.HeadDim:][:c.HeadDim], pos+h/p.Heads)
				}
				r.UnrotateTokens(tokens, p.Heads, pos)
				require.Equal(t, back, tokens, "%s back from %d", name, pos)
				for i := range want {
					want[i] *= scale
				}
				for _, gap := range []int{0, 5} {
					p.NextRow, p.Stride = width+gap, c.HeadDim+gap
					src := make([]float32, (p.Rows-1)*p.NextRow+width)
					for i := range p.Rows {
						copy(src[i*p.NextRow:], x[i*width:(i+1)*width])
					}
					before := append([]float32(nil), src...)
					dst := make([]float32, (p.Rows*p.Heads-1)*p.Stride+c.HeadDim)
					apart := make([]float32, len(dst)) // nothing is written between heads
					for h := range p.Rows * p.Heads {
						copy(apart[h*p.Stride:], want[h*c.HeadDim:(h+1)*c.HeadDim])
					}
					r.RotateTo(dst, src, p, pos, scale)
					require.Equal(t, apart, dst, "%s from %d, %d rows of %d heads", name, pos, p.Rows, p.Heads)
					require.Equal(t, before, src, "source changed")
				}
				p.NextRow, p.Stride = width, c.HeadDim
				r.RotateTo(x, x, p, pos, scale)
				require.Equal(t, want, x, "%s from %d, %d rows of %d heads in place", name, pos, p.Rows, p.Heads)
			}
		}
	}
	r := mustRoPE(t, configs["plain"])
	x, y := make([]float32, 128), make([]float32, 128)
	two := Place{Rows: 2, Heads: 1, NextRow: 64, Stride: 64}
	r.RotateTo(nil, nil, Place{Rows: 1}, 3, 2)
	r.RotateTo(nil, nil, Place{Heads: 1}, 3, 2)
	refuses := func(want string, dst, x []float32, p Place) {
		assert.PanicsWithValue(t, want, func() { r.RotateTo(dst, x, p, 1, 1) })
	}
	wide, narrow, close := two, two, two
	wide.Stride, narrow.Stride, close.NextRow = 65, 63, 63
	refuses("posenc: 2 heads of 64 dimensions do not fit a slice of length 128 at a stride of 65", y, x, wide)
	refuses("posenc: 2 heads of 64 dimensions do not fit a slice of length 128 at a stride of 63", y, x, narrow)
	refuses("posenc: slice of length 127 for 2 rows of 1 heads of 64 dimensions, 64 apart", y, x[:127], two)
	refuses("posenc: slice of length 128 for 2 rows of 1 heads of 64 dimensions, 63 apart", y, x, close)
	assert.PanicsWithValue(t, "posenc: vector of length 127, want 1 heads of 64 dimensions", func() { r.RotateTokens(x[:127], 1, 1) })
	assert.Zero(t, testing.AllocsPerRun(20, func() { r.RotateTo(y, x, two, 7, 0.5); r.RotateHeads(x, 2, 9) }))
}

// The table and the direct computation must not differ, so that the seam between them is invisible.
func TestTableEqualsDirectComputation(t *testing.T) { onEveryTier(t, testTableEqualsDirectComputation) }

func testTableEqualsDirectComputation(t *testing.T) {
	for name, c := range configs {
		r := mustRoPE(t, c)
		rng := rand.New(rand.NewPCG(5, 6))
		for _, pos := range []int{0, 1, 300, tableSize - 1} {
			for _, sign := range []float32{1, -1} {
				x := randomVector(rng, 2*c.HeadDim)
				y := append([]float32(nil), x...)
				r.turn(x, x, r.place(1, 2), pos, sign, r.mag, 0.4)
				for h := range 2 {
					multiply(y[h*c.HeadDim+2*r.half:(h+1)*c.HeadDim], y[h*c.HeadDim+2*r.half:(h+1)*c.HeadDim], 0.4)
				}
				r.turnFar(y, y, r.place(1, 2), float64(pos), sign, r.mag, 0.4)
				assert.Equal(t, y, x, "%s at %d", name, pos)
			}
		}
	}
}

func TestExtremePositions(t *testing.T) {
	r := mustRoPE(t, configs["yarn"])
	for _, pos := range []int{math.MinInt, math.MinInt + 1, math.MaxInt} {
		x := randomVector(rand.New(rand.NewPCG(7, 8)), 128)
		want := append([]float32(nil), x...)
		r.Rotate(x, pos)
		assert.NotEqual(t, want, x)
		r.Unrotate(x, pos)
		for i := range x {
			assert.InDelta(t, want[i], x[i], 2e-6)
		}
	}
}

// anyRoPE draws one of the configurations, both pairings.
func anyRoPE(t *rapid.T, ropes map[string]*RoPE) *RoPE {
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(configs))).Draw(t, "config")
	p := Pairing(rapid.IntRange(0, 1).Draw(t, "pairing"))
	key := fmt.Sprint(name, p)
	if ropes[key] == nil {
		c := configs[name]
		c.Pairing = p
		ropes[key] = mustRoPE(t, c)
	}
	return ropes[key]
}

func TestScoresDependOnDistanceOnly(t *testing.T) {
	ropes := map[string]*RoPE{}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRoPE(t, ropes)
		pos := rapid.IntRange(-200000, 200000)
		m, n, by := pos.Draw(t, "m"), pos.Draw(t, "n"), pos.Draw(t, "by")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		score := func(q, k []float32, m, n int) float64 {
			q, k = append([]float32(nil), q...), append([]float32(nil), k...)
			r.Rotate(q, m)
			r.Rotate(k, n)
			sum, nq, nk := 0.0, 0.0, 0.0
			for i := range q {
				sum += float64(q[i]) * float64(k[i])
				nq += float64(q[i]) * float64(q[i])
				nk += float64(k[i]) * float64(k[i])
			}
			return sum / math.Sqrt(nq*nk)
		}
		q, k := randomVector(rng, r.HeadDim()), randomVector(rng, r.HeadDim())
		if a, b := score(q, k, m, n), score(q, k, m+by, n+by); math.Abs(a-b) > 1e-5 {
			t.Fatalf("score %v at (%d, %d) and %v moved by %d", a, m, n, b, by)
		}
	})
}

func TestShiftMovesARotatedVector(t *testing.T) {
	ropes := map[string]*RoPE{}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRoPE(t, ropes)
		pos := rapid.IntRange(-200000, 200000)
		n, delta := pos.Draw(t, "n"), pos.Draw(t, "delta")
		x := randomVector(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), r.HeadDim())
		y := append([]float32(nil), x...)
		r.Rotate(x, n)
		r.Shift(x, delta)
		r.Rotate(y, n+delta)
		for i := range x {
			if math.Abs(float64(x[i]-y[i])) > 1e-5 {
				t.Fatalf("dimension %d: %v, want %v", i, x[i], y[i])
			}
		}
		r.Unrotate(x, n+delta)
		r.Unrotate(y, n+delta)
		for i := range x {
			if math.Abs(float64(x[i]-y[i])) > 1e-5 {
				t.Fatalf("dimension %d unrotated: %v, want %v", i, x[i], y[i])
			}
		}
	})
}

func TestNewRoPEErrors(t *testing.T) {
	nan := math.NaN()
	for want, c := range map[string]Config{
		"posenc: head dimension 0, want 1 to 65536":                                                 {Base: 10000},
		"posenc: rotary dimension 63, want an even number from 2 to the head dimension 63":          {HeadDim: 63, Base: 10000},
		"posenc: rotary dimension 66, want an even number from 2 to the head dimension 64":          {HeadDim: 64, RotaryDim: 66, Base: 10000},
		"posenc: rotary dimension -2, want an even number from 2 to the head dimension 64":          {HeadDim: 64, RotaryDim: -2, Base: 10000},
		"posenc: RoPE base 0, want a finite number greater than 1":                                  {HeadDim: 64},
		"posenc: RoPE base NaN, want a finite number greater than 1":                                {HeadDim: 64, Base: nan},
		"posenc: RoPE base +Inf, want a finite number greater than 1":                               {HeadDim: 64, Base: math.Inf(1)},
		"posenc: unknown pairing 2":                                                                 {HeadDim: 64, Base: 10000, Pairing: 2},
		"posenc: scaling factor 4 without a kind of scaling":                                        {HeadDim: 64, Base: 10000, Scaling: Scaling{Factor: 4}},
		"posenc: linear scaling: factor 0, want a finite number of at least 1":                      {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: LinearScaling}},
		"posenc: yarn scaling: factor NaN, want a finite number of at least 1":                      {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: nan}},
		"posenc: yarn scaling: original context 0, want at least 1":                                 {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 2}},
		"posenc: yarn scaling: beta fast and slow 1 and 2, want fast ≥ slow > 0":                    {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 2, OriginalContext: 9, BetaFast: 1, BetaSlow: 2}},
		"posenc: yarn scaling: attention factor -1, want a positive number":                         {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: YaRNScaling, Factor: 2, OriginalContext: 9, AttentionFactor: -1}},
		"posenc: llama3 scaling: low and high frequency factors 4 and 4, want 0 < low < high":       {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: Llama3Scaling, Factor: 2, OriginalContext: 9, LowFreqFactor: 4}},
		"posenc: llama3 scaling and frequency factors together would scale twice":                   {HeadDim: 4, Base: 10000, Scaling: Scaling{Kind: Llama3Scaling, Factor: 2, OriginalContext: 9, FreqFactors: factors(2)}},
		"posenc: 3 frequency factors, want 32 (half the rotary dimension)":                          {HeadDim: 64, Base: 10000, Scaling: Scaling{FreqFactors: factors(3)}},
		"posenc: frequency factor 1 is 0, want a positive number":                                   {HeadDim: 4, Base: 10000, Scaling: Scaling{FreqFactors: []float32{1, 0}}},
		`posenc: unknown scaling "ntk"`:                                                             {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: "ntk", Factor: 2}},
		"posenc: dynamic scaling: frequencies that depend on the run-time length cannot be cached":  {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: "dynamic", Factor: 2}},
		"posenc: longrope scaling: frequencies that depend on the run-time length cannot be cached": {HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: "longrope"}},
	} {
		r, err := NewRoPE(c)
		assert.EqualError(t, err, want)
		assert.Nil(t, r)
	}
	_, err := NewRoPE(Config{HeadDim: 64, Base: 10000, Scaling: Scaling{Kind: "dynamic", Factor: 2}})
	assert.ErrorIs(t, err, ErrDynamicScaling)
}

func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for name, c := range configs {
		f := string(mustRoPE(t, c).Fingerprint())
		assert.Empty(t, seen[f], "%s has the fingerprint of %s", name, seen[f])
		seen[f] = name
	}
	same := func(a, b Config) {
		t.Helper()
		assert.Equal(t, mustRoPE(t, a).Fingerprint(), mustRoPE(t, b).Fingerprint())
	}
	same(Config{HeadDim: 64, Base: 10000}, Config{HeadDim: 64, RotaryDim: 64, Base: 10000, Scaling: Scaling{Kind: "none", Factor: 1, OriginalContext: 5}})
	same(configs["yarn"], Config{HeadDim: 128, Base: 10000, Pairing: HalfSplit,
		Scaling: Scaling{Kind: YaRNScaling, Factor: 16, OriginalContext: 4096, BetaFast: 32, BetaSlow: 1, AttentionFactor: YaRNMagnitude(16, 1, 0)}})

	r := mustRoPE(t, configs["factors"])
	before := r.Fingerprint()
	r.Fingerprint()[0]++
	r.Frequencies()[0]++
	assert.Equal(t, before, r.Fingerprint())
	assert.Equal(t, 1.0, r.Frequencies()[0])
}

func TestRotateDoesNotAllocate(t *testing.T) {
	for name, c := range configs {
		r := mustRoPE(t, c)
		x := make([]float32, 4*c.HeadDim)
		for _, pos := range []int{3, -3, 70000, 1 << 20} {
			assert.Zero(t, testing.AllocsPerRun(20, func() {
				r.RotateHeads(x, 4, pos)
				r.Shift(x[:c.HeadDim], pos)
				r.Unrotate(x[:c.HeadDim], pos)
			}), "%s at %d", name, pos)
		}
	}
}

// Many goroutines fill the same chunks at once; under -race this also proves the publication.
func TestConcurrentUse(t *testing.T) {
	c := configs["llama3"]
	r, alone := mustRoPE(t, c), mustRoPE(t, c)
	x := randomVector(rand.New(rand.NewPCG(9, 9)), c.HeadDim)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			y, want := make([]float32, len(x)), make([]float32, len(x))
			for i := range 500 {
				pos := (i*37 + g*11) % 5000
				copy(y, x)
				copy(want, x)
				r.Rotate(y, pos)
				alone.turnFar(want, want, alone.place(1, 1), float64(pos), 1, 1, 1)
				if !assert.Equal(t, want, y, "position %d", pos) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkRotate(b *testing.B) {
	for _, name := range []string{"plain", "half-split"} {
		r := mustRoPE(b, configs[name])
		const rows = 48
		x := randomVector(rand.New(rand.NewPCG(1, 1)), rows*3*64)
		dst := make([]float32, len(x))
		run := func(kind string, n int, rotate func(pos int)) {
			b.Run(name+"/"+kind, func(b *testing.B) {
				for i := range b.N {
					rotate(i & 1023)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/elem")
			})
		}
		run("in-place", 64, func(pos int) { r.Rotate(x[:64], pos) })
		for _, p := range []Place{{1, 1, 64, 64}, {1, 3, 3 * 64, 64}, {rows, 3, 3 * 64, 64}} {
			run(fmt.Sprintf("to-%d-rows-of-%d", p.Rows, p.Heads), p.Rows*p.Heads*64, func(pos int) { r.RotateTo(dst, x, p, pos, 0.125) })
		}
	}
}
