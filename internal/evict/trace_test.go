// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package evict

import (
	"cmp"
	stdheap "container/heap"
	"math"
	"math/rand/v2"
	"slices"
)

// trace is a sequence of lookups in a cache; what misses is made and put in.
type trace struct {
	items []traceItem
	calls []int // indices of items
	room  int64 // bytes
}

type traceItem struct {
	bytes   int64
	seconds float64
}

// zipfTrace asks for items of one size independently, the i-th most popular in proportion to i^−0.9. The room is for a tenth of them.
func zipfTrace(calls int) trace {
	const items = 5000
	r := rand.New(rand.NewPCG(1, 2))
	t := trace{items: make([]traceItem, items), room: items / 10}
	sums := make([]float64, items)
	sum := 0.0
	for i := range items {
		t.items[i] = traceItem{1, 1}
		sum += math.Pow(float64(i+1), -0.9)
		sums[i] = sum
	}
	for range calls {
		i, _ := slices.BinarySearch(sums, r.Float64()*sum)
		t.calls = append(t.calls, min(i, items-1))
	}
	return t
}

// ragTrace is requests over a graph of passages in which popular ones gather links. A request walks at random from a passage that is popular at
// the time, takes the eight passages it meets as targets, and looks up every target's sources (the passages that link to it, up to six) alone, and
// the target as it reads its sources: another node, of the same size, and dearer to encode the more it reads. Interest moves on through the passages
// over time. The room is for 8 % of all bytes.
func ragTrace(requests int) trace {
	const passages = 4000
	r := rand.New(rand.NewPCG(3, 4))
	t := trace{items: make([]traceItem, 2*passages)}
	sources := make([][]int, passages)
	ends := []int{0} // a passage for itself and for each link to it
	for p := 1; p < passages; p++ {
		for range 1 + r.IntN(5) {
			to := ends[r.IntN(len(ends))]
			sources[p] = append(sources[p], to)
			if len(sources[to]) < 6 && r.IntN(2) == 0 {
				sources[to] = append(sources[to], p)
			}
			ends = append(ends, to)
		}
		ends = append(ends, p)
	}
	const bytesPerToken, secondsPerToken, secondsPerPair = 46080, 2e-3, 1e-6 // SmolLM2-135M on two cores
	tokens := make([]float64, passages)
	for p := range tokens {
		tokens[p] = math.Round(min(800, 40+160*math.Exp(0.6*r.NormFloat64())))
	}
	var all int64
	for p, n := range tokens {
		seen := 0.0
		for _, s := range sources[p] {
			seen += tokens[s]
		}
		bytes := int64(n * bytesPerToken)
		t.items[p] = traceItem{bytes, n*secondsPerToken + n*n/2*secondsPerPair}
		t.items[passages+p] = traceItem{bytes, n*secondsPerToken + n*(n/2+seen)*secondsPerPair}
		all += 2 * bytes
	}
	t.room = all * 8 / 100
	shuffled := r.Perm(passages)
	zipf := rand.NewZipf(r, 1.2, 8, passages-1)
	for q := range requests {
		at := shuffled[(int(zipf.Uint64())+q/8)%passages]
		for range 8 {
			t.calls = append(append(t.calls, sources[at]...), passages+at)
			if len(sources[at]) == 0 {
				break
			}
			at = sources[at][r.IntN(len(sources[at]))]
		}
	}
	return t
}

// saved is the part of lookups, and of the cost of encoding, that a cache answers.
type saved struct{ hits, cost float64 }

func (t *trace) total() (cost float64) {
	for _, i := range t.calls {
		cost += t.items[i].seconds
	}
	return cost
}

// run plays the trace against a cache in which victim chooses.
func (t *trace) run(add, use func(i int), victim func() int) saved {
	var s saved
	in := make([]bool, len(t.items))
	var bytes int64
	for _, i := range t.calls {
		if in[i] {
			s.hits++
			s.cost += t.items[i].seconds
			use(i)
			continue
		}
		for bytes+t.items[i].bytes > t.room {
			v := victim()
			in[v] = false
			bytes -= t.items[v].bytes
		}
		in[i] = true
		bytes += t.items[i].bytes
		add(i)
	}
	s.hits /= float64(len(t.calls))
	s.cost /= t.total()
	return s
}

