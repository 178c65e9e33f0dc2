// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/graphkv/graphkv/kvcache"
)

// fetchers is how many nodes a request fetches from lower tiers at the same time: a
// few are under way while one is verified, and none has to share a line with many.
const fetchers = 8

// fetch asks the lower tiers for the nodes that this session has come to own. What they
// have may still be arriving when fetch returns, see [kvcache.Arrival].
func (s *session) fetch(ctx context.Context) error {
	for len(s.unasked) > 0 {
		unasked := s.unasked
		s.unasked = nil
		if err := s.fetchAll(ctx, unasked); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) fetchAll(ctx context.Context, unasked []int32) error {
	slots := make(chan struct{}, fetchers)
	var asking sync.WaitGroup
	for _, i := range unasked {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		asking.Add(1)
		go func() {
			defer func() { <-slots }()
			a := s.ask(ctx, i)
			asking.Done()
			if a != nil {
				_ = a.Wait(context.Background()) // it takes its part of the line until then
			}
		}()
	}
	asking.Wait()
	for _, i := range unasked {
		if s.nodes[i].arrival != nil {
			s.arriving = append(s.arriving, i)
		} else {
			s.wake(i)
		}
	}
	return ctx.Err()
}

// ask asks the lower tiers for node i.
func (s *session) ask(ctx context.Context, i int32) *kvcache.Arrival {
	n := &s.nodes[i]
	shape := s.e.shape()
	bytes, err := shape.Bytes(n.rows)
	if err != nil {
		return nil // NewKV will say so
	}
	a, err := s.e.store.FetchLayers(ctx, n.flight, kvcache.Estimate{Bytes: bytes, Seconds: s.encodeSeconds(i), Shape: shape, Tokens: n.rows})
	if err != nil {
		return nil
	}
	n.arrival, n.kv, n.flight, n.own = a, a.KV(), nil, false
	return a
}

// settle waits until the first of what is arriving is here. If it does not come, the
// session claims it again and settle returns false.
func (s *session) settle(ctx context.Context) (here bool, err error) {
	i := s.arriving[0]
	n := &s.nodes[i]
	err = n.arrival.Wait(ctx)
	if err != nil && !errors.Is(err, kvcache.ErrIncomplete) {
		return false, err
	}
	s.arriving = s.arriving[1:]
	if err == nil {
		n.arrived = true
		s.fetched += n.tokens
		n.fetched = true
		return true, nil
	}
	n.arrival.Release()
	n.arrival, n.kv = nil, nil
	if !s.claim(i) {
		s.waitFor(i)
	}
	return false, nil
}

// waitFor takes note that another request encodes node i.
func (s *session) waitFor(i int32) {
	s.foreign, s.sorted = append(s.foreign, i), false
}

// sortForeign puts the shallowest node first.
func (s *session) sortForeign() {
	if s.sorted {
		return
	}
	s.sorted = true
	slices.SortStableFunc(s.foreign, func(a, b int32) int { return s.nodes[a].depth - s.nodes[b].depth })
}
