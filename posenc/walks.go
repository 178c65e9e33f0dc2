// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/graphkv/graphkv/graph"
)

// MaxSteps is the largest number of steps of RandomWalks.
const MaxSteps = 64

// RandomWalks are the relative random walk probabilities of GRIT (Ma et al., 2023): for every pair of segments the vector
//
//	P[reader, source] = [I, M, M², …, M^(K−1)][reader, source],  M = D⁻¹·A
//
// where A[i, j] is 1 if i reads j and D is the diagonal of the numbers of sources: the probabilities that a walk from the
// reader, each of whose steps goes to a source with equal probability, is at the source after 0, 1, …, K−1 steps. A segment
// without sources has a row of zeros in M. For walks on the undirected graph, as in the paper, pass
// [graph.Graph.Symmetric].
//
// No power is ever held dense. Rows are walked forward from one reader at a time for the first half of the steps, and for
// the second half the row of the last power met meets the columns of small powers, which are computed once:
// M^(a+b)[i, j] = Σ_l M^a[i, l]·M^b[l, j]. On a graph of degree d, K steps thus cost d^(K/2) for a pair, not d^K. A
// RandomWalks is immutable and safe for concurrent use.
type RandomWalks struct {
	g       *graph.Graph
	inverse []float64 // 1/number of sources; 0 for a segment without
	steps   int
	// columns[b−1] holds the columns of M^b. What remains of the steps is walked forward.
	columns []columns
	forward int
}

// columns is a sparse matrix by columns.
type columns struct {
	start []int
	row   []uint32
	value []float64
}

// maxColumnEntries bounds the entries of all columns together (96 MiB). A graph that has more in the powers wanted gets
// fewer powers, and more steps forward.
const maxColumnEntries = 1 << 23

// NewRandomWalks prepares the probabilities of 0 to steps−1 steps.
func NewRandomWalks(g *graph.Graph, steps int) (*RandomWalks, error) {
	return newRandomWalks(g, steps, maxColumnEntries)
}

func newRandomWalks(g *graph.Graph, steps, limit int) (*RandomWalks, error) {
	if steps < 1 || steps > MaxSteps {
		return nil, fmt.Errorf("posenc: random walks of %d steps, want 1 to %d", steps, MaxSteps)
	}
	w := &RandomWalks{g: g, steps: steps, inverse: make([]float64, g.Len())}
	for i := range w.inverse {
		if d := len(g.Sources(i)); d > 0 {
			w.inverse[i] = 1 / float64(d)
		}
	}
	last := w.identity()
	sums := newSparse(g.Len())
	for b := 1; b <= (steps-1)/2; b++ {
		next, ok := w.back(last, sums, limit)
		if !ok {
			break
		}
		limit -= len(next.row)
		w.columns = append(w.columns, next)
		last = next
	}
	w.forward = steps - 1 - len(w.columns)
	return w, nil
}

func (w *RandomWalks) identity() columns {
	n := w.g.Len()
	c := columns{start: make([]int, n+1), row: make([]uint32, n), value: make([]float64, n)}
	for i := range n {
		c.start[i+1], c.row[i], c.value[i] = i+1, uint32(i), 1
	}
	return c
}

// back returns M·c, or false if it has more than limit entries.
func (w *RandomWalks) back(c columns, sums *sparse, limit int) (columns, bool) {
	n := w.g.Len()
	out := columns{start: make([]int, 1, n+1)}
	for j := range n {
		for at := c.start[j]; at < c.start[j+1]; at++ {
			for _, reader := range w.g.Targets(int(c.row[at])) {
				sums.add(reader, w.inverse[reader]*c.value[at])
			}
		}
		if len(out.row)+len(sums.met) > limit {
			return columns{}, false
		}
		for _, i := range sums.met {
			out.row, out.value = append(out.row, i), append(out.value, sums.value[i])
		}
		sums.clear()
		out.start = append(out.start, len(out.row))
	}
	return out, true
}

// Steps returns K, the length of a pair's vector.
func (w *RandomWalks) Steps() int { return w.steps }

// Power returns M^k, 0 ≤ k < Steps, as a matrix that is computed as it is read: a row at a time, so it is quick to read row
// by row. Its At may be called by one goroutine at a time. It panics if there is no such power.
func (w *RandomWalks) Power(k int) mat.Matrix {
	if k < 0 || k >= w.steps {
		panic(fmt.Sprintf("posenc: power %d of %d", k, w.steps))
	}
	return power{w.walker(), k}
}

// sparse is a vector with the places where it is not zero. A vector that has many of them does without.
type sparse struct {
	value []float64
	met   []uint32
	dense bool // met is not kept
}

func newSparse(n int) *sparse { return &sparse{value: make([]float64, n)} }

// add adds x, at least 0, to a vector that is not dense.
func (s *sparse) add(i uint32, x float64) {
	if x == 0 { // it underflowed
		return
	}
	if s.value[i] == 0 {
		s.met = append(s.met, i)
	}
	s.value[i] += x
}