// policy is what this package does.
func (t *trace) policy() saved {
	var p Policy[int]
	items := make([]*Item[int], len(t.items))
	for i := range items {
		items[i] = &Item[int]{Value: i}
	}
	return t.run(
		func(i int) { p.Add(items[i], t.items[i].bytes, t.items[i].seconds, false) },
		func(i int) { p.Use(items[i]) },
		func() int { v, _ := p.Evict(); return v })
}

// lru evicts what was used longest ago.
func (t *trace) lru() saved {
	order := newOrder(len(t.items))
	clock := 0.0
	use := func(i int) { clock++; order.set(i, clock) }
	return t.run(use, use, order.pop)
}

// belady evicts what is used again last (L. Belady: A study of replacement algorithms for virtual-storage computers, 1966). With items of one size
// no cache that keeps what it has just encoded has more hits.
func (t *trace) belady() saved {
	next := make([]float64, len(t.calls)) // when the item of a call is called again
	last := make([]float64, len(t.items))
	for i := range last {
		last[i] = math.Inf(1)
	}
	for c, i := range slices.Backward(t.calls) {
		next[c], last[i] = last[i], float64(c)
	}
	order := newOrder(len(t.items))
	call := 0
	use := func(i int) { order.set(i, -next[call]); call++ }
	return t.run(use, use, order.pop)
}

// bound is more than any cache can save, of any policy and with knowledge of the future, when sizes and costs differ: to hit, an item must stay from
// one call to the next, and that takes its bytes for so many calls of the room × calls that there are. Filling these with the intervals that are worth
// most for what they take forgets only that they must fit at every single call (PFOO-U of D. Berger, N. Beckmann, M. Harchol-Balter: Practical bounds
// on optimal caching with variable object sizes, SIGMETRICS 2018).
func (t *trace) bound() saved {
	type interval struct{ takes, seconds float64 }
	var all []interval
	last := make(map[int]int)
	for c, i := range t.calls {
		if from, ok := last[i]; ok {
			all = append(all, interval{float64(t.items[i].bytes) * float64(c-from), t.items[i].seconds})
		}
		last[i] = c
	}
	fill := func(worth func(interval) float64) (sum float64) {
		slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(worth(b)/b.takes, worth(a)/a.takes) })
		room := float64(t.room) * float64(len(t.calls))
		for _, v := range all {
			if v.takes >= room {
				return sum + worth(v)*room/v.takes
			}
			room -= v.takes
			sum += worth(v)
		}
		return sum
	}
	return saved{
		hits: fill(func(interval) float64 { return 1 }) / float64(len(t.calls)),
		cost: fill(func(v interval) float64 { return v.seconds }) / t.total(),
	}
}

// order is a heap of indices by a number that can change: the library's, so that what this package is compared with shares no code with it.
type order struct {
	list []int
	rank []float64
	at   []int // −1: not in list
}

func newOrder(n int) *order {
	o := &order{rank: make([]float64, n), at: make([]int, n)}
	for i := range o.at {
		o.at[i] = -1
	}
	return o
}

func (o *order) set(i int, rank float64) {
	o.rank[i] = rank
	if o.at[i] < 0 {
		stdheap.Push(o, i)
	} else {
		stdheap.Fix(o, o.at[i])
	}
}

func (o *order) pop() int           { return stdheap.Pop(o).(int) }
func (o *order) Len() int           { return len(o.list) }
func (o *order) Less(a, b int) bool { return o.rank[o.list[a]] < o.rank[o.list[b]] }

func (o *order) Swap(a, b int) {
	o.list[a], o.list[b] = o.list[b], o.list[a]
	o.at[o.list[a]], o.at[o.list[b]] = a, b
}

func (o *order) Push(x any) {
	o.at[x.(int)] = len(o.list)
	o.list = append(o.list, x.(int))
}

func (o *order) Pop() any {
	i := o.list[len(o.list)-1]
	o.list = o.list[:len(o.list)-1]
	o.at[i] = -1
	return i
}
