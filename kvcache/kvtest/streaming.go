// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvtest

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/graphkv/graphkv/kvcache"
)

// LayerFault happens before a layer of a stream arrives: if it returns an error, that ends the stream; it may also take its time.
type LayerFault func(ctx context.Context, k kvcache.Key, layer int) error

// Streaming is a store that streams what it has. What has not arrived, and all of it after Close, is not what was stored: who reads too early or
// too late finds out. It is safe for concurrent use.
type Streaming struct {
	kvcache.Store
	Heedless bool // Wait waits for the layer whatever its context says

	fault atomic.Pointer[LayerFault]
	open  atomic.Int64
}

// NewStreaming returns a store that streams what s has, without delay until something is injected.
func NewStreaming(s kvcache.Store) *Streaming { return &Streaming{Store: s} }

// InjectLayers makes f happen to every layer from now on; nil ends it.
func (s *Streaming) InjectLayers(f LayerFault) {
	if f == nil {
		s.fault.Store(nil)
	} else {
		s.fault.Store(&f)
	}
}

// Streams returns how many streams are not closed, or not yet over.
func (s *Streaming) Streams() int { return int(s.open.Load()) }

// Stream is Streamer.Stream.
func (s *Streaming) Stream(ctx context.Context, k kvcache.Key) (kvcache.Stream, error) {
	h, err := s.Store.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	t := &layers{s: s, h: h, kv: kvcache.NewKV(h.KV().Shape(), h.KV().Tokens()), done: make(chan struct{}), changed: make(chan struct{})}
	t.kv.SetInfo(h.KV().Info())
	t.wipe()
	t.ctx, t.end = context.WithCancel(ctx)
	s.open.Add(1)
	go t.run(k)
	return t, nil
}

// layers is a stream.
type layers struct {
	s    *Streaming
	h    *kvcache.Handle
	kv   *kvcache.KV
	ctx  context.Context
	end  context.CancelFunc
	done chan struct{} // run has ended

	mu      sync.Mutex
	ready   int
	err     error
	changed chan struct{}
	closed  bool
}

func (t *layers) wipe() {
	data := t.kv.Data()
	for i := range data {
		data[i] = 0xa5
	}
}

func (t *layers) run(k kvcache.Key) {
	defer close(t.done)
	defer t.h.Release()
	n := t.kv.Shape().Layers
	size := len(t.kv.Data()) / n
	for l := range n {
		var err error
		if f := t.s.fault.Load(); f != nil {
			err = (*f)(t.ctx, k, l)
		}
		if err == nil {
			err = t.ctx.Err()
		}
		if err == nil {
			copy(t.kv.Data()[l*size:(l+1)*size], t.h.KV().Data()[l*size:])
		}
		t.mu.Lock()
		if t.err = err; err == nil {
			t.ready++
		}
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *layers) KV() *kvcache.KV { return t.kv }

func (t *layers) Wait(ctx context.Context, layer int) error {
	if t.s.Heedless {
		ctx = context.WithoutCancel(ctx)
	}
	for {
		t.mu.Lock()
		ready, err, changed := t.ready > layer, t.err, t.changed
		t.mu.Unlock()
		switch {
		case ready:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *layers) Close() {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if !first {
		return
	}
	t.end()
	go func() {
		<-t.done
		t.wipe()
		t.s.open.Add(-1)
	}()
}
