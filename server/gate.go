// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// gate lets requests in: a bounded number at work, a bounded number that waits, and
// those by turns between namespaces, so that one that sends many keeps nobody else
// waiting for all of them. A request takes its place before its body is read, which
// bounds the memory of bodies too.
type gate struct {
	limits Limits

	mu       sync.Mutex
	inside   int            // requests that have a place
	of       map[string]int // inside, by namespace
	running  int
	lines    map[string][]*place // who waits, by namespace, in order of arrival
	turns    []string            // namespaces that wait, the next one first
	service  time.Duration       // how long requests run: an average over the latest
	draining bool
	empty    chan struct{} // closed when the last has left a gate that drains
}

// place is one request's.
type place struct {
	gate      *gate
	namespace string
	granted   chan struct{} // closed when the request may run
	running   bool
	began     time.Time
}

func newGate(l Limits) *gate {
	return &gate{limits: l, of: make(map[string]int), lines: make(map[string][]*place), empty: make(chan struct{})}
}

// enter takes a place, which is to be left.
func (g *gate) enter(namespace string) (*place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	full := func(code, message string) error {
		return &apiError{Status: http.StatusTooManyRequests, Message: message, Type: typeLimited, Code: code, Retry: g.retry()}
	}
	switch {
	case g.draining:
		return nil, errDraining
	case g.of[namespace] >= g.limits.NamespaceRequests:
		return nil, full("namespace_busy", "too many requests of yours are running or waiting")
	case g.inside >= g.limits.Concurrent+g.limits.Queue:
		return nil, full("queue_full", "too many requests are waiting")
	}
	g.inside++
	g.of[namespace]++
	return &place{gate: g, namespace: namespace}, nil
}

// retry estimates when there will be room: when those that are inside now have run.
func (g *gate) retry() time.Duration {
	d := g.service * time.Duration(g.inside) / time.Duration(g.limits.Concurrent)
	return min(max(d, time.Second), time.Minute)
}

// wait returns when the request may run.
func (p *place) wait(ctx context.Context) error {
	g := p.gate
	g.mu.Lock()
	if g.running < g.limits.Concurrent {
		p.grant()
		g.mu.Unlock()
		return nil
	}
	p.granted = make(chan struct{})
	if len(g.lines[p.namespace]) == 0 {
		g.turns = append(g.turns, p.namespace)
	}
	g.lines[p.namespace] = append(g.lines[p.namespace], p)
	g.mu.Unlock()

	late := time.NewTimer(g.limits.QueueTime)
	defer late.Stop()
	select {
	case <-p.granted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		g.mu.Lock()
		defer g.mu.Unlock()
		return &apiError{Status: http.StatusTooManyRequests, Message: "the request has waited for as long as requests may here", Type: typeLimited, Code: "queue_timeout", Retry: g.retry()}
	}
}

// grant lets p run. The gate is locked.
func (p *place) grant() {
	p.running, p.began = true, time.Now()
	p.gate.running++
}

// leave gives the place up, running or not.
func (p *place) leave() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.running {
		g.running--
		g.service += (time.Since(p.began) - g.service) / 8
	} else {
		g.abandon(p)
	}
	g.inside--
	if g.of[p.namespace]--; g.of[p.namespace] == 0 {
		delete(g.of, p.namespace)
	}
	for g.running < g.limits.Concurrent && len(g.turns) > 0 {
		name := g.turns[0]
		g.turns = g.turns[1:]
		line := g.lines[name]
		line[0].grant()
		close(line[0].granted)
		if g.lines[name] = line[1:]; len(line) > 1 {
			g.turns = append(g.turns, name)
		} else {
			delete(g.lines, name)
		}
	}
	if g.draining && g.inside == 0 {
		close(g.empty)
	}
}

// abandon takes p out of its line, if it is in one.
func (g *gate) abandon(p *place) {
	line := g.lines[p.namespace]
	for i, q := range line {
		if q != p {
			continue
		}
		if line = append(line[:i:i], line[i+1:]...); len(line) > 0 {
			g.lines[p.namespace] = line
			return
		}
		delete(g.lines, p.namespace)
		for j, name := range g.turns {
			if name == p.namespace {
				g.turns = append(g.turns[:j:j], g.turns[j+1:]...)
				return
			}
		}
	}
}

// drain lets nobody in any more. The channel it returns is closed when all have left.
func (g *gate) drain() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.draining {
		g.draining = true
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

// closed reports whether the gate drains.
func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

// load returns how many requests run and how many wait.
func (g *gate) load() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.inside - g.running
}
