// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"sync"

	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/tokenizer"
)

// Engine answers requests with one model and one cache of encoded segments. It is
// safe for concurrent use; requests that need the same segment at the same time
// encode it once.
type Engine struct {
	settings  settings
	file      *gguf.File
	model     *model.Model
	tokenizer *tokenizer.Tokenizer
	store     *kvcache.Memory
	scope     *kvcache.Scope
	pool      *pool.Pool
	ownPool   bool
	scheduler *scheduler

	mu      sync.RWMutex // held for reading by requests, for writing by Close
	running sync.WaitGroup
	closed  chan struct{} // nil until Close is called; closed when it is done
	err     error         // of Close
}

// Open loads a model from a GGUF file.
func Open(path string, options ...Option) (*Engine, error) {
	s := settings{cacheBytes: defaultCacheBytes, batchTokens: defaultBatchTokens, promptTokens: DefaultPromptTokens}
	for _, o := range options {
		if o == nil {
			continue
		}
		if err := o(&s); err != nil {
			return nil, err
		}
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	e := &Engine{settings: s, file: f, pool: pool.Default(), store: kvcache.NewMemory(s.cacheBytes)}
	if s.workers > 0 {
		e.pool, e.ownPool = pool.New(s.workers), true
	}
	if err := e.load(); err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

func (e *Engine) load() (err error) {
	if e.tokenizer, err = tokenizer.FromGGUF(e.file); err != nil {
		return err
	}
	if e.model, err = model.Load(e.file, e.pool); err != nil {
		return err
	}
	e.scope = kvcache.NewScope(kvcache.ScopeConfig{
		Model:     e.file.Fingerprint(),
		Encoding:  "f32",
		RoPE:      e.model.RoPE().Fingerprint(),
		Namespace: e.settings.namespace,
	})
	e.scheduler = newScheduler(e.model, e.settings.batchTokens)
	return nil
}

// Close waits for running requests to end and frees the model; every call of it
// does. Cancel their contexts first to make that quick. It must not be called from
// a [Stream] callback, which belongs to a request that is running.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := e.closed == nil
	if first {
		e.closed = make(chan struct{})
	}
	e.mu.Unlock()
	if first {
		e.running.Wait()
		e.err = e.release()
		close(e.closed)
	}
	<-e.closed
	return e.err
}

func (e *Engine) release() error {
	if e.scheduler != nil {
		e.scheduler.close()
	}
	if e.ownPool {
		e.pool.Close()
	}
	return e.file.Close()
}

// enter counts a request in; the caller must call e.running.Done when it returns nil.
func (e *Engine) enter() error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed != nil {
		return ErrClosed
	}
	e.running.Add(1)
	return nil
}

// Model returns the engine's model.
func (e *Engine) Model() *model.Model { return e.model }

// Tokenizer returns the model's tokenizer.
func (e *Engine) Tokenizer() *tokenizer.Tokenizer { return e.tokenizer }

// Metadata returns the model file, for its metadata. It is closed with the engine.
func (e *Engine) Metadata() *gguf.File { return e.file }

// Stats counts what an engine has done since it was opened.
type Stats struct {
	Cache  kvcache.Metrics
	Passes int64 // forward passes; concurrent requests share them
	Tokens int64 // tokens encoded by them, of prompts and answers
}

// Stats returns the engine's counters and the state of its cache.
func (e *Engine) Stats() Stats {
	return Stats{Cache: e.store.Metrics(), Passes: e.scheduler.passes.Load(), Tokens: e.scheduler.tokens.Load()}
}

// Compile lowers a request to a plan for this engine's model: text is tokenised,
// and positions past the model's trained context are an error that names the
// segment unless the engine was opened [WithLongContext].
func (e *Engine) Compile(r *Request) (*Plan, error) {
	o := CompileOptions{Tokenizer: e.tokenizer, PromptTokens: e.settings.promptTokens}
	if !e.settings.longContext {
		o.Context = e.model.Config().Context
	}
	return Compile(r, o)
}

// Prepare encodes the nodes of a plan that are not cached yet, its query apart,
// so that a later Generate finds them.
func (e *Engine) Prepare(ctx context.Context, p *Plan) (Usage, error) {
	if err := p.check(); err != nil {
		return Usage{}, err
	}
	if err := e.enter(); err != nil {
		return Usage{}, err
	}
	defer e.running.Done()
	s, err := e.begin(p)
	if err != nil {
		return Usage{}, err
	}
	defer s.release()
	if err := s.encode(ctx, nil); err != nil {
		return Usage{}, err
	}
	return s.usage(), nil
}
