// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/disk"
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
	store     *kvcache.Tiered
	lower     bool                // it has tiers below memory
	naming    kvcache.ScopeConfig // with the engine's namespace
	scope     *kvcache.Scope      // of it
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
	var errs []error
	for _, o := range options {
		if o != nil {
			errs = append(errs, o(&s))
		}
	}
	e := &Engine{settings: s, pool: pool.Default()}
	err := errors.Join(errs...)
	if err == nil {
		err = e.open(path)
	}
	if err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

func (e *Engine) open(path string) (err error) {
	if e.file, err = gguf.Open(path); err != nil {
		return err
	}
	if e.settings.workers > 0 {
		e.pool, e.ownPool = pool.New(e.settings.workers), true
	}
	if err := e.load(); err != nil {
		return err
	}
	return e.openStore()
}

func (e *Engine) load() (err error) {
	if e.tokenizer, err = tokenizer.FromGGUF(e.file); err != nil {
		return err
	}
	if e.model, err = model.Load(e.file, e.pool); err != nil {
		return err
	}
	e.naming = kvcache.ScopeConfig{
		Model:     e.file.Fingerprint(),
		Encoding:  encoding(e.settings.format),
		RoPE:      e.model.RoPE().Fingerprint(),
		Namespace: e.settings.namespace,
	}
	e.scope = kvcache.NewScope(e.naming)
	e.scheduler = newScheduler(e.model, e.settings.batchTokens)
	return nil
}

// openStore opens the tiers. From then on the store owns them.
func (e *Engine) openStore() error {
	tiers := e.settings.tiers
	if d := e.settings.disk; d != nil {
		s, err := disk.Open(d.dir, disk.Options{Budget: d.budget, Events: e.settings.events})
		if err != nil {
			return fmt.Errorf("graphkv: %w", err)
		}
		tiers = append([]kvcache.Tier{{Store: s}}, tiers...)
	}
	e.lower = len(tiers) > 0
	e.store = kvcache.NewTiered(kvcache.TieredOptions{Memory: e.settings.cacheBytes, Tiers: tiers, Events: e.settings.events})
	return nil
}

// Close waits for running requests to end, writes what is queued for lower tiers,
// for which it takes at most 10 s, and frees the model; every call of it
// does. Cancel the requests' contexts first to make that quick. The error says
// what was not written. Close must not be called from
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

// release gives up what the engine has, all of it or, if Open failed, a part.
func (e *Engine) release() error {
	var errs []error
	if e.scheduler != nil {
		e.scheduler.close()
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	} else {
		for _, t := range e.settings.tiers {
			errs = append(errs, t.Store.Close())
		}
	}
	if e.ownPool {
		e.pool.Close()
	}
	if e.file != nil {
		errs = append(errs, e.file.Close())
	}
	return errors.Join(errs...)
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
	Cache  kvcache.Metrics // of all tiers, which are listed in its Tiers
	Passes int64           // forward passes; concurrent requests share them
	Tokens int64           // tokens encoded by them, of prompts and answers
}

// Stats returns the engine's counters and the state of its cache.
func (e *Engine) Stats() Stats {
	return Stats{Cache: e.store.Metrics(), Passes: e.scheduler.passes.Load(), Tokens: e.scheduler.tokens.Load()}
}

// Flush waits until what has been encoded is written to the lower tiers, or given
// up by one that fails, or until ctx ends. Writes go on without it; it is for who
// encodes more than the queue of a tier holds (see [kvcache.Tier]) and wants none of it dropped.
func (e *Engine) Flush(ctx context.Context) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	return e.store.Flush(ctx)
}

// Compile lowers a request to a plan for this engine's model: text is tokenised,
// and positions past the model's trained context are an error that names the
// segment unless the engine was opened [WithLongContext].
func (e *Engine) Compile(r *Request) (*Plan, error) {
	o := CompileOptions{Tokenizer: e.tokenizer, PromptTokens: e.settings.promptTokens, Heads: e.model.Config().Heads}
	if !e.settings.longContext {
		o.Context = e.model.Config().Context
	}
	return Compile(r, o)
}

// Check refuses a plan that this engine's model cannot run: tokens that are not in its
// vocabulary, positions past its context, more tokens than allowed. Prepare and Generate
// check too; it is for who wants to know before.
func (e *Engine) Check(p *Plan) error {
	if err := p.check(); err != nil {
		return err
	}
	return e.checkPlan(p)
}

// Prepare encodes the nodes of a plan that are not cached yet, its query apart,
// so that a later Generate finds them.
func (e *Engine) Prepare(ctx context.Context, p *Plan, options ...RunOption) (Usage, error) {
	if err := p.check(); err != nil {
		return Usage{}, err
	}
	if err := e.enter(); err != nil {
		return Usage{}, err
	}
	defer e.running.Done()
	s, err := e.begin(p, options...)
	if err != nil {
		return Usage{}, err
	}
	defer s.release()
	if err := s.encode(ctx, nil); err != nil {
		return Usage{}, err
	}
	return s.usage(), nil
}
