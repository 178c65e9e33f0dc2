// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"math"
	"slices"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/mem"
	"github.com/graphkv/graphkv/kvcache"
)

// ranking finds where ranked sources stand in one layer, see [posenc.Seen]. It has no
// work where no run has two of them.
//
// What a source matters is a matter of queries and keys without positions. Keys are
// stored rotated, so a copy of a layer's ranked keys is turned back, which takes time
// in proportion to the keys; the attention that follows reads the stored ones.
type ranking struct {
	runs    []rankedRun // one per run of the pass
	offsets []int       // of all runs' ranked sources, in the order in which they are listed
	weights []float64   // of the sources of one run, [places][sources]
	order   []int       // of the sources of one place

	queries []attention.Query
	parts   []attention.Part
	lse     []float32 // [sources][rows][heads]

	known  map[rankedKeys]int // index in plain
	named  []rankedKeys       // the same in order
	plain  []attention.KV     // keys that are not rotated
	memory []byte             // of all of them
	tasks  []unrotateTask
	keys   []float32 // [workers][storeRows][KVHeads·HeadDim]
	model  *Model
	body   func(worker, task int)
}

// rankedRun says where a run's offsets are in ranking.offsets: count for each place at
// which its sources are laid out anew, of which there is one in all or one a row.
type rankedRun struct{ first, count int }

// rankedKeys names the keys of a source.
type rankedKeys struct {
	kv      *kvcache.KV
	from, n int
}

type unrotateTask struct {
	src, dst attention.KV
	at, n    int
}

// places returns how far after their common first position the run's ranked sources
// stand for a row; none if there are not two of them.
func (s *ranking) places(run, row int, whole bool) []int {
	r := s.runs[run]
	if !whole {
		r.first += row * r.count
	}
	return s.offsets[r.first:][:r.count]
}

// rank lays out the ranked sources of all runs in a layer whose queries are in ws.q.
func (m *Model) rank(ws *Workspace, layer int, runs []Run) error {
	s := &ws.ranking
	s.offsets, s.runs = s.offsets[:0], s.runs[:0]
	for i := range runs {
		count := 0
		if m.rows(&runs[i], layer) > 0 {
			count = runs[i].ranked()
		}
		if count < 2 {
			count = 0 // one source stands where they all start
		}
		s.runs = append(s.runs, rankedRun{count: count})
	}
	m.unrotate(s, layer, runs)
	defer clear(s.known) // the workspace must not keep the sources alive
	width, row := m.config.Heads*m.config.HeadDim, 0
	for i := range runs {
		rows := m.rows(&runs[i], layer)
		s.runs[i].first = len(s.offsets)
		if s.runs[i].count > 0 {
			if err := m.weigh(ws, &runs[i], ws.q[row*width:(row+rows)*width], rows); err != nil {
				return err
			}
		}
		row += rows
	}
	return nil
}

// unrotate turns back the keys of all sources that are to be weighed.
func (m *Model) unrotate(s *ranking, layer int, runs []Run) {
	if s.body == nil {
		s.body, s.known = s.block, map[rankedKeys]int{}
	}
	s.named, s.plain, s.tasks, s.model = s.named[:0], s.plain[:0], s.tasks[:0], m
	c, bytes := &m.config, 0
	for i := range runs {
		r := &runs[i]
		for j := range r.Sources {
			src := &r.Sources[j]
			if s.runs[i].count == 0 || !src.Ranked {
				continue
			}
			name := rankedKeys{src.KV, src.From, src.Tokens()}
			if _, ok := s.known[name]; !ok {
				s.known[name] = len(s.named)
				s.named = append(s.named, name)
				bytes += aligned(attention.KVSize(attention.F32, c.KVHeads, c.HeadDim, name.n))
			}
		}
	}
	if len(s.memory) < bytes {
		s.memory = mem.Bytes(bytes)
	}
	free := s.memory
	for _, name := range s.named {
		size := attention.KVSize(attention.F32, c.KVHeads, c.HeadDim, name.n)
		plain := attention.ViewKV(attention.F32, c.KVHeads, c.HeadDim, name.n, free[:size])
		free = free[aligned(size):]
		s.plain = append(s.plain, plain)
		stored := name.kv.Layer(layer).From(name.from)
		for at := 0; at < name.n; at += storeRows {
			s.tasks = append(s.tasks, unrotateTask{src: stored, dst: plain, at: at, n: min(storeRows, name.n-at)})
		}
	}
	if n := m.pool.Workers() * storeRows * c.KVHeads * c.HeadDim; len(s.keys) < n {
		s.keys = make([]float32, n)
	}
	m.pool.For(len(s.tasks), s.body)
	clear(s.tasks)
	clear(s.named) // the workspace must not keep the sources alive
}

