// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model/sample"
)

// settings are what [Open]'s options set.
type settings struct {
	cacheBytes   int64
	format       attention.Format
	disk         *diskSettings // nil: no disk
	tiers        []kvcache.Tier
	events       kvcache.EventListener
	namespace    string
	workers      int
	batchTokens  int
	promptTokens int
	longContext  bool
}

// diskSettings are those of [WithDisk].
type diskSettings struct {
	dir    string
	budget int64
}

const (
	defaultCacheBytes  = 2 << 30
	defaultBatchTokens = 512
)

// DefaultPromptTokens is how many tokens the nodes of a plan may have together
// unless [WithPromptTokens] says otherwise.
const DefaultPromptTokens = 1 << 18

// Option changes how [Open] sets an engine up.
type Option func(*settings) error

// WithCacheBytes sets the memory budget for cached segments (2 GiB by default). 0
// caches nothing. KV that a running request holds is not bounded by it.
func WithCacheBytes(n int64) Option {
	return func(s *settings) error {
		if n < 0 {
			return fmt.Errorf("graphkv: cache of %d bytes, want at least 0", n)
		}
		s.cacheBytes = n
		return nil
	}
}

// WithKVFormat sets how the keys and values of nodes are stored, in every tier
// (float32 by default). Narrower formats take less memory, time to fetch and, where
// memory is what decoding waits for, time to read; what they do to answers is in the
// README. Nodes in different formats have different keys. The keys and values of a
// query and its answer, which last as long as the request, are always float32.
func WithKVFormat(f attention.Format) Option {
	return func(s *settings) error {
		if !f.Valid() {
			return fmt.Errorf("graphkv: KVs in %v, want one of %v", f, attention.Formats())
		}
		s.format = f
		return nil
	}
}

// WithDisk keeps encoded segments in a folder as well, see package kvcache/disk:
// they outlive the engine and the process, and any number of engines may share the
// folder. An empty dir means graphkv/kv in [os.UserCacheDir]. The files take at most
// budget bytes; with 0 nothing is ever evicted. Without this option nothing is
// written anywhere.
func WithDisk(dir string, budget int64) Option {
	return func(s *settings) error {
		if budget < 0 {
			return fmt.Errorf("graphkv: a disk cache of %d bytes, want at least 0", budget)
		}
		if dir == "" {
			base, err := os.UserCacheDir()
			if err != nil {
				return fmt.Errorf("graphkv: no folder for the disk cache: %w", err)
			}
			dir = filepath.Join(base, "graphkv", "kv")
		}
		s.disk = &diskSettings{dir: dir, budget: budget}
		return nil
	}
}

// WithTier adds a store below memory and disk, such as one of package kvcache/redis.
// Repeated, it adds one below the other. The engine takes the store over: it is
// closed with the engine, or by Open if that fails.
func WithTier(t kvcache.Tier) Option {
	return func(s *settings) error {
		if t.Store == nil {
			return errors.New("graphkv: a tier without a store")
		}
		s.tiers = append(s.tiers, t)
		return nil
	}
}

// WithEvents tells l what happens in the memory and disk tiers, and which tiers fail,
// go out of use and come back. What happens inside a store of [WithTier] is told to
// the listener that the store was made with.
func WithEvents(l kvcache.EventListener) Option {
	return func(s *settings) error { s.events = l; return nil }
}

// WithNamespace keeps an engine's cached segments apart from those of other
// namespaces: the name is part of every key.
func WithNamespace(name string) Option {
	return func(s *settings) error { s.namespace = name; return nil }
}

// WithWorkers sets the number of goroutines that share one forward pass
// (GOMAXPROCS by default). It changes no result.
func WithWorkers(n int) Option {
	return func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("graphkv: %d workers, want at least 1", n)
		}
		s.workers = n
		return nil
	}
}

// WithBatchTokens bounds the tokens of one forward pass (512 by default). More
// take more memory for activations and let cancellation wait longer. It changes no
// result.
func WithBatchTokens(n int) Option {
	return func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("graphkv: batches of %d tokens, want at least 1", n)
		}
		s.batchTokens = n
		return nil
	}
}

// WithPromptTokens bounds the tokens of all nodes of a plan together, whatever
// positions they share, and with them the memory that one request can take.
func WithPromptTokens(n int) Option {
	return func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("graphkv: plans of %d tokens, want at least 1", n)
		}
		s.promptTokens = n
		return nil
	}
}

// WithLongContext accepts positions past those the model was trained on, which
// are an error otherwise.
func WithLongContext() Option {
	return func(s *settings) error { s.longContext = true; return nil }
}

// running is what the options of a run set, whatever it is for.
type running struct {
	namespace string
}

// RunOption changes how an engine runs a plan, whether to answer, prepare or explain it.
type RunOption func(*running)

func (o RunOption) apply(g *generation) { g.run = append(g.run, o) }

// InNamespace runs a plan in a namespace of its own, see [WithNamespace], which it
// replaces. Namespaces share what there is of computing power as well: where requests
// of several wait, each gets its part, however many it has.
func InNamespace(name string) RunOption {
	return func(r *running) { r.namespace = name }
}

// generation is what [Engine.Generate]'s options set.
type generation struct {
	run      []RunOption
	emit     func(text string) error
	sampling *sample.Params
	logits   bool
	prepared func([]NodeOrigin)
}

// GenerateOption changes how one answer is generated. Every [RunOption] is one.
type GenerateOption interface{ apply(*generation) }

type generateOption func(*generation)

func (o generateOption) apply(g *generation) { o(g) }

// Stream passes the answer on as it grows, in whole UTF-8 characters. An error
// from emit ends the generation and is returned by it.
func Stream(emit func(text string) error) GenerateOption {
	return generateOption(func(g *generation) { g.emit = emit })
}

// WithSampling replaces the sampler; without it the request's temperature is used.
// A temperature of 0 is greedy whatever the other fields say.
func WithSampling(p sample.Params) GenerateOption {
	return generateOption(func(g *generation) { g.sampling = &p })
}

// WithLogits keeps the logits at the query's last token in the result.
func WithLogits() GenerateOption {
	return generateOption(func(g *generation) { g.logits = true })
}
