// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// OrderOptions say how the order of segments is varied.
type OrderOptions struct {
	Permutations int // to run, the given order included; all of them if there are no more. 0: 8
	Seed         uint64
}

// OrderSensitivity says how much an answer depends on the order in which a request
// lists its segments. All its numbers are 0, or 1 for agreements, where order has no
// effect.
type OrderSensitivity struct {
	Permutations int `json:"permutations"` // that were run
	// LogitVariance is the variance over permutations of the logits at the query's last
	// token, averaged over the vocabulary, and MaxDifference the most that any of them
	// changes.
	LogitVariance float64 `json:"logit_variance"`
	MaxDifference float64 `json:"max_difference"`
	// Divergence is the mean Kullback–Leibler divergence, in nats, of the permutations'
	// distributions of the first token from the mean of these: their Jensen–Shannon
	// divergence.
	Divergence float64 `json:"divergence"`
	// TopAgreement is the share of permutations whose likeliest first token is the most
	// frequent one, and AnswerAgreement that of the most frequent greedy answer.
	TopAgreement    float64 `json:"top_agreement"`
	AnswerAgreement float64 `json:"answer_agreement,omitempty"`
	// Answers are the distinct greedy answers, the most frequent first; none when the
	// request asks for none.
	Answers []OrderedAnswer `json:"answers,omitempty"`
}

// OrderedAnswer is an answer that some orders of segments lead to.
type OrderedAnswer struct {
	Text  string   `json:"text"`
	Count int      `json:"count"` // of permutations
	Order []string `json:"order"` // the ids of the first of them

	tokens []int32
}

// maxPermutations bounds what one call may run.
const maxPermutations = 10_000

// OrderSensitivity answers a request with its segments in different orders: the given
// one and random others, which depend on nothing but the seed. Edges and the centre
// name segments, so they stay what they are; so do a [RelevanceBias] and a [FuncBias],
// which go by the places in the given order. Answers are greedy, whatever the request's
// temperature.
//
// It costs an answer per permutation. What segments have in common in different orders
// comes from the cache.
func (e *Engine) OrderSensitivity(ctx context.Context, r *Request, o OrderOptions) (*OrderSensitivity, error) {
	switch {
	case r == nil:
		return nil, errNilRequest
	case o.Permutations < 0 || o.Permutations > maxPermutations:
		return nil, fmt.Errorf("graphkv: %d permutations, want at most %d", o.Permutations, maxPermutations)
	case o.Permutations == 0:
		o.Permutations = 8
	}
	out := new(OrderSensitivity)
	var logits logitSpread
	q := *r
	q.Temperature = 0
	for _, order := range permutations(len(r.Segments), o.Permutations, o.Seed) {
		q.Segments = nil
		for _, i := range order {
			q.Segments = append(q.Segments, r.Segments[i])
		}
		q.Biases = r.Biases.reordered(order, len(order))
		p, err := e.Compile(&q)
		if err != nil {
			return nil, err
		}
		result, err := e.Generate(ctx, p, WithLogits())
		if err != nil {
			return nil, err
		}
		logits.add(result.Logits)
		if r.MaxTokens != NoTokens {
			out.count(result, q.Segments)
		}
		out.Permutations++
	}
	logits.report(out)
	slices.SortStableFunc(out.Answers, func(a, b OrderedAnswer) int { return cmp.Compare(b.Count, a.Count) })
	if len(out.Answers) > 0 {
		out.AnswerAgreement = float64(out.Answers[0].Count) / float64(out.Permutations)
	}
	return out, nil
}

// count counts an answer.
func (s *OrderSensitivity) count(r *Result, segments []Segment) {
	i := slices.IndexFunc(s.Answers, func(a OrderedAnswer) bool { return slices.Equal(a.tokens, r.Tokens) })
	if i < 0 {
		a := OrderedAnswer{Text: r.Text, Order: []string{}, tokens: r.Tokens}
		for _, x := range segments {
			a.Order = append(a.Order, x.ID)
		}
		i, s.Answers = len(s.Answers), append(s.Answers, a)
	}
	s.Answers[i].Count++
}

// permutations returns up to limit different orders of n things, the given one first:
// all of them if there are no more, otherwise random ones.
func permutations(n, limit int, seed uint64) [][]int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	count := 1 // of all, as far as it matters
	for i := 2; i <= n && count <= limit; i++ {
		count *= i
	}
	out := [][]int{slices.Clone(order)}
	if count <= limit {
		for next(order) {
			out = append(out, slices.Clone(order))
		}
		return out
	}
	random := rand.New(rand.NewPCG(seed, 0))
	key := func() string {
		var b []byte
		for _, i := range order {
			b = binary.AppendUvarint(b, uint64(i))
		}
		return string(b)
	}
	seen := map[string]bool{key(): true}
	for len(out) < limit {
		random.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
		if k := key(); !seen[k] {
			seen[k] = true
			out = append(out, slices.Clone(order))
		}
	}
	return out
}

// next makes a permutation the next one in lexicographic order. After the last it
// returns false.
func next(p []int) bool {
	i := len(p) - 2
	for i >= 0 && p[i] > p[i+1] {
		i--
	}
	if i < 0 {
		return false
	}
	j := len(p) - 1
	for p[j] < p[i] {
		j--
	}
	p[i], p[j] = p[j], p[i]
	slices.Reverse(p[i+1:])
	return true
}

// logitSpread gathers how far logits are apart, without keeping them.
type logitSpread struct {
	n            int
	mean, square []float64 // per token: running mean, and squares of what differs from it (Welford, 1962)
	low, high    []float32
	probability  []float64 // per token, summed
	entropy      float64   // of the distributions, summed
	top          map[int]int
}

func (s *logitSpread) add(logits []float32) {
	if s.n == 0 {
		s.mean, s.square, s.probability = make([]float64, len(logits)), make([]float64, len(logits)), make([]float64, len(logits))
		s.low, s.high, s.top = slices.Clone(logits), slices.Clone(logits), map[int]int{}
	}
	s.n++
	top, sum := 0, 0.0
	for i, x := range logits {
		if x > logits[top] {
			top = i
		}
		d := float64(x) - s.mean[i]
		s.mean[i] += d / float64(s.n)
		s.square[i] += d * (float64(x) - s.mean[i])
		s.low[i], s.high[i] = min(s.low[i], x), max(s.high[i], x)
	}
	s.top[top]++
	for _, x := range logits {
		sum += math.Exp(float64(x) - float64(logits[top]))
	}
	lse := float64(logits[top]) + math.Log(sum)
	for i, x := range logits {
		p := math.Exp(float64(x) - lse)
		s.probability[i] += p
		s.entropy += p * (lse - float64(x))
	}
}

// report writes what was gathered. The mean divergence from the mean distribution is
// the entropy of the mean less the mean of the entropies.
func (s *logitSpread) report(out *OrderSensitivity) {
	n := float64(s.n)
	entropy := 0.0
	for i, p := range s.probability {
		if p /= n; p > 0 {
			entropy -= p * math.Log(p)
		}
		out.LogitVariance += s.square[i] / n / float64(len(s.square))
		out.MaxDifference = max(out.MaxDifference, float64(s.high[i])-float64(s.low[i]))
	}
	most := 0
	for _, c := range s.top {
		most = max(most, c)
	}
	out.TopAgreement = float64(most) / n
	if out.MaxDifference > 0 { // otherwise all that is left is rounding
		out.Divergence = max(0, entropy-s.entropy/n)
	}
}
