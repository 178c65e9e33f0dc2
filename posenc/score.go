// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Score says how sharply and how loudly a source speaks to a reader. Where the plain score of a query against a key of the
// source is s = q·k/√d, the edge makes it Scale·s + Bias[head].
//
// With a Power p, the reader's sources of that power are one group whose softmax is taken by itself, and which then weighs
// exp(p·lse) instead of exp(lse) against what else the reader sees, lse being the log-sum-exp of the group's scores. With
// p = 1 that is the plain softmax. The scaling factor of Adaptive Parallel Encoding (Yang et al., 2025) is a power.
//
// The zero Score changes nothing.
type Score struct {
	Scale float32   // 0 stands for 1; the inverse of a temperature
	Bias  []float32 // [heads]; nil for none; −Inf hides the source from a head
	Power float32   // 0 stands for 1; otherwise above 0
}

// Bounds of a Score. Attention is computed in float32: it raises e to differences of scores, which are wrong by e^(1/100) where
// scores are near 10⁵, and no numbers any more where they are near 10¹⁰.
const (
	MaxScale = 1e3 // of the sizes of Scale and Power
	MaxBias  = 1e5 // of the size of a Bias that is not −Inf
)

// Neutral reports whether s changes nothing.
func (s Score) Neutral() bool {
	for _, b := range s.Bias {
		if b != 0 {
			return false
		}
	}
	return (s.Scale == 0 || s.Scale == 1) && (s.Power == 0 || s.Power == 1)
}

// Check says which number of s cannot be used.
func (s Score) Check() error {
	if !(s.Scale >= -MaxScale && s.Scale <= MaxScale) {
		return fmt.Errorf("scale is %v, must be from %g to %g", s.Scale, -MaxScale, MaxScale)
	}
	if !(s.Power >= 0 && s.Power <= MaxScale) {
		return fmt.Errorf("power is %v, must be above 0 and at most %g", s.Power, MaxScale)
	}
	for h, b := range s.Bias {
		if !(b >= -MaxBias && b <= MaxBias) && !math.IsInf(float64(b), -1) {
			return fmt.Errorf("bias of head %d is %v, must be from %g to %g, or -Inf", h, b, -MaxBias, MaxBias)
		}
	}
	return nil
}

// scores are the distinct scores of a layout's edges; number 0 is the neutral one.
type scores struct {
	table []Score
	heads int // of all biases; 0 while there is none
}

// at returns score number i.
func (t *scores) at(i int32) Score {
	if i == 0 {
		return Score{}
	}
	return t.table[i-1]
}

// interner gives equal scores one number.
type interner struct {
	scores
	numbers map[string]int32
	key     []byte
}

// add returns the number of s, of which it keeps a copy.
func (t *interner) add(s Score) (int32, error) {
	if err := s.Check(); err != nil {
		return 0, err
	}
	if s.Bias != nil {
		if t.heads != 0 && len(s.Bias) != t.heads {
			return 0, fmt.Errorf("bias for %d heads, others are for %d", len(s.Bias), t.heads)
		}
		t.heads = len(s.Bias)
	}
	if s.Neutral() {
		return 0, nil
	}
	if s.Scale == 0 {
		s.Scale = 1
	}
	if s.Power == 0 {
		s.Power = 1
	}
	t.key = binary.LittleEndian.AppendUint32(t.key[:0], math.Float32bits(s.Scale))
	t.key = binary.LittleEndian.AppendUint32(t.key, math.Float32bits(s.Power))
	for _, b := range s.Bias {
		t.key = binary.LittleEndian.AppendUint32(t.key, math.Float32bits(b+0)) // −0 is 0
	}
	if i, ok := t.numbers[string(t.key)]; ok {
		return i, nil
	}
	if t.numbers == nil {
		t.numbers = map[string]int32{}
	}
	s.Bias = append([]float32(nil), s.Bias...)
	t.table = append(t.table, s)
	i := int32(len(t.table))
	t.numbers[string(t.key)] = i
	return i, nil
}

// Score returns how an edge of the layout changes scores. Its Bias must not be changed.
func (l *Layout) Score(s Seen) Score { return l.scores.at(s.Score) }

// Heads returns the number of heads that the layout's biases are for, 0 if it has none.
func (l *Layout) Heads() int { return l.scores.heads }

// WithScores returns the layout with every edge's score replaced by what f returns for the reader's index and the source as
// the reader sees it. Any function of an edge is a structural bias. Biases must all be for the same number of heads; f may
// reuse their memory. An error names the edge.
func (l *Layout) WithScores(f func(reader int, s Seen) (Score, error)) (*Layout, error) {
	out := *l
	out.seen = make([]Seen, len(l.seen))
	var t interner
	for i := range l.nodes {
		for at := l.rowPtr[i]; at < l.rowPtr[i+1]; at++ {
			s := l.seen[at]
			score, err := f(i, s)
			if err == nil {
				s.Score, err = t.add(score)
			}
			if err != nil {
				return nil, fmt.Errorf("posenc: node %d (%s): source %d (%s): %w", i, l.nodes[i], s.Node, l.nodes[s.Node], err)
			}
			out.seen[at] = s
		}
	}
	out.scores = t.scores
	return &out, nil
}
