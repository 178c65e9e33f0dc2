// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attentiontest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
)

// Attend is the implementation under test. It computes queries for c as
// attention.Kernel.Attend does.
type Attend func(c attention.Config, queries []attention.Query) error

// Suite runs all tests on the implementation.
func Suite(t *testing.T, f Attend) {
	for _, test := range []struct {
		name     string
		property func(*rapid.T, Attend)
	}{
		{"Reference", Reference},
		{"OnlyLSE", OnlyLSE},
		{"RowsAlone", RowsAlone},
		{"HeadsAlone", HeadsAlone},
		{"PartOrder", PartOrder},
		{"SplitKeys", SplitKeys},
		{"HiddenKeys", HiddenKeys},
		{"BadRows", BadRows},
	} {
		t.Run(test.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { test.property(t, f) })
		})
	}
}

// tolerance is the error allowed where scores are as large as largest: a few
// units in the last place of a float32 score, and as much for the rotations.
func tolerance(largest float64) float64 { return 3e-6 * (1 + largest) }

// Reference compares queries of one call with the dense solution in float64.
func Reference(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	cases := make([]*Case, rapid.IntRange(1, 3).Draw(t, "queries"))
	queries := make([]attention.Query, len(cases))
	for i := range cases {
		cases[i] = DrawCase(t, c, r, Limits{Rows: 40, Parts: 4, Len: 140})
		queries[i] = cases[i].Query
	}
	run(t, f, c, queries)
	for n, k := range cases {
		out, lse, largest := k.Dense().Solve()
		tol := tolerance(largest)
		for i, want := range lse {
			got := float64(k.Query.LSE[i])
			if got != want && !(math.Abs(got-want) <= tol) {
				t.Fatalf("query %d, row %d, head %d: log-sum-exp %v, want %v ± %.1g", n, i/c.Heads, i%c.Heads, got, want, tol)
			}
			for e, want := range out[i*c.HeadDim : (i+1)*c.HeadDim] {
				if got := float64(k.Query.Out[i*c.HeadDim+e]); !(math.Abs(got-want) <= tol) || math.IsInf(lse[i], -1) && got != 0 {
					t.Fatalf("query %d, row %d, head %d, element %d: output %v, want %v ± %.1g", n, i/c.Heads, i%c.Heads, e, got, want, tol)
				}
			}
		}
	}
}

// OnlyLSE asks for log-sum-exps alone: they are those that come with the output, to rounding, and no value is read.
func OnlyLSE(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 30, Parts: 3, Len: 140})
	run(t, f, c, []attention.Query{k.Query})
	alone := k.Query
	alone.Out, alone.LSE, alone.Decode = nil, make([]float32, len(k.Query.LSE)), false
	run(t, f, c, []attention.Query{alone})
	_, _, largest := k.Dense().Solve()
	for i, want := range k.Query.LSE {
		if got := alone.LSE[i]; got != want && !(math.Abs(float64(got-want)) <= tolerance(largest)) {
			t.Fatalf("row %d, head %d: log-sum-exp %v by itself, %v with the output", i/c.Heads, i%c.Heads, got, want)
		}
	}
}

// RowsAlone computes each row in a call of its own: not one bit may differ.
func RowsAlone(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 30, Parts: 3, Len: 140})
	run(t, f, c, []attention.Query{k.Query})
	for i := range k.Query.Rows {
		one := k.row(i)
		run(t, f, c, []attention.Query{one})
		width := c.Heads * c.HeadDim
		same(t, fmt.Sprintf("row %d", i), c,
			k.Query.Out[i*width:(i+1)*width], k.Query.LSE[i*c.Heads:(i+1)*c.Heads], one.Out, one.LSE)
	}
}

// row returns the query for row i alone, with outputs of its own.
func (c *Case) row(i int) attention.Query {
	width := c.Config.Heads * c.Config.HeadDim
	one := attention.Query{
		Q: c.Query.Q[i*width : (i+1)*width], Out: make([]float32, width), LSE: make([]float32, c.Config.Heads), Rows: 1, Decode: c.Query.Decode,
		Parts: slices.Clone(c.Query.Parts),
	}
	for n := range one.Parts {
		p := &one.Parts[n]
		p.Shift += i
		p.Offset += i
		if p.Mask != nil {
			m := attention.NewBitmap(1, p.Len)
			for j := range p.Len {
				if p.Mask.Get(i, j) {
					m.Set(0, j)
				}
			}
			p.Mask = m
		}
	}
	return one
}

