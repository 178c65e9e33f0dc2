// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// resamples is the number of bootstrap resamples.
const resamples = 10000

// Interval is a mean over items with its 95 % interval.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// bootstrap returns the mean of every column and the 2.5 and 97.5 percentiles of its
// mean over resamples of the rows, drawn with replacement (Efron, 1979). Columns are of
// equal length and share the resamples, so that a column of differences is a paired
// comparison. There is at least one row.
func bootstrap(columns [][]float64, seed uint64) []Interval {
	out := make([]Interval, len(columns))
	n := len(columns[0])
	// Row by row, so that a drawn row is one read.
	k := len(columns)
	rows := make([]float64, n*k)
	for j, c := range columns {
		for i, x := range c {
			rows[i*k+j] = x
		}
	}
	means := make([][]float64, k)
	for j := range means {
		means[j] = make([]float64, resamples)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	sum := make([]float64, k)
	for b := range resamples {
		clear(sum)
		for range n {
			i := r.IntN(n)
			for j, x := range rows[i*k : (i+1)*k] {
				sum[j] += x
			}
		}
		for j, s := range sum {
			means[j][b] = s / float64(n)
		}
	}
	for j := range out {
		slices.Sort(means[j])
		out[j] = Interval{
			Mean: stat.Mean(columns[j], nil),
			Low:  quantile(means[j], 0.025),
			High: quantile(means[j], 0.975),
		}
	}
	return out
}

// Sensitivity says how much the order of the documents matters.
type Sensitivity struct {
	Changed   float64 `json:"changed"`   // share of items whose answer is not the same in all orders
	Agreement float64 `json:"agreement"` // mean share of pairs of orders with the same answer
	Variance  float64 `json:"variance"`  // mean variance of an item's score over its orders
}

// sensitivity compares the answers of every item, one per order, and their scores.
func sensitivity[A comparable](answers [][]A, scores [][]float64) Sensitivity {
	var s Sensitivity
	for i, list := range answers {
		pairs, same := 0, 0
		for a := range list {
			for b := range a {
				pairs++
				if list[a] == list[b] {
					same++
				}
			}
		}
		if same < pairs {
			s.Changed++
		}
		if pairs > 0 {
			s.Agreement += float64(same) / float64(pairs)
		} else {
			s.Agreement++
		}
		s.Variance += stat.PopVariance(scores[i], nil)
	}
	n := float64(len(answers))
	return Sensitivity{s.Changed / n, s.Agreement / n, s.Variance / n}
}

// Latency is the distribution of times to the first token.
type Latency struct {
	Median  float64 `json:"median_ms"`
	P90     float64 `json:"p90_ms"`
	Encoded float64 `json:"encoded"` // tokens, mean
	Reused  float64 `json:"reused"`
}

func latency(moments []Moment) Latency {
	var l Latency
	ms := make([]float64, len(moments))
	for i, m := range moments {
		ms[i] = m.Milliseconds
		l.Encoded += float64(m.Encoded) / float64(len(moments))
		l.Reused += float64(m.Reused) / float64(len(moments))
	}
	slices.Sort(ms)
	l.Median, l.P90 = quantile(ms, 0.5), quantile(ms, 0.9)
	return l
}

// quantile interpolates between the two nearest of sorted values (Hyndman and Fan's
// type 7, in which the median of three is the second).
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
