// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// streamsSharing is how many streams that share a line are allowed for when their time is bounded. It costs nothing to be generous: a stream that stands
// still is found out before.
const streamsSharing = 16.0

var errSlow = errors.New("it came too slowly")

// transfer is a KV that a store streams.
type transfer struct {
	Stream
	ctx     context.Context // the stream's
	key     Key
	started time.Time
}

// stream is get, but may return with a transfer, of whose KV only the handle is there yet.
func (t *tier) stream(ctx context.Context, k Key, instead Estimate) (*Handle, *transfer) {
	streamer, ok := t.config.Store.(Streamer)
	if !ok || t.config.Timeout <= 0 {
		return t.get(ctx, k, instead), nil
	}
	h, ask, trial := t.prepare(k, instead)
	if !ask {
		return h, nil
	}
	sharing := streamsSharing
	if trial { // the others do not fetch, and this one is not to pay for them
		sharing = 1
	}
	started := time.Now()
	t.fetch.begin()
	var s *transfer
	h, err := t.run(ctx, "get", k, t.config.Timeout, func(context.Context) (*Handle, error) {
		ctx, end := context.WithTimeout(t.stop, t.fetch.limit(2*t.config.Timeout, instead, sharing))
		stream, err := streamer.Stream(ctx, k)
		if err != nil {
			end()
			return nil, err
		}
		if !instead.fits(stream.KV()) {
			defer end()
			stream.Close()
			return nil, t.misfit(ctx, k, stream.KV(), instead)
		}
		s = &transfer{stream, ctx, k, started}
		return NewHandle(stream.KV(), func() { stream.Close(); end() }), nil
	})
	if err != nil {
		t.fetch.end(0, 0)
		return nil, nil // s may be set later, by an operation that nobody waits for
	}
	return h, s
}

// receive follows a transfer to its end and says once how it ended. A store of which no layer comes within the tier's time-out is out of use then; one
// that sends, but not in the time that all of it may take, is only slow, which its rate will say.
func (t *tier) receive(s *transfer, p *progress, ended func(error)) {
	finish := func(err error) {
		took := time.Since(s.started)
		switch {
		case err == nil:
			t.fetch.end(s.KV().Bytes(), took)
		case errors.Is(err, errSlow):
			t.skipped.Add(1)
			t.fetch.end(s.KV().Bytes(), took) // it is no faster than that
		default:
			t.fetch.end(0, 0)
			t.judge("get", err)
		}
		ended(err)
	}
	patience := t.config.Timeout
	// As in run, a store that does not heed its context is given up a little later.
	timer := time.AfterFunc(patience+patience/4, func() {
		err := fmt.Errorf("kvcache: %s sent nothing for %v: %w", t.name, patience+patience/4, context.DeadlineExceeded)
		if t.events.Failed != nil {
			t.events.Failed(FailEvent{t.name, "get", s.key, err, time.Since(s.started)})
		}
		finish(err)
	})
	for l := range s.KV().Shape().Layers {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		err := s.Wait(ctx, l)
		cancel()
		if !timer.Stop() {
			return
		}
		if errors.Is(s.ctx.Err(), context.DeadlineExceeded) {
			err = errSlow
		}
		if err != nil {
			finish(err)
			return
		}
		p.arrived(l + 1)
		timer.Reset(patience + patience/4)
	}
	timer.Stop()
	finish(nil)
}