// HeadsAlone computes one query head with its key/value head in a call of their
// own: not one bit may differ.
func HeadsAlone(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 12, Parts: 3, Len: 140})
	run(t, f, c, []attention.Query{k.Query})
	h := rapid.IntRange(0, c.Heads-1).Draw(t, "head")
	kv, d := h/(c.Heads/c.KVHeads), c.HeadDim
	alone := c
	alone.Heads, alone.KVHeads = 1, 1
	one := attention.Query{Rows: k.Query.Rows, Parts: slices.Clone(k.Query.Parts), Decode: k.Query.Decode}
	one.Out, one.LSE = make([]float32, one.Rows*d), make([]float32, one.Rows)
	var out, lse []float32
	for i := range one.Rows {
		at := i*c.Heads + h
		one.Q = append(one.Q, k.Query.Q[at*d:(at+1)*d]...)
		out = append(out, k.Query.Out[at*d:(at+1)*d]...)
		lse = append(lse, k.Query.LSE[at])
	}
	for n := range one.Parts {
		p := &one.Parts[n]
		p.KV = Cut(p.KV, kv, kv+1, 0, p.KV.Tokens())
		if p.Bias != nil {
			p.Bias = p.Bias[h : h+1]
		}
	}
	run(t, f, alone, []attention.Query{one})
	same(t, fmt.Sprintf("head %d", h), alone, out, lse, one.Out, one.LSE)
}

// PartOrder permutes the parts: the result may differ by rounding.
func PartOrder(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 20, Parts: 6, Len: 90})
	run(t, f, c, []attention.Query{k.Query})
	other := k.Query
	other.Parts = rapid.Permutation(k.Query.Parts).Draw(t, "order")
	other.Out, other.LSE = make([]float32, len(other.Out)), make([]float32, len(other.LSE))
	run(t, f, c, []attention.Query{other})
	near(t, c, 1e-5, other.Out, other.LSE, k.Query.Out, k.Query.LSE)
}

// SplitKeys cuts every part in two and distributes the pieces over two calls,
// whose merged result may differ by rounding.
func SplitKeys(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 20, Parts: 4, Len: 200})
	run(t, f, c, []attention.Query{k.Query})
	var half [2]attention.Query
	for i := range half {
		half[i] = attention.Query{
			Q: k.Query.Q, Rows: k.Query.Rows, Out: make([]float32, len(k.Query.Out)), LSE: make([]float32, len(k.Query.LSE)),
		}
	}
	for _, p := range k.Query.Parts {
		at := rapid.IntRange(0, p.Len).Draw(t, "at")
		to := rapid.IntRange(0, 1).Draw(t, "to")
		half[to].Parts = append(half[to].Parts, piece(p, k.Query.Rows, 0, at))
		half[1-to].Parts = append(half[1-to].Parts, piece(p, k.Query.Rows, at, p.Len))
	}
	run(t, f, c, half[:])
	attention.Merge(half[0].Out, half[0].LSE, half[1].Out, half[1].LSE, c.HeadDim)
	near(t, c, 1e-5, half[0].Out, half[0].LSE, k.Query.Out, k.Query.LSE)
}

// piece returns the keys lo ≤ j < hi of p.
func piece(p attention.Part, rows, lo, hi int) attention.Part {
	p.KV = Cut(p.KV, 0, p.KV.KVHeads(), lo, hi)
	p.Len, p.Offset = hi-lo, p.Offset-lo // the keys keep their rotation, so Shift stays
	if p.Mask != nil {
		m := attention.NewBitmap(rows, p.Len)
		for i := range rows {
			for j := range p.Len {
				if p.Mask.Get(i, lo+j) {
					m.Set(i, j)
				}
			}
		}
		p.Mask = m
	}
	return p
}

// HiddenKeys overwrites keys and values that no row sees with NaN and ±Inf: not
// one bit may differ.
func HiddenKeys(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 20, Parts: 4, Len: 140})
	run(t, f, c, []attention.Query{k.Query})
	other := k.Query
	other.Out, other.LSE = make([]float32, len(other.Out)), make([]float32, len(other.LSE))
	other.Parts = slices.Clone(other.Parts)
	for n := range other.Parts {
		p := &other.Parts[n]
		p.KV = Clone(p.KV)
		for j := range p.Len {
			seen := false
			for i := range other.Rows {
				seen = seen || sees(p, i, j)
			}
			if !seen {
				spoil(t, c, p, j)
			}
		}
	}
	run(t, f, c, []attention.Query{other})
	same(t, "hidden keys", c, k.Query.Out, k.Query.LSE, other.Out, other.LSE)
}

