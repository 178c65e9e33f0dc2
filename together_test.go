// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/posenc"
)

// drawAny draws a plan that has everything at once: groups, ranked sources, nodes that see themselves in both directions,
// repairs, and scores.
func drawAny(t *rapid.T) *freePlan {
	f := drawFreePlan(t)
	var origins []int
	for _, g := range f.groups {
		i := g[0]
		if g[1]-i > 1 || i == len(f.nodes)-1 {
			continue
		}
		n := &f.nodes[i]
		if len(origins) == 0 || rapid.IntRange(0, 2).Draw(t, "repairs") == 0 {
			n.Bidirectional = false
			origins = append(origins, i)
			continue
		}
		of := rapid.SampledFrom(origins).Draw(t, "of")
		n.Bidirectional, n.Len, f.tokens[i] = false, f.nodes[of].Len, f.tokens[of]
		if rapid.Bool().Draw(t, "first") {
			n.Repair = posenc.Repair{Of: of, First: rapid.IntRange(1, n.Len).Draw(t, "first tokens")}
		} else {
			n.Repair = posenc.Repair{Of: of, Fraction: rapid.SampledFrom([]float64{0.1, 0.5, 1}).Draw(t, "fraction")}
		}
	}
	f.scores = []posenc.Score{{Scale: 0.7, Power: 0.8}, {Bias: []float32{1, -1, 0, float32(math.Inf(-1))}, Power: 1.3}, {Scale: 2}}
	for _, sees := range f.sees {
		for k := range sees {
			sees[k].Score = max(0, int32(rapid.IntRange(-3, len(f.scores)).Draw(t, "score")))
		}
	}
	return f
}

// Whatever a plan has at once, who asks for it at the same time, who gives up, and what of it is evicted, in a tier that
// fails, or in another namespace: answers are those of an engine without a cache, and nothing is held or waited for in the end.
func TestAllAtOnce(t *testing.T) {
	type pair struct{ fresh, narrow *Engine }
	without := map[attention.Format]pair{}
	for _, f := range attention.Formats() {
		without[f] = pair{
			tinyEngine(t, WithKVFormat(f), WithCacheBytes(0)),
			tinyEngine(t, WithKVFormat(f), WithCacheBytes(0), WithBatchTokens(3), WithWorkers(1)),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom(attention.Formats()).Draw(t, "format")
		fresh, narrow := without[format].fresh, without[format].narrow
		var plans []*Plan
		var want []map[string][]float32 // by namespace: keys depend on it, and the order of sums on keys
		for range rapid.IntRange(1, 3).Draw(t, "plans") {
			f := drawAny(t)
			plans = append(plans, f.plan(t), f.shuffled(t).plan(t))
			p := plans[len(plans)-1]
			answers := map[string][]float32{}
			for _, space := range []string{"", "other"} {
				run := func(e *Engine, p *Plan) []float32 {
					r, err := e.Generate(t.Context(), p, WithLogits(), InNamespace(space))
					require.NoError(t, err)
					return r.Logits
				}
				answers[space] = run(fresh, p)
				require.Equal(t, answers[space], run(narrow, p))
				require.Equal(t, answers[space], run(fresh, plans[len(plans)-2]))
			}
			want = append(want, answers, answers)
		}
		medium := kvtest.NewMedium("lower")
		remote := newRemote(medium)
		fault := func() error {
			switch rand.IntN(10) {
			case 0:
				return errors.New("connection reset")
			case 1:
				return &kvcache.CorruptError{Where: "remote"}
			case 2:
				time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			}
			return nil
		}
		e := openTiny(t, WithKVFormat(format), WithBatchTokens(rapid.SampledFrom([]int{8, 64, 512}).Draw(t, "batch")),
			WithCacheBytes(int64(rapid.SampledFrom([]int{0, 30 << 10, 1 << 24}).Draw(t, "cache"))),
			WithTier(kvcache.Tier{Store: remote.Streaming, Timeout: time.Second, ProbeEvery: time.Millisecond}))
		e.scheduler.rate.seconds = 1e6
		remote.Inject(func(context.Context, string, kvcache.Key) error { return fault() })
		remote.InjectLayers(func(context.Context, kvcache.Key, int) error { return fault() })
		var wg sync.WaitGroup
		over := make(chan struct{})
		for k := range 12 {
			ctx, cancel := context.WithCancel(context.Background())
			patient := k%2 == 0
			if !patient {
				time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, cancel)
			}
			which, what, space := rand.IntN(len(plans)), rand.IntN(6), []string{"", "", "other"}[rand.IntN(3)]
			wg.Go(func() {
				defer cancel()
				p := plans[which]
				var r *Result
				var err error
				switch what {
				case 0:
					_, err = e.Warm(ctx, p, InNamespace(space))
				case 1:
					_, err = e.Repaired(ctx, p, InNamespace(space))
				case 2:
					_, err = e.Explain(ctx, p, InNamespace(space))
				default:
					if r, err = e.Generate(ctx, p, WithLogits(), InNamespace(space)); err == nil {
						assert.Equal(t, want[which][space], r.Logits)
					}
				}
				if patient || !errors.Is(err, context.Canceled) {
					assert.NoError(t, err)
				}
			})
		}
		go func() { wg.Wait(); close(over) }()
		select {
		case <-over:
		case <-time.After(60 * time.Second):
			panic("requests wait for one another")
		}
		requireIdle(t, e)
		_ = e.Close() // writes that a failing tier did not take
		require.Eventually(t, func() bool { return medium.Lent() == 0 }, 5*time.Second, time.Millisecond)
	})
}
