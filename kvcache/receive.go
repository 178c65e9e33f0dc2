// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// transfer is a KV that a store streams.
type transfer struct {
	Stream
	ctx     context.Context // the stream's
	key     Key
	started time.Time
	limit   time.Duration
}

// stream is get, but may return with a transfer, of whose KV only the handle is there yet.
func (t *tier) stream(ctx context.Context, k Key, instead Estimate) (*Handle, *transfer) {
	streamer, ok := t.config.Store.(Streamer)
	if !ok || t.config.Timeout <= 0 {
		return t.get(ctx, k, instead), nil
	}
	h, ask := t.prepare(k, instead)
	if !ask {
		return h, nil
	}
	started, limit := time.Now(), t.fetch.limit(t.config.Timeout, instead)
	var s *transfer
	h, err := t.run(ctx, "get", k, limit, func(context.Context) (*Handle, error) {
		ctx, end := context.WithTimeout(t.stop, limit)
		stream, err := streamer.Stream(ctx, k)
		if err != nil {
			end()
			return nil, err
		}
		s = &transfer{stream, ctx, k, started, limit}
		return NewHandle(stream.KV(), func() { stream.Close(); end() }), nil
	})
	if err != nil {
		return nil, nil // s may be set later, by an operation that nobody waits for
	}
	return h, s
}

var errSlow = errors.New("it came too slowly")

// receive follows a transfer to its end, in time or not, and says once how it ended. A store that stands still is out of use then; one that does not
// is only slow, which its rate will say.
func (t *tier) receive(s *transfer, p *progress, ended func(error)) {
	var latest atomic.Int64 // arrival, in nanoseconds since the start
	latest.Store(int64(time.Since(s.started)))
	finish := func(err error) {
		took := time.Since(s.started)
		late := errors.Is(err, context.DeadlineExceeded)
		if err == nil || late {
			t.fetch.add(s.KV().Bytes(), took) // if it is late, it is no faster than that
		}
		if late && took-time.Duration(latest.Load()) < t.config.Timeout {
			err = errSlow
			t.skipped.Add(1)
		} else {
			t.judge("get", err)
		}
		ended(err)
	}
	// As in run, a store that does not heed its context is given up a little later.
	timer := time.AfterFunc(s.limit+s.limit/4-time.Since(s.started), func() {
		err := fmt.Errorf("kvcache: %s did not stream within %v: %w", t.name, s.limit, context.DeadlineExceeded)
		if t.events.Failed != nil {
			t.events.Failed(FailEvent{t.name, "get", s.key, err, time.Since(s.started)})
		}
		finish(err)
	})
	layers := s.KV().Shape().Layers
	for l := range layers {
		if err := s.Wait(s.ctx, l); err != nil {
			if timer.Stop() {
				finish(err)
			}
			return
		}
		latest.Store(int64(time.Since(s.started)))
		if l == layers-1 && !timer.Stop() {
			return
		}
		p.arrived(l + 1)
	}
	finish(nil)
}
