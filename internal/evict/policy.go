// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package evict

import "math"

const (
	maxUses   = 16
	maxWeight = 64   // times the mean
	latest    = 1024 // how many items the mean is of, about
)

// Item is an entry of a cache as the policy sees it. The cache makes it, with Value set, and may embed it. An item is in one policy at most.
type Item[V any] struct {
	Value V

	weight float64
	uses   float64
	now    rank // what it is worth
	then   rank // what it was worth when it was last put in its place in the heap; never more than now
	heap   *heap[V]
	at     int // in heap
	held   bool
}

// rank orders items: the smaller goes first.
type rank struct {
	priority float64
	turn     uint64 // when it was used
}

func (r rank) less(o rank) bool {
	return r.priority < o.priority || r.priority == o.priority && r.turn < o.turn
}

// Policy orders the items of one cache. The zero Policy is empty and ready. It is not safe for concurrent use.
type Policy[V any] struct {
	age   float64
	turn  uint64
	unit  float64 // cost per byte of the first item of known cost: weights are multiples of it
	bytes float64 // of the latest items of known cost
	cost  float64 // theirs, in units
	idle  heap[V] // may have items that are held
	held  heap[V] // has none that are not
}

// Add takes in an item of so many bytes that took cost, in any unit, to make; a cost that is not a positive finite number is unknown. held
// says that it is in use already.
func (p *Policy[V]) Add(it *Item[V], bytes int64, cost float64, held bool) {
	it.weight, it.uses, it.held = p.weigh(float64(max(bytes, 1)), cost), 0, held
	p.Use(it)
	it.then = it.now
	p.idle.push(it)
}

// weigh returns the cost per byte in units.
func (p *Policy[V]) weigh(bytes, cost float64) float64 {
	weight := 1.0
	switch known := cost > 0 && !math.IsInf(cost, 1); {
	case p.unit == 0 && !known:
		return weight
	case p.unit == 0:
		p.unit = cost / bytes
	case !known:
		return p.cost / p.bytes
	default:
		mean := p.cost / p.bytes
		weight = min(max(cost/bytes/p.unit, mean/maxWeight), mean*maxWeight)
	}
	p.bytes += bytes - p.bytes/latest
	p.cost += weight*bytes - p.cost/latest
	return weight
}

// Use counts a use of the item.
func (p *Policy[V]) Use(it *Item[V]) {
	it.uses = min(it.uses+1, maxUses)
	p.refresh(it)
}

// Hold marks the item as in use: it goes only if all others are in use too.
func (p *Policy[V]) Hold(it *Item[V]) { it.held = true }

// Idle marks the item as no longer in use, which it was until now.
func (p *Policy[V]) Idle(it *Item[V]) {
	it.held = false
	p.refresh(it)
	if it.heap == &p.held {
		p.held.remove(it)
		it.then = it.now
		p.idle.push(it)
	}
}

func (p *Policy[V]) refresh(it *Item[V]) {
	p.turn++
	it.now = rank{p.age + it.uses*it.weight, p.turn}
}

// Remove takes an item out that the cache gives up for a reason of its own.
func (p *Policy[V]) Remove(it *Item[V]) { it.heap.remove(it) }

// Len returns the number of items.
func (p *Policy[V]) Len() int { return len(p.idle.items) + len(p.held.items) }

// Evict takes out the item that is worth least, one in use only if all are, and returns its value. It reports false if there is none.
func (p *Policy[V]) Evict() (V, bool) {
	for len(p.idle.items) > 0 {
		switch it := p.idle.items[0]; {
		case it.held:
			p.idle.remove(it)
			p.held.push(it)
		case it.then != it.now:
			p.idle.settle(it)
		default:
			return p.evict(it), true
		}
	}
	for len(p.held.items) > 0 {
		it := p.held.items[0]
		if it.then == it.now {
			return p.evict(it), true
		}
		p.held.settle(it)
	}
	var none V
	return none, false
}

func (p *Policy[V]) evict(it *Item[V]) V {
	it.heap.remove(it)
	p.age = max(p.age, it.now.priority)
	return it.Value
}
