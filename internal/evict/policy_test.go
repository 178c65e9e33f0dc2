// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package evict

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plain is the policy as its documentation states it: every number is kept with the item, and the victim is looked for among all.
type plain struct {
	items       []*plainItem
	age         float64
	clock       int
	unit        float64
	bytes, cost float64
}

type plainItem struct {
	*Item[int]
	uses, weight, priority float64
	used                   int
	held                   bool
}

func (p *plain) weight(bytes, cost float64) float64 {
	mean := 1.0
	if p.bytes > 0 {
		mean = p.cost / p.bytes
	}
	if !(cost > 0) || math.IsInf(cost, 1) {
		return mean
	}
	if p.unit == 0 {
		p.unit = cost / bytes
	}
	weight := max(mean/64, min(mean*64, cost/bytes/p.unit))
	p.bytes = p.bytes*(1-1.0/1024) + bytes
	p.cost = p.cost*(1-1.0/1024) + bytes*weight
	return weight
}

func (p *plain) use(it *plainItem, uses float64) {
	p.clock++
	it.used = p.clock
	it.uses = min(it.uses+uses, 16)
	it.priority = p.age + it.uses*it.weight
}

func (p *plain) victim() *plainItem {
	return slices.MinFunc(p.items, func(a, b *plainItem) int {
		switch {
		case a.held != b.held:
			return map[bool]int{false: -1, true: 1}[a.held]
		case a.priority != b.priority:
			return map[bool]int{true: -1, false: 1}[a.priority < b.priority]
		}
		return a.used - b.used
	})
}

func TestPolicyAgainstPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var policy Policy[int]
		var model plain
		next := 0
		pick := func(held bool) *plainItem {
			var of []*plainItem
			for _, it := range model.items {
				if it.held == held {
					of = append(of, it)
				}
			}
			if len(of) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(of).Draw(t, "item")
		}
		drop := func(it *plainItem) {
			model.items = slices.DeleteFunc(model.items, func(o *plainItem) bool { return o == it })
		}
		add := func(t *rapid.T) {
			bytes := rapid.Int64Range(0, 1000).Draw(t, "bytes")
			cost := rapid.SampledFrom([]float64{0, 1, 2, 50, 1e9, 1e-9, -1, math.NaN(), math.Inf(1)}).Draw(t, "cost")
			it := &plainItem{Item: &Item[int]{Value: next}, weight: 1, held: rapid.Bool().Draw(t, "held")}
			next++
			policy.Add(it.Item, bytes, cost, it.held)
			it.weight = model.weight(float64(max(bytes, 1)), cost)
			require.InEpsilon(t, it.weight, it.Item.weight, 1e-9)
			it.weight = it.Item.weight // to the last bit
			model.items = append(model.items, it)
			model.use(it, 1)
		}
		evict := func(t *rapid.T) {
			got, ok := policy.Evict()
			require.Equal(t, len(model.items) > 0, ok)
			if !ok {
				return
			}
			want := model.victim()
			require.Equal(t, want.Value, got)
			model.age = max(model.age, want.priority)
			drop(want)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add more": add, "evict": evict,
			"use": func(t *rapid.T) {
				it := pick(rapid.Bool().Draw(t, "held"))
				policy.Use(it.Item)
				model.use(it, 1)
			},
			"hold": func(*rapid.T) {
				it := pick(false)
				policy.Hold(it.Item)
				it.held = true
			},
			"idle": func(*rapid.T) {
				it := pick(true)
				policy.Idle(it.Item)
				it.held = false
				model.use(it, 0)
			},
			"remove": func(t *rapid.T) {
				it := pick(rapid.Bool().Draw(t, "held"))
				policy.Remove(it.Item)
				drop(it)
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model.items), policy.Len())
				for _, h := range []*heap[int]{&policy.idle, &policy.held} {
					for i, it := range h.items {
						require.True(t, it.heap == h && it.at == i && !it.now.less(it.then))
						require.True(t, i == 0 || !it.then.less(h.items[(i-1)/2].then))
					}
				}
			},
		})
		for len(model.items) > 0 {
			evict(t)
		}
	})
}

// Used once each and of equal cost per byte, the victims are the least recently used.
func TestEqualsGoByRecency(t *testing.T) {
	for _, cost := range []float64{0, 1.0 / 1024} { // per byte
		var p Policy[int]
		for i := range 100 {
			bytes := int64(1 + i*i%17)
			p.Add(&Item[int]{Value: i}, bytes, cost*float64(bytes), false)
			if i >= 10 {
				got, _ := p.Evict()
				require.Equal(t, i-10, got)
			}
		}
	}
}

func TestDearStaysLonger(t *testing.T) {
	var p Policy[string]
	p.Add(&Item[string]{Value: "usual"}, 100, 1, false)
	p.Add(&Item[string]{Value: "dear"}, 100, 5, false)
	p.Add(&Item[string]{Value: "cheap"}, 100, 0.5, false)
	p.Add(&Item[string]{Value: "large"}, 1000, 5, false)
	var order []string
	for v, ok := p.Evict(); ok; v, ok = p.Evict() {
		order = append(order, v)
	}
	require.Equal(t, []string{"cheap", "large", "usual", "dear"}, order)
}

// However often and dear an entry was, once it is no longer used it goes after a bounded number of turnovers.
func TestNothingStaysForEver(t *testing.T) {
	var p Policy[int]
	old := &Item[int]{Value: -1}
	for range 1000 {
		p.Add(&Item[int]{Value: -2}, 1, 1, false)
		p.Evict()
	}
	p.Add(old, 1, 1e18, false)
	for range 1000000 {
		p.Use(old)
	}
	const room = 8
	for i := range 2 * maxUses * maxWeight * room {
		p.Add(&Item[int]{Value: i}, 1, 1, false)
		if p.Len() > room {
			if v, _ := p.Evict(); v == old.Value {
				return
			}
		}
	}
	t.Fatal("it is still there")
}

// BenchmarkPolicy: what a lookup that hits, holds and lets go costs, and an insertion with its eviction.
func BenchmarkPolicy(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		var p Policy[int]
		items := make([]*Item[int], n)
		for i := range items {
			items[i] = &Item[int]{Value: i}
			p.Add(items[i], int64(1+i%7), float64(1+i%5), false)
		}
		b.Run(fmt.Sprint("use/", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				it := items[i*7919%n]
				p.Hold(it)
				p.Use(it)
				p.Idle(it)
			}
		})
		b.Run(fmt.Sprint("use and replace/", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Use(items[i*7919%n])
				v, _ := p.Evict()
				p.Add(items[v], int64(1+i%7), float64(1+i%5), false)
			}
		})
	}
}
