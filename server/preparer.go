// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/graphkv/graphkv"
)

// preparer encodes registered documents in the background: one batch at a time, beside
// the requests, whose passes it shares, and namespaces by turns. What waits are ids of
// documents of the library, each once, which bounds them.
type preparer struct {
	server *Server
	ctx    context.Context
	stop   context.CancelFunc

	mu      sync.Mutex
	lines   map[string]*line // by namespace; none is empty
	turns   []string         // namespaces that have a line, the next one first
	running bool
	idle    sync.WaitGroup
}

// line holds what waits of a namespace.
type line struct {
	ids []string // in order of arrival
	has map[string]bool
}

// prepareTokens is about how many tokens are prepared at a time: a few full passes.
const prepareTokens = 4096

func newPreparer(s *Server) *preparer {
	p := &preparer{server: s, lines: make(map[string]*line)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// add lets a document wait that has been put into the library.
func (p *preparer) add(namespace, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lines[namespace]
	if l == nil {
		l = &line{has: make(map[string]bool)}
		p.lines[namespace] = l
		p.turns = append(p.turns, namespace)
	}
	if !l.has[id] {
		if len(l.ids) >= p.server.limits.StoreDocuments { // some were deleted meanwhile
			l.ids = slices.DeleteFunc(l.ids, func(id string) bool {
				gone := p.waiting(namespace, id) == nil
				if gone {
					delete(l.has, id)
				}
				return gone
			})
		}
		l.ids, l.has[id] = append(l.ids, id), true
	}
	if !p.running && p.ctx.Err() == nil {
		p.running = true
		p.idle.Add(1)
		go p.loop()
	}
}

// waiting returns the document of an id if it is to be prepared: it may have been
// deleted, or replaced by one that is not.
func (p *preparer) waiting(namespace, id string) *registered {
	if d, ok := p.server.documents.get(namespace, id); ok && d.now() == statePreparing {
		return d
	}
	return nil
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
		namespace, batch := p.take()
		if batch == nil {
			return
		}
		p.prepare(namespace, batch)
	}
}

// take returns the next documents of the namespace whose turn it is. It ends the loop if
// there are none.
func (p *preparer) take() (namespace string, batch []*registered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(batch) == 0 && len(p.turns) > 0 && p.ctx.Err() == nil {
		namespace, p.turns = p.turns[0], p.turns[1:]
		l := p.lines[namespace]
		limit := min(prepareTokens, p.server.limits.PromptTokens-1) // and the query
		tokens, taken := 0, 0
		for _, id := range l.ids {
			d := p.waiting(namespace, id)
			if d != nil && len(batch) > 0 && tokens+len(d.tokens) > limit {
				break
			}
			taken++
			delete(l.has, id)
			if d != nil {
				batch = append(batch, d)
				tokens += len(d.tokens)
			}
		}
		if l.ids = l.ids[taken:]; len(l.ids) > 0 {
			p.turns = append(p.turns, namespace)
		} else {
			delete(p.lines, namespace)
		}
	}
	p.running = len(batch) > 0
	return namespace, batch
}

func (p *preparer) prepare(namespace string, batch []*registered) {
	start := time.Now()
	r := &graphkv.Request{Strategy: graphkv.PCW, Query: graphkv.Tokens(batch[0].tokens[:1]...)}
	for i, d := range batch {
		r.Segments = append(r.Segments, graphkv.Segment{ID: strconv.Itoa(i), Tokens: d.tokens})
	}
	var usage graphkv.Usage
	plan, err := p.server.engine.Compile(r)
	if err == nil {
		usage, err = p.server.engine.Prepare(p.ctx, plan, graphkv.InNamespace(namespace))
	}
	if f := p.server.observer.Prepared; f != nil {
		f(namespace, usage, time.Since(start), err)
	}
	state := statePrepared
	if err != nil {
		state = stateFailed
		if p.ctx.Err() == nil {
			p.server.log.Error("preparing documents failed", slog.String("namespace", namespace), slog.Int("documents", len(batch)), slog.String("error", err.Error()))
		}
	}
	for _, d := range batch {
		d.set(state)
	}
}
