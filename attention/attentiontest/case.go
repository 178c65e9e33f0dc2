// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attentiontest

import (
	"math"
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/posenc"
)

// Case is a configuration and a query over random parts, together with what is
// needed to solve it densely.
type Case struct {
	Config attention.Config
	Query  attention.Query

	rope posenc.Config
	k, v [][]float32 // per part, keys that are not rotated, and values: [Len][KVHeads][HeadDim]
}

// Limits bounds what DrawCase draws.
type Limits struct {
	Rows, Parts, Len int
}

const ropeBase = 10000

// DrawConfig draws heads and, in half of the cases, a rotary embedding.
func DrawConfig(t *rapid.T) (attention.Config, posenc.Config) {
	c := attention.Config{
		KVHeads: rapid.IntRange(1, 3).Draw(t, "kvHeads"),
		HeadDim: rapid.SampledFrom([]int{1, 2, 3, 8, 15, 16, 17, 24, 32, 40, 64}).Draw(t, "headDim"),
		Scale:   rapid.SampledFrom([]float32{0, 0.3, -0.1}).Draw(t, "scale"),
	}
	group := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 8, 16, 17, 70}).Draw(t, "group")
	c.Heads = c.KVHeads * group
	var r posenc.Config
	if c.HeadDim%2 == 0 && rapid.Bool().Draw(t, "rope") {
		r = posenc.Config{
			HeadDim: c.HeadDim, RotaryDim: c.HeadDim, Base: ropeBase,
			Pairing: rapid.SampledFrom([]posenc.Pairing{posenc.Interleaved, posenc.HalfSplit}).Draw(t, "pairing"),
		}
		if c.HeadDim >= 8 && rapid.Bool().Draw(t, "partial") {
			r.RotaryDim = c.HeadDim / 2
		}
		rope, err := posenc.NewRoPE(r)
		if err != nil {
			t.Fatal(err)
		}
		c.RoPE = rope
	}
	return c, r
}

// DrawCase draws a query for the configuration. Rows of the caches that no part
// contains are NaN.
func DrawCase(t *rapid.T, c attention.Config, r posenc.Config, lim Limits) *Case {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	rows := rapid.IntRange(0, lim.Rows).Draw(t, "rows")
	width := c.Heads * c.HeadDim
	k := &Case{Config: c, rope: r, Query: attention.Query{
		Q: Normal(rng, rows*width), Out: make([]float32, rows*width), LSE: make([]float32, rows*c.Heads), Rows: rows,
		Decode: rapid.Bool().Draw(t, "decode"),
	}}
	for range rapid.IntRange(0, lim.Parts).Draw(t, "parts") {
		k.drawPart(t, rng, lim)
	}
	return k
}

func (c *Case) drawPart(t *rapid.T, rng *rand.Rand, lim Limits) {
	d := c.Config.HeadDim
	p := attention.Part{
		Len:    rapid.IntRange(0, lim.Len).Draw(t, "len"),
		Shift:  rapid.IntRange(-300, 3000).Draw(t, "shift"),
		Scale:  rapid.SampledFrom([]float32{0, 1, 0.5, 1.7}).Draw(t, "partScale"),
		Causal: rapid.Bool().Draw(t, "causal"),
	}
	p.Offset = rapid.IntRange(-lim.Rows-2, p.Len+2).Draw(t, "offset")
	room := p.Len
	if rapid.Bool().Draw(t, "roomy") {
		room += rapid.IntRange(0, 40).Draw(t, "room")
	}
	if rapid.Bool().Draw(t, "biased") {
		p.Bias = Normal(rng, c.Config.Heads)
		for h := range p.Bias {
			if rng.IntN(8) == 0 {
				p.Bias[h] = float32(math.Inf(-1))
			}
		}
	}
	if rapid.Bool().Draw(t, "masked") {
		density := rapid.SampledFrom([]float64{0, 0.05, 0.5, 0.98, 1}).Draw(t, "density")
		p.Mask = attention.NewBitmap(c.Query.Rows, p.Len)
		for i := range c.Query.Rows {
			for j := range p.Len {
				if rng.Float64() < density {
					p.Mask.Set(i, j)
				}
			}
		}
	}
	width := c.Config.KVHeads * d
	k, v := Normal(rng, p.Len*width), Normal(rng, p.Len*width)
	rotated, values := slices.Clone(k), slices.Clone(v)
	if c.Config.RoPE != nil {
		for j := range p.Len {
			c.Config.RoPE.RotateHeads(rotated[j*width:(j+1)*width], c.Config.KVHeads, j)
		}
	}
	for range (room - p.Len) * width {
		rotated, values = append(rotated, float32(math.NaN())), append(values, float32(math.NaN()))
	}
	// Some stand in the middle of a larger KV.
	before := attention.PanelKeys * rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "before")
	none := make([]float32, before*width)
	for i := range none {
		none[i] = float32(math.NaN())
	}
	rotated, values = append(none, rotated...), append(slices.Clone(none), values...)
	p.KV = attention.PackKV(rapid.SampledFrom(attention.Formats()).Draw(t, "format"), c.Config.KVHeads, d, rotated, values).From(before)
	c.Query.Parts = append(c.Query.Parts, p)
	c.k, c.v = append(c.k, k), append(c.v, v)
}

