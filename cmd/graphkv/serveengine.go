// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/redis"
)

// openEngine loads the model over the tiers of the cache.
func (s *serve) openEngine(ctx context.Context, cmd *cobra.Command, log *slog.Logger, events kvcache.EventListener) (*graphkv.Engine, error) {
	start := time.Now()
	log.Info("loading the model", "model", s.model)
	bar := io.Discard // lines of a log are not for bars
	if isTerminal(cmd.ErrOrStderr()) {
		bar = cmd.ErrOrStderr()
	}
	path, err := fetchModel(ctx, bar, s.model)
	if err != nil {
		return nil, err
	}
	options := []graphkv.Option{
		graphkv.WithCacheBytes(int64(s.cacheBytes)), graphkv.WithKVFormat(s.format.Format),
		graphkv.WithPromptTokens(s.limits.PromptTokens), graphkv.WithEvents(events),
	}
	if s.longContext {
		options = append(options, graphkv.WithLongContext())
	}
	lower, err := s.lower(ctx, log, events)
	if err != nil {
		return nil, err
	}
	e, err := graphkv.Open(path, append(options, lower...)...)
	if err != nil {
		return nil, err
	}
	log.Info("the model is loaded", "file", path, "took", time.Since(start).Round(time.Millisecond))
	return e, nil
}

// lower opens the tiers below memory. A folder that nobody has asked for is no reason not to serve.
func (s *serve) lower(ctx context.Context, log *slog.Logger, events kvcache.EventListener) ([]graphkv.Option, error) {
	var options []graphkv.Option
	if !s.noDisk {
		folder, err := s.openToWrite(events)
		switch {
		case err == nil:
			options = append(options, graphkv.WithTier(kvcache.Tier{Store: folder}))
			log.Info("encoded passages are kept on disk", "folder", s.dir, "budget", s.budget.String())
		case s.from["cache-dir"] != "" || s.from["cache-budget"] != "":
			return nil, err
		default:
			log.Warn("encoded passages are not kept on disk", "error", err)
		}
	}
	if s.redis != "" {
		logging.Disable() // the client's own: what matters is an event
		store, err := redis.Open(ctx, s.redis, redis.Options{Events: events})
		if err != nil {
			return nil, err
		}
		options = append(options, graphkv.WithTier(kvcache.Tier{Store: store, Timeout: redisTimeout}))
		log.Info("encoded passages are shared on Redis", "server", withoutPassword(s.redis))
	}
	return options, nil
}

// logEvery is how often the same thing about a tier is logged: a full disk fails at every write.
const logEvery = time.Minute

// tierLog logs what goes wrong with tiers, while requests go on without.
type tierLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last map[string]time.Time
	more map[string]int // not logged since
}

func newTierLog(log *slog.Logger) *tierLog {
	return &tierLog{log: log, last: make(map[string]time.Time), more: make(map[string]int)}
}

func (t *tierLog) listener() kvcache.EventListener {
	return kvcache.EventListener{
		Corrupt: func(e kvcache.CorruptEvent) {
			t.warn(e.Tier+" corrupt", "a damaged passage was found, and is encoded again", "tier", e.Tier, "error", e.Err, "kept", e.Kept)
		},
		Failed: func(e kvcache.FailEvent) {
			t.warn(e.Tier+" "+e.Op, "a tier of the cache failed", "tier", e.Tier, "operation", e.Op, "error", e.Err, "took", e.Took)
		},
		State: func(e kvcache.StateEvent) {
			if e.Up {
				t.log.Info("a tier of the cache is back", "tier", e.Tier, "operation", e.Op)
				return
			}
			t.log.Warn("a tier of the cache is out of use", "tier", e.Tier, "operation", e.Op, "error", e.Err)
		},
	}
}

func (t *tierLog) warn(thing, message string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.last[thing]) < logEvery {
		t.more[thing]++
		return
	}
	if n := t.more[thing]; n > 0 {
		args = append(args, "before, not logged", n)
	}
	t.last[thing], t.more[thing] = now, 0
	t.log.Warn(message, args...)
}

// tellBoth returns a listener that tells two.
func tellBoth(a, b kvcache.EventListener) kvcache.EventListener {
	return kvcache.EventListener{
		Corrupt: both(a.Corrupt, b.Corrupt),
		Evicted: both(a.Evicted, b.Evicted),
		Failed:  both(a.Failed, b.Failed),
		State:   both(a.State, b.State),
	}
}

func both[E any](f, g func(E)) func(E) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(e E) { f(e); g(e) }
}
