// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package sample

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// ErrLogits is wrapped by the errors of Sample for logits no token can be drawn from.
var ErrLogits = errors.New("bad logits")

// Sampler draws tokens. It keeps its random state and its workspace, so it is for one sequence and not safe for concurrent use.
type Sampler struct {
	params Params
	rng    *rand.Rand
	kept   []candidate
	weight []float64
}

// candidate is a token that may be drawn.
type candidate struct {
	logit float32
	id    int32
}

// before orders candidates by logit, largest first, and by id among equals.
func (c candidate) before(d candidate) bool {
	return c.logit > d.logit || c.logit == d.logit && c.id < d.id
}

// New returns a sampler; its error is a *ParamError.
func New(p Params) (*Sampler, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	const stream = 0x67726170686b76 // any constant: the second half of PCG's seed
	return &Sampler{params: p, rng: rand.New(rand.NewPCG(p.Seed, stream))}, nil
}

// Sample draws a token id from logits [vocabulary]. A logit of −Inf excludes its token. The error wraps ErrLogits if there are no
// logits, one is NaN or +Inf, or all are −Inf. Sample allocates only to grow its workspace to the size of the vocabulary, and nothing at
// all when greedy.
func (s *Sampler) Sample(logits []float32) (int32, error) {
	best, err := argmax(logits)
	if err != nil {
		return 0, err
	}
	if s.params.Temperature == 0 {
		return int32(best), nil
	}
	total := s.distribution(logits, logits[best])
	u := s.rng.Float64() * total
	last := 0
	for i, w := range s.weight {
		if w == 0 {
			continue
		}
		if u < w {
			return s.kept[i].id, nil
		}
		u -= w
		last = i // rounding may leave a rest behind the last weight
	}
	return s.kept[last].id, nil
}

// argmax returns the index of the largest logit, the lowest among equals.
func argmax(logits []float32) (int, error) {
	best := 0
	for i, x := range logits {
		if x != x {
			return 0, fmt.Errorf("sample: logit of token %d is NaN: %w", i, ErrLogits)
		}
		if x > logits[best] {
			best = i
		}
	}
	switch {
	case len(logits) == 0:
		return 0, fmt.Errorf("sample: no logits: %w", ErrLogits)
	case math.IsInf(float64(logits[best]), -1):
		return 0, fmt.Errorf("sample: all %d logits are -Inf: %w", len(logits), ErrLogits)
	case math.IsInf(float64(logits[best]), 1):
		return 0, fmt.Errorf("sample: logit of token %d is +Inf: %w", best, ErrLogits)
	}
	return best, nil
}

// distribution leaves the tokens that pass the filters in s.kept and their weights, probabilities times the returned sum, in s.weight.
func (s *Sampler) distribution(logits []float32, largest float32) float64 {
	s.topK(logits)
	s.topP(largest)
	s.minP(largest)
	s.weight = s.weight[:0]
	total := 0.0
	for _, c := range s.kept {
		w := math.Exp((float64(c.logit) - float64(largest)) / s.params.Temperature)
		s.weight = append(s.weight, w)
		total += w
	}
	return total
}

// topK fills s.kept with the k first candidates, in no particular order.
func (s *Sampler) topK(logits []float32) {
	if cap(s.kept) < len(logits) {
		s.kept = make([]candidate, 0, len(logits))
		s.weight = make([]float64, 0, len(logits))
	}
	k := s.params.TopK
	if k == 0 || k > len(logits) {
		k = len(logits)
	}
	kept := s.kept[:0]
	for i, x := range logits[:k] {
		kept = append(kept, candidate{x, int32(i)})
	}
	if k < len(logits) {
		// The heap's root is the last of the candidates; later ids never displace an equal logit.
		heapify(kept, after)
		for i := k; i < len(logits); i++ {
			if logits[i] > kept[0].logit {
				kept[0] = candidate{logits[i], int32(i)}
				siftDown(kept, 0, after)
			}
		}
	}
	s.kept = kept
}

// topP keeps the candidates of the nucleus (Holtzman et al. 2020).
func (s *Sampler) topP(largest float32) {
	p := s.params.TopP
	if p == 0 || p == 1 {
		return
	}
	total := 0.0
	weight := s.weight[:0]
	for _, c := range s.kept {
		w := math.Exp(float64(c.logit) - float64(largest))
		weight = append(weight, w)
		total += w
	}
	// Tokens below (1−p)/n together hold less than 1−p, so the nucleus is complete before the first of them, and they need no sorting.
	// Half of that leaves room for rounding.
	least := total * (1 - p) / float64(2*len(s.kept))
	kept := s.kept[:0]
	for i, c := range s.kept {
		if weight[i] >= least {
			kept = append(kept, c)
		}
	}
	// Take from a heap, first candidates first, until the sum is reached. What is taken gathers, in turn, behind the heap's end.
	heapify(kept, candidate.before)
	sum, rest := 0.0, len(kept)
	for rest > 0 && sum < p*total {
		rest--
		kept[0], kept[rest] = kept[rest], kept[0]
		siftDown(kept[:rest], 0, candidate.before)
		sum += math.Exp(float64(kept[rest].logit) - float64(largest))
	}
	s.kept = kept[:copy(kept, kept[rest:])]
}

// minP keeps the candidates that are probable enough compared with the first.
func (s *Sampler) minP(largest float32) {
	if s.params.MinP == 0 {
		return
	}
	least := float64(largest) + math.Log(s.params.MinP)
	kept := s.kept[:0]
	for _, c := range s.kept {
		if float64(c.logit) >= least {
			kept = append(kept, c)
		}
	}
	s.kept = kept
}

func after(c, d candidate) bool { return d.before(c) }

// heapify orders h so that nothing below it comes before its root.
func heapify(h []candidate, before func(c, d candidate) bool) {
	for i := len(h)/2 - 1; i >= 0; i-- {
		siftDown(h, i, before)
	}
}

func siftDown(h []candidate, i int, before func(c, d candidate) bool) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && before(h[c+1], h[c]) {
			c++
		}
		if !before(h[c], h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