func (s *sparse) clear() {
	if s.dense {
		clear(s.value)
	}
	for _, i := range s.met {
		s.value[i] = 0
	}
	s.met, s.dense = s.met[:0], false
}

// walker holds the rows of one reader.
type walker struct {
	*RandomWalks
	reader int
	rows   []*sparse // of M⁰ … M^forward
	shares []float64 // what every segment passes on to each of its sources
}

func (w *RandomWalks) walker() *walker {
	k := &walker{RandomWalks: w, reader: -1, rows: make([]*sparse, w.forward+1), shares: make([]float64, w.g.Len())}
	for i := range k.rows {
		k.rows[i] = newSparse(w.g.Len())
	}
	return k
}

// manyMet is the part of the segments from which on a step is quicker for all of them than for those met: it takes a
// fraction of the time per edge.
const manyMet = 1. / 8

// walk computes the rows of a reader.
func (w *walker) walk(reader int) {
	if reader == w.reader {
		return
	}
	for _, r := range w.rows {
		r.clear()
	}
	w.reader = reader
	w.rows[0].add(uint32(reader), 1)
	for k, next := range w.rows[1:] {
		from := w.rows[k]
		if from.dense || float64(len(from.met)) > manyMet*float64(len(from.value)) {
			next.dense = true
			w.stepAll(next.value, from.value)
			continue
		}
		for _, i := range from.met {
			share := from.value[i] * w.inverse[i]
			for _, s := range w.g.Sources(int(i)) {
				next.add(s, share)
			}
		}
	}
}

// stepAll makes one step from everywhere: every segment collects from those that read it.
func (w *walker) stepAll(next, from []float64) {
	for i, p := range from {
		w.shares[i] = p * w.inverse[i]
	}
	for s := range next {
		sum := 0.0
		for _, reader := range w.g.Targets(s) {
			sum += w.shares[reader]
		}
		next[s] = sum
	}
}

// at returns M^k[reader, source].
func (w *walker) at(reader, source, k int) float64 {
	w.walk(reader)
	if k <= w.forward {
		return w.rows[k].value[source]
	}
	c, row := &w.columns[k-w.forward-1], w.rows[w.forward].value
	sum := 0.0
	for at := c.start[source]; at < c.start[source+1]; at++ {
		sum += row[c.row[at]] * c.value[at]
	}
	return sum
}

// power is M^k as a matrix.
type power struct {
	w *walker
	k int
}

func (p power) Dims() (r, c int) { return p.w.g.Len(), p.w.g.Len() }

func (p power) At(i, j int) float64 {
	n := p.w.g.Len()
	if uint(i) >= uint(n) {
		panic(mat.ErrRowAccess)
	}
	if uint(j) >= uint(n) {
		panic(mat.ErrColAccess)
	}
	return p.w.at(i, j, p.k)
}

func (p power) T() mat.Matrix { return mat.Transpose{Matrix: p} }

// RRWP maps the random walk probabilities of an edge to a bias: with the vector P of K probabilities it is
//
//	weights·P + log(1+d)·(degrees·P)
//
// where weights and degrees are [heads × K] and d is the number of the reader's sources. The second term is GRIT's degree
// scaler; nil degrees leave it out.
func RRWP(w *RandomWalks, weights, degrees mat.Matrix) (EdgeBias, error) {
	heads, steps := weights.Dims()
	if steps != w.steps {
		return nil, fmt.Errorf("posenc: the weights are for %d steps, the walks have %d", steps, w.steps)
	}
	if err := checkWeights("weight", weights); err != nil {
		return nil, err
	}
	if degrees != nil {
		if h, s := degrees.Dims(); h != heads || s != steps {
			return nil, fmt.Errorf("posenc: the weights of degrees are %d × %d, want %d × %d", h, s, heads, steps)
		}
		if err := checkWeights("weight of degrees", degrees); err != nil {
			return nil, err
		}
	}
	k := w.walker()
	p := mat.NewVecDense(steps, nil)
	bias, scaled := mat.NewVecDense(heads, nil), mat.NewVecDense(heads, nil)
	return between(heads, func(dst []float64, reader, source int) error {
		for _, s := range [...]int{reader, source} {
			if s >= w.g.Len() {
				return fmt.Errorf("segment %d is not in the graph of %d of the random walks", s, w.g.Len())
			}
		}
		for step := range steps {
			p.SetVec(step, k.at(reader, source, step))
		}
		bias.MulVec(weights, p)
		if degrees != nil {
			scaled.MulVec(degrees, p)
			bias.AddScaledVec(bias, math.Log1p(float64(len(w.g.Sources(reader)))), scaled)
		}
		for h := range dst {
			dst[h] += bias.AtVec(h)
		}
		return nil
	}), nil
}

func checkWeights(name string, m mat.Matrix) error {
	rows, cols := m.Dims()
	for h := range rows {
		for k := range cols {
			if x := m.At(h, k); math.IsNaN(x) || math.IsInf(x, 0) {
				return fmt.Errorf("posenc: %s of head %d and step %d is %v, must be finite", name, h, k, x)
			}
		}
	}
	return nil
}
