// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attentiontest

import (
	"math/rand/v2"

	"github.com/graphkv/graphkv/attention"
)

// Shape is the heads of an attention layer that benchmarks use.
type Shape struct {
	Name                    string
	Heads, KVHeads, HeadDim int
}

// Shapes returns the shapes A, of SmolLM2-135M, and B, of Llama 3 8B.
func Shapes() []Shape { return []Shape{{"A", 9, 3, 64}, {"B", 32, 8, 128}} }

// Layout is a graph of segments whose attention is computed in one call.
type Layout struct {
	Name     string
	Segments []Segment
	Decode   bool // steps of generation
}

// Segment is a run of tokens that reads itself causally and earlier segments as a whole.
type Segment struct {
	Rows    int
	History int      // tokens of the segment before its first row
	Sources []Source // by index
}

// Source is an earlier segment, at a distance from its reader.
type Source struct{ Segment, Shift int }

// Layouts returns the layouts that speed is measured on:
//
//	L1  an ego graph: a target of 512 tokens reads 8 sources of 256, which share positions
//	L2  Graph-KV: 10 passages of 200 tokens alone, then again, each reading all of the first round laid end to end
//	L3  a citation graph: 64 segments of 128 tokens, each reading up to 4 random earlier ones, which share positions
//	L4  one text of 4096 tokens
//	L5  one row after 4096 tokens
func Layouts() []Layout {
	l1 := Layout{Name: "L1"}
	target := Segment{Rows: 512}
	for i := range 8 {
		l1.Segments = append(l1.Segments, Segment{Rows: 256})
		target.Sources = append(target.Sources, Source{i, 256})
	}
	l1.Segments = append(l1.Segments, target)

	l2 := Layout{Name: "L2"}
	second := Segment{Rows: 200}
	for i := range 10 {
		l2.Segments = append(l2.Segments, Segment{Rows: 200})
		second.Sources = append(second.Sources, Source{i, 2000 - 200*i})
	}
	for range 10 {
		l2.Segments = append(l2.Segments, second)
	}
	return []Layout{
		l1, l2, Citations(64), {Name: "L4", Segments: []Segment{{Rows: 4096}}},
		{Name: "L5", Segments: []Segment{{Rows: 1, History: 4095}}, Decode: true},
	}
}

// Citations returns L3 with n segments.
func Citations(n int) Layout {
	r := rand.New(rand.NewPCG(3, 4))
	l := Layout{Name: "L3"}
	for i := range n {
		s := Segment{Rows: 128}
		for _, j := range r.Perm(i)[:min(i, 4)] {
			s.Sources = append(s.Sources, Source{j, 128})
		}
		l.Segments = append(l.Segments, s)
	}
	return l
}

// Pairs returns the number of pairs of a row and a key that it sees. The useful work of one head is 4·HeadDim operations for each.
func (l Layout) Pairs() int64 {
	n := int64(0)
	for _, s := range l.Segments {
		n += int64(s.Rows)*int64(s.History) + int64(s.Rows)*int64(s.Rows+1)/2
		for _, j := range s.Sources {
			n += int64(s.Rows) * int64(l.Segments[j.Segment].tokens())
		}
	}
	return n
}

func (s Segment) tokens() int { return s.History + s.Rows }

// Operations returns the useful floating-point operations of the layout: 4·HeadDim·Heads for each pair.
func (l Layout) Operations(s Shape) float64 {
	return 4 * float64(s.HeadDim) * float64(s.Heads) * float64(l.Pairs())
}

// Bytes returns the size of all keys and values in a format, less what fills up the last panel of keys.
func (l Layout) Bytes(s Shape, f attention.Format) float64 {
	n := 0.0
	for _, x := range l.Segments {
		n += float64(attention.KVSize(f, s.KVHeads, s.HeadDim, x.tokens()))
	}
	return n
}

// Queries returns the queries of the layout over random numbers.
func (l Layout) Queries(s Shape, f attention.Format) []attention.Query {
	r := rand.New(rand.NewPCG(1, 2))
	var queries []attention.Query
	var kvs []attention.KV
	k, v := make([]float32, s.KVHeads*s.HeadDim), make([]float32, s.KVHeads*s.HeadDim)
	width := s.Heads * s.HeadDim
	for _, x := range l.Segments {
		kv := attention.NewKV(f, s.KVHeads, s.HeadDim, x.tokens())
		for i := range x.tokens() {
			for e := range k {
				k[e], v[e] = uniform(r), uniform(r)
			}
			kv.Store(i, k, v)
		}
		kvs = append(kvs, kv)
		q := attention.Query{
			Q: make([]float32, x.Rows*width), Out: make([]float32, x.Rows*width), Rows: x.Rows, Decode: l.Decode,
		}
		for e := range q.Q {
			q.Q[e] = uniform(r)
		}
		for _, j := range x.Sources {
			q.Parts = append(q.Parts, attention.Part{KV: kvs[j.Segment], Len: kvs[j.Segment].Tokens(), Shift: j.Shift})
		}
		q.Parts = append(q.Parts, attention.Part{KV: kv, Len: x.tokens(), Shift: x.History, Causal: true, Offset: x.History})
		queries = append(queries, q)
	}
	return queries
}

// uniform returns a number of variance 1; unlike a normal one it is quickly made.
func uniform(r *rand.Rand) float32 { return (r.Float32() - 0.5) * 3.4641016 }