// BadRows overwrites one key and one query row with NaN or ±Inf: no bit of the
// rows and heads that do not attend to the key may differ. Where NaN is
// attended to, the log-sum-exp is NaN.
func BadRows(t *rapid.T, f Attend) {
	c, r := DrawConfig(t)
	k := DrawCase(t, c, r, Limits{Rows: 20, Parts: 4, Len: 140})
	if k.Query.Rows == 0 {
		return
	}
	run(t, f, c, []attention.Query{k.Query})
	other := k.Query
	other.Q = slices.Clone(other.Q)
	other.Out, other.LSE = make([]float32, len(other.Out)), make([]float32, len(other.LSE))
	other.Parts = slices.Clone(other.Parts)
	width, d := c.Heads*c.HeadDim, c.HeadDim

	reads := func(i, h int) bool { return false } // the spoilt key
	value := math.NaN()
	if len(other.Parts) > 0 {
		p := &other.Parts[rapid.IntRange(0, len(other.Parts)-1).Draw(t, "part")]
		if p.Len > 0 {
			p.KV = Clone(p.KV)
			j := rapid.IntRange(0, p.Len-1).Draw(t, "key")
			value = spoil(t, c, p, j)
			reads = func(i, h int) bool {
				return sees(p, i, j) && (p.Bias == nil || !math.IsInf(float64(p.Bias[h]), -1))
			}
		}
	}
	bad := rapid.IntRange(0, other.Rows-1).Draw(t, "row")
	for i := range width {
		other.Q[bad*width+i] = float32(math.NaN())
	}
	run(t, f, c, []attention.Query{other})
	for at, lse := range other.LSE {
		i, h := at/c.Heads, at%c.Heads
		switch {
		case math.IsInf(float64(k.Query.LSE[at]), -1), i != bad && !reads(i, h):
			same(t, fmt.Sprintf("row %d, head %d", i, h), attention.Config{Heads: 1, HeadDim: d},
				k.Query.Out[at*d:(at+1)*d], k.Query.LSE[at:at+1], other.Out[at*d:(at+1)*d], other.LSE[at:at+1])
		case (i == bad || math.IsNaN(value)) && lse == lse:
			t.Fatalf("row %d, head %d attends to NaN, its log-sum-exp is %v", i, h, lse)
		}
	}
}

// sees reports whether row i may see key j of p, biases aside.
func sees(p *attention.Part, i, j int) bool {
	return (!p.Causal || j <= i+p.Offset) && (p.Mask == nil || p.Mask.Get(i, j))
}

// spoil overwrites key j of p and its value, and returns with what.
func spoil(t *rapid.T, c attention.Config, p *attention.Part, j int) float64 {
	x := rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "bad")
	bad := slices.Repeat([]float32{float32(x)}, c.KVHeads*c.HeadDim)
	p.KV.Store(j, bad, bad)
	return x
}

func run(t *rapid.T, f Attend, c attention.Config, queries []attention.Query) {
	for i := range queries {
		fill(queries[i].Out)
		fill(queries[i].LSE)
	}
	if err := f(c, queries); err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// fill puts what must be overwritten.
func fill(x []float32) {
	for i := range x {
		x[i] = 12345
	}
}

func same(t *rapid.T, what string, c attention.Config, wantOut, wantLSE, out, lse []float32) {
	for i := range wantLSE {
		if math.Float32bits(lse[i]) != math.Float32bits(wantLSE[i]) {
			t.Fatalf("%s: row %d, head %d: log-sum-exp %v, want the bits of %v", what, i/c.Heads, i%c.Heads, lse[i], wantLSE[i])
		}
	}
	for i := range wantOut {
		if math.Float32bits(out[i]) != math.Float32bits(wantOut[i]) {
			n := i / c.HeadDim
			t.Fatalf("%s: row %d, head %d, element %d: output %v, want the bits of %v", what, n/c.Heads, n%c.Heads, i%c.HeadDim, out[i], wantOut[i])
		}
	}
}

func near(t *rapid.T, c attention.Config, tol float64, out, lse, wantOut, wantLSE []float32) {
	for i, want := range wantLSE {
		if lse[i] != want && !(math.Abs(float64(lse[i]-want)) <= tol*math.Max(1, math.Abs(float64(want)))) {
			t.Fatalf("row %d, head %d: log-sum-exp %v, want %v", i/c.Heads, i%c.Heads, lse[i], want)
		}
	}
	for i, want := range wantOut {
		if !(math.Abs(float64(out[i]-want)) <= tol) {
			n := i / c.HeadDim
			t.Fatalf("row %d, head %d, element %d: output %v, want %v", n/c.Heads, n%c.Heads, i%c.HeadDim, out[i], want)
		}
	}
}
