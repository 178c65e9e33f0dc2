// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// EdgeBias adds to dst, which has a number per head, what an edge adds to the scores of its reader's queries against its
// source's keys. Any function of the two nodes is one; −Inf hides the source from a head. What [Score.Check] refuses is
// refused by WithBias. Biases combine by addition.
//
// Those that this package makes are about segments: a segment has the same bias in every round, and edges of the prefix and
// the query are left neutral, except by Relevance. They keep memory between edges, so each may be used by one goroutine at
// a time.
type EdgeBias func(dst []float64, reader, source Node) error

// WithBias returns the layout with the sum of the biases added to every edge's own. What else the edges' scores say stays.
// An error names the edge.
func (l *Layout) WithBias(heads int, biases ...EdgeBias) (*Layout, error) {
	if heads < 1 {
		return nil, fmt.Errorf("posenc: biases for %d heads, want at least 1", heads)
	}
	if own := l.Heads(); own != 0 && own != heads {
		return nil, fmt.Errorf("posenc: biases for %d heads, the layout's own are for %d", heads, own)
	}
	sum, bias := make([]float64, heads), make([]float32, heads)
	return l.WithScores(func(reader int, s Seen) (Score, error) {
		score := l.Score(s)
		clear(sum)
		for h, b := range score.Bias {
			sum[h] = float64(b)
		}
		for _, add := range biases {
			if err := add(sum, l.nodes[reader], l.nodes[s.Node]); err != nil {
				return Score{}, err
			}
		}
		for h, b := range sum {
			bias[h] = float32(b)
		}
		score.Bias = bias
		return score, nil
	})
}

// between makes a bias of the edges between segments.
func between(heads int, add func(dst []float64, reader, source int) error) EdgeBias {
	return func(dst []float64, reader, source Node) error {
		if reader.Kind != SegmentNode || source.Kind != SegmentNode {
			return nil
		}
		if err := checkHeads(heads, dst); err != nil {
			return err
		}
		return add(dst, reader.Segment, source.Segment)
	}
}

func checkHeads(heads int, dst []float64) error {
	if heads != len(dst) {
		return fmt.Errorf("bias for %d heads, want %d", heads, len(dst))
	}
	return nil
}

// Distance says how far segment source is from segment reader, as indices; a negative number says that it cannot be reached.
type Distance func(reader, source int) int

// IndexDistance is the distance of segments in their order.
func IndexDistance(reader, source int) int { return max(reader-source, source-reader) }

// ALiBiSlopes returns the slopes of Press et al. (2022): for a power of two n, head h = 1…n has 2^(−8h/n). For any other
// number of heads the slopes are those of the next lower power of two, followed by every second one of the next higher.
func ALiBiSlopes(heads int) []float64 {
	slopes := make([]float64, 0, max(heads, 0))
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	for h := 1; h <= n && len(slopes) < heads; h++ {
		slopes = append(slopes, math.Exp2(-8*float64(h)/float64(n)))
	}
	for h := 1; len(slopes) < heads; h += 2 {
		slopes = append(slopes, math.Exp2(-8*float64(h)/float64(2*n)))
	}
	return slopes
}

// ALiBi takes slope·distance off the scores of a head, with ALiBiSlopes: Attention with Linear Biases between segments
// instead of tokens. A segment that cannot be reached is infinitely far, which hides it.
func ALiBi(heads int, d Distance) EdgeBias {
	slopes := ALiBiSlopes(heads)
	return between(heads, func(dst []float64, reader, source int) error {
		distance := float64(d(reader, source))
		if distance < 0 {
			distance = math.Inf(1)
		}
		if distance > 0 {
			for h, slope := range slopes {
				dst[h] -= slope * distance
			}
		}
		return nil
	})
}

