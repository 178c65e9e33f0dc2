// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Shape is the heads of an attention layer.
type Shape struct {
	Heads   int `json:"heads"`
	KVHeads int `json:"kv_heads"`
	HeadDim int `json:"head_dim"`
}

// Shapes of a model of 135 million and of one of eight billion weights.
var Shapes = map[string]Shape{
	"A": {Heads: 9, KVHeads: 3, HeadDim: 64},
	"B": {Heads: 32, KVHeads: 8, HeadDim: 128},
}

// Segment is a run of tokens. Its last Rows tokens are queries; each of them sees the
// tokens of the sources, and of its own segment those up to itself.
type Segment struct {
	Tokens  int   `json:"tokens"`
	Rows    int   `json:"rows"`
	Sources []int `json:"sources"` // segments before this one
}

// Layout is a batch of segments. A segment's first token stands at Start, whoever
// looks at it: right after the segment before it.
type Layout struct {
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	Segments []Segment `json:"segments"`
}

// Start returns the position of segment s's first token.
func (l *Layout) Start(s int) int {
	n := 0
	for _, x := range l.Segments[:s] {
		n += x.Tokens
	}
	return n
}

// Tokens returns the number of keys, Rows that of queries.
func (l *Layout) Tokens() int { return l.Start(len(l.Segments)) }

// Rows returns the number of queries.
func (l *Layout) Rows() int {
	n := 0
	for _, x := range l.Segments {
		n += x.Rows
	}
	return n
}

// Pairs returns how many (query, key) pairs are attended to.
func (l *Layout) Pairs() int64 {
	var n int64
	for _, s := range l.Segments {
		sees := s.Tokens - s.Rows // keys that every row sees
		for _, src := range s.Sources {
			sees += l.Segments[src].Tokens
		}
		rows := int64(s.Rows)
		n += rows*int64(sees) + rows*(rows+1)/2
	}
	return n
}

// FLOP returns the useful work: a multiplication and an addition for the score and
// again for the value, for each pair, head and dimension.
func (l *Layout) FLOP(s Shape) float64 {
	return 4 * float64(s.HeadDim) * float64(s.Heads) * float64(l.Pairs())
}

// alone is a segment that sees only itself.
func alone(tokens int) Segment { return Segment{Tokens: tokens, Rows: tokens, Sources: []int{}} }

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// Ego is a target that reads sources which are encoded alone.
func Ego(sources, tokens, target int) Layout {
	l := Layout{Title: fmt.Sprintf("ego, %d × %d, target %d", sources, tokens, target)}
	for range sources {
		l.Segments = append(l.Segments, alone(tokens))
	}
	l.Segments = append(l.Segments, Segment{Tokens: target, Rows: target, Sources: upTo(sources)})
	return l
}

// TwoRounds encodes every segment alone and then again over all of the first round.
func TwoRounds(segments, tokens int) Layout {
	l := Layout{Title: fmt.Sprintf("two rounds, %d × %d", segments, tokens)}
	for range segments {
		l.Segments = append(l.Segments, alone(tokens))
	}
	for range segments {
		l.Segments = append(l.Segments, Segment{Tokens: tokens, Rows: tokens, Sources: upTo(segments)})
	}
	return l
}

// Citations lets every segment read degree random earlier ones (all of them while
// there are fewer).
func Citations(segments, tokens, degree int) Layout {
	l := Layout{Title: fmt.Sprintf("citations, %d × %d, %d each", segments, tokens, degree)}
	rng := rand.New(rand.NewPCG(3, 14))
	for i := range segments {
		s := alone(tokens)
		for len(s.Sources) < min(i, degree) {
			if src := rng.IntN(i); !slices.Contains(s.Sources, src) {
				s.Sources = append(s.Sources, src)
			}
		}
		slices.Sort(s.Sources)
		l.Segments = append(l.Segments, s)
	}
	return l
}

// Causal is one text.
func Causal(tokens int) Layout {
	return Layout{Title: fmt.Sprintf("causal, %d", tokens), Segments: []Segment{alone(tokens)}}
}

// Decode is one new token after a text.
func Decode(keys int) Layout {
	return Layout{Title: fmt.Sprintf("decode over %d", keys), Segments: []Segment{{Tokens: keys, Rows: 1, Sources: []int{}}}}
}

// Layouts returns the five layouts that are compared, with lengths divided by scale.
// 1 is the size that counts; larger scales try the machinery out.
func Layouts(scale int) []Layout {
	n := func(tokens int) int { return max(1, tokens/scale) }
	ls := []Layout{
		Ego(8, n(256), n(512)),
		TwoRounds(10, n(200)),
		Citations(64, n(128), 4),
		Causal(n(4096)),
		Decode(n(4096)),
	}
	for i := range ls {
		ls[i].Name = fmt.Sprintf("L%d", i+1)
	}
	return ls
}
