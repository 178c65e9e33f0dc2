// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/graphkv/graphkv"
)

// preparer encodes registered documents in the background: one batch at a time, beside
// the requests, whose passes it shares. What is queued are documents of the library,
// which is bounded.
type preparer struct {
	server *Server
	ctx    context.Context
	stop   context.CancelFunc

	mu      sync.Mutex
	queue   []queued
	running bool
	idle    sync.WaitGroup
}

type queued struct {
	namespace string
	*registered
}

// prepareTokens is about how many tokens are prepared at a time: a few full passes.
const prepareTokens = 4096

func newPreparer(s *Server) *preparer {
	p := &preparer{server: s}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

func (p *preparer) add(namespace string, d *registered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, queued{namespace, d})
	if !p.running && p.ctx.Err() == nil {
		p.running = true
		p.idle.Add(1)
		go p.loop()
	}
}

// close ends what runs and waits for it.
func (p *preparer) close() {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	p.idle.Wait()
}

func (p *preparer) loop() {
	defer p.idle.Done()
	for {
		batch := p.take()
		if batch == nil {
			return
		}
		p.prepare(batch)
	}
}

// take returns the next documents of one namespace. It ends the loop if there are none.
func (p *preparer) take() (batch []queued) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tokens, rest := 0, p.queue[:0]
	for i, d := range p.queue {
		if now, ok := p.server.documents.get(d.namespace, d.ID); !ok || now != d.registered {
			continue // deleted or replaced
		}
		if p.ctx.Err() != nil || len(batch) > 0 && (tokens+len(d.tokens) > prepareTokens || d.namespace != batch[0].namespace) {
			rest = append(rest, p.queue[i:]...)
			break
		}
		batch = append(batch, d)
		tokens += len(d.tokens)
	}
	clear(p.queue[len(rest):])
	p.queue = rest
	p.running = len(batch) > 0
	return batch
}

func (p *preparer) prepare(batch []queued) {
	start := time.Now()
	r := &graphkv.Request{Strategy: graphkv.PCW, Query: graphkv.Tokens(batch[0].tokens[:1]...)}
	for i, d := range batch {
		r.Segments = append(r.Segments, graphkv.Segment{ID: strconv.Itoa(i), Tokens: d.tokens})
	}
	var usage graphkv.Usage
	plan, err := p.server.engine.Compile(r)
	if err == nil {
		usage, err = p.server.engine.Prepare(p.ctx, plan, graphkv.InNamespace(batch[0].namespace))
	}
	if f := p.server.observer.Prepared; f != nil {
		f(batch[0].namespace, usage, time.Since(start), err)
	}
	state := statePrepared
	if err != nil {
		state = stateFailed
		if p.ctx.Err() == nil {
			p.server.log.Error("preparing documents failed", slog.String("namespace", batch[0].namespace), slog.Int("documents", len(batch)), slog.String("error", err.Error()))
		}
	}
	for _, d := range batch {
		d.set(state)
	}
}