// DistanceBias looks the bias of an edge up by its distance: the spatial encoding b_φ(i,j) of Graphormer (Ying et al., 2021)
// when the distance is that of ShortestPaths. Row d of the table holds the learned numbers of distance d, one per head.
// unreachable is for segments that cannot be reached or that are farther than the table goes; nil stands for no bias.
func DistanceBias(d Distance, table mat.Matrix, unreachable []float64) (EdgeBias, error) {
	distances, heads := table.Dims()
	rows := make([][]float64, distances, distances+1)
	for i := range rows {
		rows[i] = mat.Row(nil, i, table)
	}
	if unreachable == nil {
		unreachable = make([]float64, heads)
	}
	if len(unreachable) != heads {
		return nil, fmt.Errorf("posenc: the bias of unreachable segments is for %d heads, the table for %d", len(unreachable), heads)
	}
	rows = append(rows, unreachable)
	for i, row := range rows {
		name := fmt.Sprintf("distance %d", i)
		if i == distances {
			name = "unreachable segments"
		}
		if err := checkBias(name, row); err != nil {
			return nil, err
		}
	}
	return between(heads, func(dst []float64, reader, source int) error {
		at := d(reader, source)
		if at < 0 || at > distances {
			at = distances
		}
		for h, b := range rows[at] {
			dst[h] += b
		}
		return nil
	}), nil
}

// checkBias refuses numbers that are no bias, whether any edge uses them or not.
func checkBias(name string, bias []float64) error {
	for h, b := range bias {
		if math.IsNaN(b) || math.IsInf(b, 1) {
			return fmt.Errorf("posenc: %s: bias of head %d is %v, must be finite or -Inf", name, h, b)
		}
	}
	return nil
}

// Relations gives every edge the bias of its relation, one number per head, as relation-aware attention does (Shaw et al.,
// 2018, with a scalar in the place of the key's vector). of returns the relation of a source to its reader, false where
// there is none, which is neutral. A relation that is not in the table is an error that names it.
func Relations[R comparable](of func(reader, source int) (R, bool), table map[R][]float64) (EdgeBias, error) {
	heads := -1
	for relation, bias := range table {
		if err := checkBias(fmt.Sprintf("relation %v", relation), bias); err != nil {
			return nil, err
		}
		if heads >= 0 && heads != len(bias) {
			return nil, fmt.Errorf("posenc: relation %v has a bias for %d heads, others are for %d", relation, len(bias), heads)
		}
		heads = len(bias)
	}
	return func(dst []float64, reader, source Node) error {
		if reader.Kind != SegmentNode || source.Kind != SegmentNode {
			return nil
		}
		relation, ok := of(reader.Segment, source.Segment)
		if !ok {
			return nil
		}
		bias, ok := table[relation]
		if !ok {
			return fmt.Errorf("unknown relation %v", relation)
		}
		if err := checkHeads(heads, dst); err != nil {
			return err
		}
		for h, b := range bias {
			dst[h] += b
		}
		return nil
	}, nil
}

// Relevance adds weight·score to the query's edges: scores holds a number per segment, such as the logarithm of what a
// retriever thinks of it, weights one per head. All other edges are neutral.
func Relevance(scores, weights []float64) (EdgeBias, error) {
	for s, x := range scores {
		if math.IsNaN(x) || math.IsInf(x, 1) {
			return nil, fmt.Errorf("posenc: the relevance of segment %d is %v, must be finite or -Inf", s, x)
		}
	}
	for h, w := range weights {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("posenc: the weight of head %d is %v, must be finite", h, w)
		}
	}
	return func(dst []float64, reader, source Node) error {
		if reader.Kind != QueryNode || source.Kind != SegmentNode {
			return nil
		}
		if err := checkHeads(len(weights), dst); err != nil {
			return err
		}
		if source.Segment >= len(scores) {
			return fmt.Errorf("no relevance for segment %d, there are %d", source.Segment, len(scores))
		}
		for h, w := range weights {
			if w != 0 {
				dst[h] += w * scores[source.Segment]
			}
		}
		return nil
	}, nil
}
