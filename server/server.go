// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/chat"
)

// Options are what a [Server] is made of.
type Options struct {
	Engine *graphkv.Engine // not closed by the server
	Model  string          // its name for clients; "" takes the name in the model file
	Limits Limits
	// Observer is told about requests.
	Observer Observer
	// Logger gets what an operator has to know; nil discards it. It never gets a word
	// of prompts, documents or answers unless LogPrompts is set.
	Logger     *slog.Logger
	LogPrompts bool
}

// Server answers HTTP requests with an engine.
type Server struct {
	engine   *graphkv.Engine
	model    string
	created  time.Time
	limits   Limits
	observer Observer
	log      *slog.Logger
	prompts  bool // are logged
	handler  http.Handler

	fingerprint string         // of the model, for clients
	template    *chat.Template // nil: the model has none
	gate        *gate
	documents   *library
	preparer    *preparer

	stopped context.Context // ends when requests in flight have to
	stop    context.CancelCauseFunc
}

// New returns a server for an engine.
func New(o Options) (*Server, error) {
	if o.Engine == nil {
		return nil, errors.New("server: no engine")
	}
	limits, err := o.Limits.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{
		engine: o.Engine, model: o.Model, created: time.Now(), limits: limits,
		observer: o.Observer, log: o.Logger, prompts: o.LogPrompts, gate: newGate(limits),
	}
	if s.model == "" {
		s.model, _ = o.Engine.Metadata().String("general.name")
	}
	if s.model == "" {
		return nil, errors.New("server: the model file has no name; give one")
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.fingerprint = fingerprint(o.Engine)
	if s.template, err = templateOf(o.Engine); err != nil {
		return nil, fmt.Errorf("server: the model's chat template: %w", err)
	}
	s.documents = newLibrary(limits)
	s.preparer = newPreparer(s)
	s.stopped, s.stop = context.WithCancelCause(context.Background())
	s.handler = s.routes()
	return s, nil
}

// Handler returns the routes. It authenticates nobody; see [WithNamespace].
func (s *Server) Handler() http.Handler { return s.handler }

// Load returns how many requests run and how many wait until they may.
func (s *Server) Load() (running, waiting int) { return s.gate.load() }

// Drain refuses new requests and waits until those in flight are answered. When ctx
// ends they are ended too, which takes one step of the model, and Drain returns ctx's
// error. Afterwards nothing uses the engine.
func (s *Server) Drain(ctx context.Context) error {
	empty := s.gate.drain()
	s.preparer.stop() // it is for requests that will not come
	var err error
	select {
	case <-empty:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop(errDraining)
	<-empty
	s.preparer.close()
	return err
}
