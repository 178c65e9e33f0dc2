// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphkv/graphkv/kvcache"
)

// fetchers is how many exchanges of one stream are under way at a time.
const fetchers = 2

// errGone: the server has dropped part of a node.
var errGone = errors.New("a chunk is gone")

// damage is what is wrong with a layer.
type damage string

func (d damage) Error() string { return string(d) }

// stream is a [kvcache.Stream].
type stream struct {
	s    *Store
	k    kvcache.Key
	node string
	raw  []byte // the header as it was stored
	h    *header
	kv   *kvcache.KV

	caller context.Context
	ctx    context.Context // of the exchanges: the caller's, bounded, and ended by Close
	end    func()
	began  time.Time
	renew  bool // less than half of its time is left

	mu       sync.Mutex
	next     int // the first layer that no fetcher has taken
	ready    []bool
	left     int // layers that are not ready
	fetching int // fetchers at work
	failing  bool
	err      error
	changed  chan struct{} // closed, and replaced, when ready or err changes
}

// Stream begins to fetch the KV of k, see [kvcache.Streamer]. A node that is gone, or turns out to be damaged,
// while it is streamed was right as far as Wait has said so. The fetch ends by itself, at ctx's deadline or after [Options.Timeout] at the
// latest, and between two exchanges when ctx is cancelled.
func (s *Store) Stream(ctx context.Context, k kvcache.Key) (kvcache.Stream, error) {
	t, err := s.start(ctx, k)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// start reads the header and begins to fetch the layers.
func (s *Store) start(ctx context.Context, k kvcache.Key) (*stream, error) {
	op, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.find(ctx, op, k)
	if err != nil {
		end()
		return nil, err
	}
	t.end = end
	t.fetching = min(fetchers, (t.left+t.batch()-1)/t.batch())
	for range t.fetching {
		go t.fetch()
	}
	return t, nil
}

// find reads the header.
func (s *Store) find(caller, op context.Context, k kvcache.Key) (*stream, error) {
	began := time.Now()
	node := s.node(k)
	var get *goredis.StringCmd
	var ttl *goredis.DurationCmd
	err := s.exchange(op, func(p goredis.Pipeliner) { get, ttl = p.Get(op, node), p.PTTL(op, node) })
	switch {
	case errors.Is(err, goredis.Nil):
		s.n.misses.Add(1)
		return nil, kvcache.ErrNotFound
	case err != nil:
		return nil, s.failed(caller, "get", k, began, err)
	}
	raw := []byte(get.Val())
	h, err := decode(k, raw)
	if err != nil {
		s.remove(op, node, raw, nil)
		return nil, s.corrupt(k, err.Error())
	}
	if h.layer*int64(h.shape.Layers) > s.o.MaxKVBytes {
		s.n.misses.Add(1)
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are fetched", kvcache.ErrNotFound, h.layer*int64(h.shape.Layers), s.o.MaxKVBytes)
	}
	kv := kvcache.NewKV(h.shape, h.tokens)
	kv.SetInfo(h.info)
	return &stream{
		s: s, k: k, node: node, raw: raw, h: h, kv: kv,
		caller: caller, ctx: op, began: began, renew: ttl.Val() > 0 && ttl.Val() < s.o.TTL/2,
		ready: make([]bool, h.shape.Layers), left: h.shape.Layers, changed: make(chan struct{}),
	}, nil
}

// KV returns the KV, memory of its own, which stays valid after Close.
func (t *stream) KV() *kvcache.KV { return t.kv }

// Wait waits until a layer has arrived and passed its check. It panics if there is no such layer.
func (t *stream) Wait(ctx context.Context, layer int) error {
	for {
		t.mu.Lock()
		ready, err, changed := t.ready[layer], t.err, t.changed
		t.mu.Unlock()
		if ready {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Err returns why the stream ended before all layers arrived, nil if it did not or has not yet.
func (t *stream) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Close ends the fetch if it is still under way: layers that have not arrived never will, and Wait says so with context.Canceled.
func (t *stream) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left > 0 && !t.failing {
		t.failing = true
		t.stop(context.Canceled)
	}
}

// stop makes err what Wait returns. It needs t.mu.
func (t *stream) stop(err error) {
	t.err = err
	t.next = len(t.ready)
	t.tell()
}

// tell wakes those who wait. It needs t.mu.
func (t *stream) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// batch returns how many layers a fetcher takes at a time.
func (t *stream) batch() int {
	return int(max(1, batchBytes/max(1, t.h.layer)))
}

// fetch fetches layers as long as there are any.
func (t *stream) fetch() {
	for {
		t.mu.Lock()
		from := t.next
		to := min(from+t.batch(), len(t.ready))
		t.next = to
		t.mu.Unlock()
		if from == to {
			break
		}
		if err := t.read(from, to); err != nil {
			t.fail(err)
			break
		}
		t.arrived(from, to)
	}
	t.mu.Lock()
	t.fetching--
	last, whole := t.fetching == 0, t.left == 0
	t.mu.Unlock()
	if !last {
		return
	}
	if whole && t.renew {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.s.o.Timeout)
		t.s.expire(ctx, t.h.names(t.node), t.s.chunkTTL())
		t.s.expire(ctx, []string{t.node}, t.s.o.TTL)
		cancel()
	}
	t.end()
}

// read reads and checks the layers from from to before to.
func (t *stream) read(from, to int) error {
	h, data := t.h, t.kv.Data()
	gets := make([]*goredis.ZeroCopyStringCmd, 0, batchBytes/chunkBytes)
	for i, end := from*h.chunks(), to*h.chunks(); i < end; i += len(gets) {
		gets = gets[:0]
		err := t.s.exchange(t.ctx, func(p goredis.Pipeliner) {
			for n := i; n < h.batch(i, end); n++ {
				gets = append(gets, p.GetToBuffer(t.ctx, h.name(t.node, n), h.part(data, n)))
			}
		})
		if err = t.check(i, gets, err); err != nil {
			return err
		}
	}
	for l := from; l < to; l++ {
		if sum := crc32.Checksum(h.of(data, l), castagnoli); sum != h.sums[l] {
			return damage(fmt.Sprintf("the checksum of layer %d is %08x, the header says %08x", l, sum, h.sums[l]))
		}
	}
	return nil
}

// check checks the answers to gets, the first of which is of the chunk with that number. err is the exchange's.
func (t *stream) check(number int, gets []*goredis.ZeroCopyStringCmd, err error) error {
	for i, get := range gets {
		want := len(t.h.part(t.kv.Data(), number+i))
		n, err := get.Result()
		switch {
		case errors.Is(err, goredis.Nil):
			return errGone
		case err != nil && strings.Contains(err.Error(), "buffer too small"): // has no type, and is given to all of the exchange
			return damage(fmt.Sprintf("one of chunks %d to %d is too long: %v", number, number+len(gets)-1, err))
		case err != nil:
			return err
		case n != want:
			return damage(fmt.Sprintf("chunk %d has %d bytes, not %d", number+i, n, want))
		}
	}
	return err
}

// arrived hands layers out, and counts the hit before it hands out the last.
func (t *stream) arrived(from, to int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing {
		return
	}
	for l := from; l < to; l++ {
		t.ready[l] = true
	}
	t.left -= to - from
	if t.left == 0 {
		n := &t.s.n
		n.hits.Add(1)
		n.readBytes.Add(uint64(t.kv.Bytes()))
		n.readTime.Add(int64(time.Since(t.began)))
	}
	t.tell()
}

// fail ends the stream with the first error there is; what must be done about it is done before anyone hears of it.
func (t *stream) fail(err error) {
	t.mu.Lock()
	if t.failing {
		t.mu.Unlock()
		return
	}
	t.failing = true
	t.next = len(t.ready)
	t.mu.Unlock()
	var damage damage
	switch {
	case errors.Is(err, errGone):
		t.s.remove(t.ctx, t.node, t.raw, t.h)
		t.s.n.misses.Add(1)
		err = fmt.Errorf("%w: %w", kvcache.ErrNotFound, err)
	case errors.As(err, &damage):
		t.s.remove(t.ctx, t.node, t.raw, t.h)
		err = t.s.corrupt(t.k, err.Error())
	default:
		err = t.s.failed(t.caller, "get", t.k, t.began, err)
	}
	t.mu.Lock()
	t.stop(err)
	t.mu.Unlock()
}
