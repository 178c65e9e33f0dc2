// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"fmt"
	"math"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// scores are what a layout's edges add to the scores of their tokens, per head.
type scores struct {
	heads int // 1 where nothing is added
	mask  *mask.Mask
	place float32 // what stands where a source is hidden from a head
}

// lowered returns the layout that a mask was lowered from, or nil if b was read from a file.
func lowered(b Blocks) (*mask.Mask, *posenc.Layout) {
	if m, ok := b.(*mask.Mask); ok {
		return m, m.Layout()
	}
	return nil, nil
}

// scoresOf returns what edges add. What they do beyond that is an error: it cannot be said by an addend.
func scoresOf(b Blocks, hidden float32, name func(node int) string) (*scores, error) {
	m, l := lowered(b)
	s := &scores{heads: 1, place: hidden}
	if l == nil {
		return s, nil
	}
	err := eachScore(l, func(reader int, seen posenc.Seen, score posenc.Score) error {
		if score.Scale != 0 && score.Scale != 1 || score.Power != 0 && score.Power != 1 {
			return fmt.Errorf("exchange: %s sees %s with scale %v and power %v, which no additive mask can say",
				name(reader), name(int(seen.Node)), score.Scale, score.Power)
		}
		return nil
	})
	if l.Heads() > 0 {
		s.heads, s.mask = l.Heads(), m
	}
	return s, err
}

// noScores refuses a layout whose edges change scores.
func noScores(l *posenc.Layout, what string, name func(node int) string) error {
	return eachScore(l, func(reader int, seen posenc.Seen, _ posenc.Score) error {
		return fmt.Errorf("exchange: %s sees %s with a scale, bias or power of its own, which %s cannot say", name(reader), name(int(seen.Node)), what)
	})
}

// eachScore calls f with every edge whose score is not neutral.
func eachScore(l *posenc.Layout, f func(reader int, seen posenc.Seen, score posenc.Score) error) error {
	for i := range l.Len() {
		for _, seen := range l.Sees(i) {
			if score := l.Score(seen); !score.Neutral() {
				if err := f(i, seen, score); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add adds to row q of head h.
func (s *scores) add(row []float32, h, q int) {
	if s.mask == nil {
		return
	}
	l := s.mask.Layout()
	for _, seen := range l.Sees(s.mask.Node(q)) {
		bias := l.Score(seen).Bias
		if bias == nil || bias[h] == 0 {
			continue
		}
		x := bias[h]
		if math.IsInf(float64(x), -1) {
			x = s.place
		}
		for k, end := s.mask.Span(int(seen.Node)); k < end; k++ {
			row[k] = x
		}
	}
}