// Normal returns n normally distributed numbers.
func Normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Dense returns the case over tokens: the parts' keys one after the other, each
// rotated from its original to its absolute position, and every query row
// rotated once, to its own.
func (c *Case) Dense() *Dense {
	const start = 1000 // position of query row 0; any will do
	heads, kvHeads, d := c.Config.Heads, c.Config.KVHeads, c.Config.HeadDim
	p := &Dense{Heads: heads, KVHeads: kvHeads, HeadDim: d, Rows: c.Query.Rows, Q: make([]float64, len(c.Query.Q))}
	for i, x := range c.Query.Q {
		p.Q[i] = float64(x)
	}
	for i := range c.Query.Rows {
		for h := range heads {
			c.rotate(p.Q[(i*heads+h)*d:][:d], start+i)
		}
	}
	width := kvHeads * d
	var part, local []int // of each key
	for n := range c.Query.Parts {
		s := &c.Query.Parts[n]
		for j := range s.Len {
			part, local = append(part, n), append(local, j)
			k, v, at := c.k[n][j*width:(j+1)*width], c.v[n][j*width:(j+1)*width], start-s.Shift+j
			if s.KV.Format() != attention.F32 { // what was rotated to j, then rounded
				k, v, at = make([]float32, width), make([]float32, width), start-s.Shift
				s.KV.Load(j, k, v)
			}
			for e := range k {
				p.K, p.V = append(p.K, float64(k[e])), append(p.V, float64(v[e]))
			}
			for h := range kvHeads {
				c.rotate(p.K[len(p.K)-width+h*d:][:d], at)
			}
		}
	}
	p.Keys = len(part)
	p.Sees = func(head, row, key int) bool {
		s, j := &c.Query.Parts[part[key]], local[key]
		return (!s.Causal || j <= row+s.Offset) && (s.Mask == nil || s.Mask.Get(row, j))
	}
	scale := float64(c.Config.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(d))
	}
	p.Score = func(head, key int, dot float64) float64 {
		s := &c.Query.Parts[part[key]]
		dot *= scale
		if s.Scale != 0 {
			dot *= float64(s.Scale)
		}
		if s.Bias != nil {
			dot += float64(s.Bias[head])
		}
		return dot
	}
	return p
}

// rotate turns x [HeadDim] to position pos by the definition of the rotary
// embedding (Su et al. 2021, equation 34), in float64.
func (c *Case) rotate(x []float64, pos int) {
	n := c.rope.RotaryDim / 2
	for i := range n {
		sin, cos := math.Sincos(float64(pos) * math.Pow(ropeBase, -float64(i)/float64(n)))
		a, b := 2*i, 2*i+1
		if c.rope.Pairing == posenc.HalfSplit {
			a, b = i, i+n
		}
		x[a], x[b] = x[a]*cos-x[b]*sin, x[a]*sin+x[b]*cos
	}
}