// aligned rounds a size up to where the next keys may start.
func aligned(size int) int { return (size + mem.Align - 1) &^ (mem.Align - 1) }

func (s *ranking) block(worker, task int) {
	t, heads := &s.tasks[task], s.model.config.KVHeads
	width := heads * s.model.config.HeadDim
	k := s.keys[worker*storeRows*width:][:t.n*width]
	for i := range t.n {
		t.src.Load(t.at+i, k[i*width:(i+1)*width], nil)
	}
	s.model.rope.UnrotateTokens(k, heads, t.at)
	for i := range t.n {
		t.dst.Store(t.at+i, k[i*width:(i+1)*width], nil)
	}
}

// weigh finds how much each ranked source of a run matters to its rows, whose queries
// are q, and appends the offsets that follow.
func (m *Model) weigh(ws *Workspace, r *Run, q []float32, rows int) error {
	s, heads := &ws.ranking, m.config.Heads
	s.queries, s.parts = s.queries[:0], s.parts[:0]
	for j := range r.Sources {
		if src := &r.Sources[j]; src.Ranked {
			n := src.Tokens()
			s.parts = append(s.parts, attention.Part{KV: s.plain[s.known[rankedKeys{src.KV, src.From, n}]], Len: n})
		}
	}
	s.lse = grow(s.lse, len(s.parts)*rows*heads)
	for j := range s.parts {
		s.queries = append(s.queries, attention.Query{Q: q, LSE: s.lse[j*rows*heads:][:rows*heads], Rows: rows, Parts: s.parts[j : j+1]})
	}
	if err := m.plain.Attend(m.pool, &ws.attention, s.queries); err != nil {
		return err
	}
	places := rows
	if r.Whole {
		places = 1
	}
	s.share(rows*heads, places)
	for p := range places {
		s.layOut(s.weights[p*len(s.parts):][:len(s.parts)])
	}
	return nil
}

// share sums, for every place and source, exp(lse of the source − lse of all) over the
// rows and heads of the place and divides by the source's length.
func (s *ranking) share(lanes, places int) {
	n := len(s.parts)
	if cap(s.weights) < places*n {
		s.weights = make([]float64, places*n)
	}
	s.weights = s.weights[:places*n]
	clear(s.weights)
	for lane := range lanes {
		w := s.weights[lane*places/lanes*n:][:n]
		top := math.Inf(-1)
		for j := range n {
			top = max(top, float64(s.lse[j*lanes+lane]))
		}
		sum := 0.0
		for j := range n {
			sum += math.Exp(float64(s.lse[j*lanes+lane]) - top)
		}
		for j := range n {
			w[j] += math.Exp(float64(s.lse[j*lanes+lane])-top) / sum
		}
	}
	for i := range s.weights {
		s.weights[i] /= float64(s.parts[i%n].Len)
	}
}

// layOut appends the offsets of sources with these weights: end to end, the heaviest
// last. Of equal ones the first that is listed counts as the heavier.
func (s *ranking) layOut(weights []float64) {
	s.order = s.order[:0]
	end := 0
	for j := range weights {
		s.order = append(s.order, j)
		end += s.parts[j].Len
	}
	slices.SortStableFunc(s.order, func(a, b int) int { return cmp.Compare(weights[b], weights[a]) })
	first := len(s.offsets)
	s.offsets = slices.Grow(s.offsets, len(weights))[:first+len(weights)]
	for _, j := range s.order {
		end -= s.parts[j].Len
		s.offsets[first+j] = end
	}
}
