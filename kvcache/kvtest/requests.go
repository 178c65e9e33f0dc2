// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/kvcache"
)

// testTwoRequests: each of two requests owns what the other needs next. Both
// follow the rule (own flights of a level, then foreign ones, then the next
// level), so both come through, in any interleaving of their claims.
func testTwoRequests(s suite) {
	// Level 0: A, B. Level 1: C (sees A and B), D (sees A and B).
	const A, B, C, D = 1, 2, 3, 4
	first := map[uint64]*kvcache.Flight{A: s.own(A), C: s.own(C)}
	second := map[uint64]*kvcache.Flight{B: s.own(B), D: s.own(D)}
	first[B], first[D] = s.join(B), s.join(D)
	second[A], second[C] = s.join(A), s.join(C)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request := func(flights map[uint64]*kvcache.Flight, order [4]uint64) {
		var held []*kvcache.Handle
		for i, n := range order { // own, foreign, own, foreign
			var h *kvcache.Handle
			if i%2 == 0 {
				h = flights[n].Complete(makeKV(n))
			} else {
				var err error
				if h, err = flights[n].Wait(ctx); err != nil {
					s.Errorf("Wait for %d: %v", n, err)
					continue
				}
			}
			s.check(h, n)
			held = append(held, h)
		}
		for _, h := range held {
			h.Release()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { request(first, [4]uint64{A, B, C, D}) })
	wg.Go(func() { request(second, [4]uint64{B, A, D, C}) })
	wg.Wait()

	// Without the rule they do wait for each other, and only ctx ends it.
	a, b := s.own(10), s.own(11)
	toA, toB := s.join(10), s.join(11)
	short, cancelShort := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancelShort()
	for _, r := range []struct{ own, foreign *kvcache.Flight }{{a, toB}, {b, toA}} {
		wg.Go(func() {
			if _, err := r.foreign.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				s.Errorf("a request waited before it encoded, but: %v", err)
			}
		})
	}
	wg.Wait()
	a.Fail(nil)
	b.Fail(nil)
}

// testRequests: many requests over one random DAG, each of a random part of it,
// claim everything at once and work level by level. Some are cancelled and give
// their flights up, which moves ownership while others wait. With room for all,
// no node is encoded twice.
func testRequests(s suite, room bool) {
	const nodes = 40
	rng := rand.New(rand.NewPCG(7, 7))
	sources := make([][]uint64, nodes)
	depth := make([]int, nodes)
	for n := range sources {
		for range min(n, 3) {
			src := rng.Uint64N(uint64(n))
			sources[n] = append(sources[n], src)
			depth[n] = max(depth[n], depth[src]+1)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var encoded atomic.Int32
	var wg sync.WaitGroup
	for g := range uint64(12) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 2))
			for range 6 {
				wanted := closure(sources, rng.Uint64N(nodes), rng.Uint64N(nodes))
				rng.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
				giveUpAt := -1
				if rng.IntN(3) == 0 {
					giveUpAt = rng.IntN(4)
				}
				s.request(ctx, sources, depth, wanted, giveUpAt, &encoded)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		s.Error("requests wait for each other")
	}
	if room && encoded.Load() > nodes {
		s.Errorf("%d nodes encoded %d times with room for all", nodes, encoded.Load())
	}
}

// closure returns the nodes given and all their ancestors.
func closure(sources [][]uint64, from ...uint64) (all []uint64) {
	seen := make(map[uint64]bool)
	for len(from) > 0 {
		n := from[len(from)-1]
		from = from[:len(from)-1]
		if !seen[n] {
			seen[n] = true
			all = append(all, n)
			from = append(from, sources[n]...)
		}
	}
	return all
}

// request does what an engine does for the wanted nodes.
func (s suite) request(ctx context.Context, sources [][]uint64, depth []int, wanted []uint64, giveUpAt int, encoded *atomic.Int32) {
	held := make(map[uint64]*kvcache.Handle)
	flights := make(map[uint64]*kvcache.Flight)
	owned := make(map[uint64]*kvcache.Flight)
	defer func() {
		for _, f := range owned {
			f.Fail(context.Canceled) // does nothing for those completed
		}
		for n, h := range held {
			s.check(h, n)
			h.Release()
		}
	}()
	claim := func(n uint64) {
		h, f, owner := s.Claim(keyOf(n))
		switch {
		case h != nil:
			held[n] = h
		case owner:
			owned[n] = f
		default:
			flights[n] = f
		}
	}
	encode := func(n uint64) {
		for _, src := range sources[n] {
			s.check(held[src], src) // all sources are at hand
		}
		encoded.Add(1)
		held[n] = owned[n].Complete(makeKV(n))
	}
	for _, n := range wanted {
		claim(n)
	}
	for level := range len(sources) {
		if level == giveUpAt {
			return
		}
		for _, n := range wanted {
			if depth[n] == level && owned[n] != nil {
				encode(n)
			}
		}
		for _, n := range wanted {
			for depth[n] == level && held[n] == nil {
				h, err := flights[n].Wait(ctx)
				if err == nil {
					held[n] = h
					break
				}
				if !errors.Is(err, kvcache.ErrRetry) {
					s.Errorf("Wait for node %d: %v", n, err)
					return
				}
				if claim(n); owned[n] != nil {
					encode(n)
				}
			}
		}
	}
}
