// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/kvtest"
	"github.com/graphkv/graphkv/kvcache/redis"
	"github.com/graphkv/graphkv/kvcache/redis/redistest"
)

// sharedRequests are requests over the same passages, two rounds deep, with chains, shared positions and twins.
func sharedRequests() []*Request {
	r := rand.New(rand.NewPCG(41, 42))
	var segments []Segment
	for i := range 6 {
		segments = append(segments, Segment{ID: fmt.Sprint("s", i), Tokens: randomTokens(r, 5+7*i)})
	}
	segments = append(segments, Segment{ID: "twin", Tokens: segments[0].Tokens})
	query := Tokens(randomTokens(r, 6)...)
	chain := &Request{Strategy: DAG, Segments: segments, Query: query, MaxTokens: 5}
	for i := range 5 {
		chain.Edges = append(chain.Edges, Edge{segments[i].ID, segments[i+1].ID})
	}
	return []*Request{
		{Strategy: GraphKV, Segments: segments, Query: query, MaxTokens: 5, Prefix: Tokens(1, 2, 3)},
		chain,
		{Strategy: Ego, Center: "s5", Segments: segments[:6], Query: query, MaxTokens: 5},
		{Strategy: CacheBlend, Segments: segments, Query: query, MaxTokens: 5, Prefix: Tokens(1, 2, 3), Repair: RepairParams{Fraction: new(0.3)}},
		{Strategy: EPIC, Segments: segments[1:], Query: query, MaxTokens: 5, Repair: RepairParams{First: new(4)}},
		{Strategy: PINE, Segments: segments, Query: query, MaxTokens: 5, Prefix: Tokens(1, 2, 3)},
		{Strategy: HDT, Segments: segments[2:], Query: query, MaxTokens: 5, HDT: HDTParams{Document: Tokens(3), Section: Tokens(4), Sentence: Tokens(5)}},
	}
}

// sharedTokens is how many tokens the nodes of sharedRequests have that differ, their queries apart.
func sharedTokens(t *testing.T, e *Engine) (tokens int) {
	seen := map[[32]byte]bool{}
	for _, q := range sharedRequests() {
		s, err := e.keyed(compile(t, e, q))
		require.NoError(t, err)
		for _, n := range s.nodes {
			if n.twin < 0 && !seen[n.key] {
				tokens += n.tokens
				seen[n.key] = true
			}
		}
	}
	return tokens
}

// answers are what a fresh engine says to sharedRequests.
func answers(t *testing.T, options ...Option) []*Result {
	e := tinyEngine(t, append(options, WithCacheBytes(0))...)
	var all []*Result
	for _, q := range sharedRequests() {
		all = append(all, logits(t, e, compile(t, e, q)))
	}
	return all
}

// ask checks that an engine's answer to every request is the fresh engine's, to the last bit, and returns what was counted.
func ask(t *testing.T, e *Engine, want []*Result) (total Usage) {
	t.Helper()
	for i, q := range sharedRequests() {
		r := logits(t, e, compile(t, e, q))
		require.Equal(t, want[i].Logits, r.Logits, "request %d", i)
		require.Equal(t, want[i].Tokens, r.Tokens, "request %d", i)
		total.PromptTokens += r.Usage.PromptTokens
		total.EncodedTokens += r.Usage.EncodedTokens
		total.CachedTokens += r.Usage.CachedTokens
		total.FetchedTokens += r.Usage.FetchedTokens
	}
	return total
}

// queryTokens is the part of the requests that is encoded whatever is cached.
const queryTokens = 7 * 6

// openPatient opens an engine that believes encoding to be slow: what a tier has is always worth fetching, so that tests know what is fetched.
func openPatient(t *testing.T, options ...Option) *Engine {
	e := openTiny(t, options...)
	e.scheduler.rate.seconds = 1e6
	return e
}

// requireIdle requires that an engine at rest holds nothing. What still arrives for a request that has ended is given a moment.
func requireIdle(t interface {
	require.TestingT
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}, e *Engine) {
	t.Helper()
	require.NoError(t, e.Flush(t.Context()))
	var m kvcache.Metrics
	if !assert.Eventually(t, func() bool { m = e.Stats().Cache; return m.Handles == 0 && m.Flights == 0 }, 5*time.Second, time.Millisecond) {
		t.Fatalf("%+v", m)
	}
	require.Zero(t, m.PinnedBytes)
	require.Zero(t, m.OrphanedBytes)
}

// remote is a lower tier of a test, in which others may have left something.
type remote struct {
	medium *kvtest.Medium
	*kvtest.Faulty
	*kvtest.Streaming
}

func newRemote(m *kvtest.Medium) remote {
	f := kvtest.NewFaulty(m.Open())
	return remote{m, f, kvtest.NewStreaming(f)}
}

// whole is the tier without streaming, layered with it.
func (r remote) whole(timeout time.Duration) Option {
	return WithTier(kvcache.Tier{Store: r.Faulty, Timeout: timeout, ProbeEvery: time.Hour})
}

func (r remote) layered(timeout time.Duration) Option {
	return WithTier(kvcache.Tier{Store: r.Streaming, Timeout: timeout, ProbeEvery: time.Hour})
}

// filled returns a medium with all that the requests need.
func filled(t *testing.T, options ...Option) *kvtest.Medium {
	m := kvtest.NewMedium("remote")
	e := openTiny(t, append(options, WithTier(kvcache.Tier{Store: m.Open()}))...)
	for _, q := range sharedRequests() {
		_, err := e.Prepare(t.Context(), compile(t, e, q))
		require.NoError(t, err)
	}
	require.NoError(t, e.Close())
	return m
}

// Two engines that share a folder: the second encodes nothing but queries, while the first is at work and after it has gone.
func TestEnginesShareADisk(t *testing.T) {
	for _, f := range attention.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			want := answers(t, WithKVFormat(f))
			dir := t.TempDir()
			first := openPatient(t, WithKVFormat(f), WithDisk(dir, 0))
			u := ask(t, first, want)
			require.Zero(t, u.FetchedTokens)
			require.NoError(t, first.Flush(t.Context()))
			for range 2 {
				second := openPatient(t, WithKVFormat(f), WithDisk(dir, 0))
				again := ask(t, second, want)
				require.Equal(t, queryTokens, again.EncodedTokens)
				require.Equal(t, sharedTokens(t, second), again.FetchedTokens, "each node once")
				requireIdle(t, second)
				m := second.Stats().Cache
				require.Equal(t, []string{"memory", "disk"}, []string{m.Tiers[0].Tier, m.Tiers[1].Tier})
				require.Zero(t, m.Tiers[1].Puts)
				require.NoError(t, second.Close())
				require.NoError(t, first.Close())
			}
		})
	}
}

// Engines with different formats, namespaces or arithmetic share a folder and nothing in it.
func TestDiskKeepsFormatsApart(t *testing.T) {
	dir := t.TempDir()
	for _, f := range attention.Formats() {
		for _, namespace := range []string{"", "tenant"} {
			e := openPatient(t, WithKVFormat(f), WithNamespace(namespace), WithDisk(dir, 0))
			require.Zero(t, ask(t, e, answers(t, WithKVFormat(f), WithNamespace(namespace))).FetchedTokens)
			require.NoError(t, e.Close())
		}
	}
}

// The same over Redis, layer by layer.
func TestEnginesShareRedis(t *testing.T) {
	server := redistest.Start(t)
	want := answers(t)
	open := func() *Engine {
		s, err := redis.Open(t.Context(), server.URL(), redis.Options{})
		require.NoError(t, err)
		return openPatient(t, WithTier(kvcache.Tier{Store: s, Timeout: time.Minute}))
	}
	first := open()
	ask(t, first, want)
	require.NoError(t, first.Flush(t.Context()))
	second := open()
	again := ask(t, second, want)
	require.Equal(t, queryTokens, again.EncodedTokens)
	require.Equal(t, sharedTokens(t, second), again.FetchedTokens)
	requireIdle(t, second)
	require.NoError(t, second.Close())

	// It dies in the middle: what is not in memory is encoded.
	third := open()
	p := compile(t, third, sharedRequests()[0])
	require.Equal(t, want[0].Logits, logits(t, third, p).Logits)
	server.Kill()
	require.Equal(t, want[1].Logits, logits(t, third, compile(t, third, sharedRequests()[1])).Logits)
	ask(t, third, want)
	requireIdle(t, third)
	_ = third.Close() // what was not written is reported
	_ = first.Close()
}

// A stream that is late, fails, is damaged or hangs at any layer: the answer is a fresh engine's to the last bit, alone or in company, and nothing is left
// behind.
func TestStreamedLayers(t *testing.T) {
	want := answers(t)
	medium := filled(t)
	prompt := 0
	for _, r := range want {
		prompt += r.Usage.PromptTokens
	}
	for _, c := range []struct {
		name  string
		fault func(until <-chan struct{}) error
		lost  bool
	}{
		{"late", func(<-chan struct{}) error { time.Sleep(time.Millisecond); return nil }, false},
		{"fails", func(<-chan struct{}) error { return errors.New("connection reset") }, true},
		{"damaged", func(<-chan struct{}) error { return &kvcache.CorruptError{Where: "remote"} }, true},
		{"gone", func(<-chan struct{}) error { return kvcache.ErrNotFound }, true},
		{"hangs", func(until <-chan struct{}) error { <-until; return nil }, true},
	} {
		for n := range 3 {
			for _, company := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d %v", c.name, n, company), func(t *testing.T) {
					remote := newRemote(medium)
					remote.Heedless = n == 1
					until := make(chan struct{})
					var one atomic.Bool // every other KV
					var bad sync.Map
					remote.InjectLayers(func(_ context.Context, k kvcache.Key, layer int) error {
						if layer == 0 {
							bad.Store(k, one.Swap(!one.Load()))
						}
						if is, _ := bad.Load(k); layer == n && is.(bool) {
							return c.fault(until)
						}
						return nil
					})
					e := openPatient(t, remote.layered(100*time.Millisecond), WithBatchTokens(40))
					if company {
						var wg sync.WaitGroup
						for range 3 {
							for i, q := range sharedRequests() {
								wg.Go(func() {
									p, err := e.Compile(q)
									assert.NoError(t, err)
									r, err := e.Generate(t.Context(), p, WithLogits())
									if assert.NoError(t, err) {
										assert.Equal(t, want[i].Logits, r.Logits)
										assert.Equal(t, want[i].Tokens, r.Tokens)
									}
								})
							}
						}
						wg.Wait()
					} else {
						u := ask(t, e, want)
						require.Equal(t, prompt, u.PromptTokens)
						require.Equal(t, !c.lost, u.EncodedTokens == queryTokens)
						require.NotZero(t, u.FetchedTokens)
					}
					close(until)
					requireIdle(t, e)
					require.NoError(t, e.Close())
					require.Eventually(t, func() bool { return remote.Streams() == 0 && medium.Lent() == 0 }, 5*time.Second, time.Millisecond)
				})
			}
		}
	}
}

// A request that is alone begins to compute before the last layers are sent. One that is not keeps nobody waiting: it computes when all is there.
func TestLayersAreUsedAsTheyArrive(t *testing.T) {
	want := answers(t)
	medium := filled(t)
	for _, company := range []bool{false, true} {
		remote := newRemote(medium)
		e := openPatient(t, remote.layered(time.Minute))
		let := make(chan struct{})
		remote.InjectLayers(func(_ context.Context, _ kvcache.Key, layer int) error {
			if layer == 2 {
				<-let
			}
			return nil
		})
		if company { // that has nothing to do with it
			other, err := e.begin(compile(t, e, tenPassages(rand.New(rand.NewPCG(1, 1)))))
			require.NoError(t, err)
			defer other.release() // Close does not wait for it: it never entered
		}
		p := compile(t, e, sharedRequests()[1])
		s, err := e.begin(p)
		require.NoError(t, err)
		a := s.answer()
		done := make(chan error)
		go func() { done <- a.prefill(t.Context()) }()
		if company {
			require.Never(t, s.job.taken.Load, 50*time.Millisecond, time.Millisecond)
		} else {
			require.Eventually(t, s.job.taken.Load, 5*time.Second, time.Millisecond)
			require.Empty(t, done)
		}
		close(let)
		require.NoError(t, <-done)
		require.Equal(t, want[1].Logits, a.logits)
		require.Zero(t, s.encoded)
		s.release()
		require.NoError(t, e.Close())
	}
}

// A request that is cancelled while its pass waits for a layer does not wait on, and what was arriving arrives for others.
func TestCancelledWhileLayersArrive(t *testing.T) {
	want := answers(t)
	remote := newRemote(filled(t))
	e := openPatient(t, remote.layered(time.Minute))
	let := make(chan struct{})
	remote.InjectLayers(func(_ context.Context, _ kvcache.Key, layer int) error {
		if layer == 1 {
			<-let
		}
		return nil
	})
	p := compile(t, e, sharedRequests()[1])
	s, err := e.begin(p)
	require.NoError(t, err)
	a := s.answer()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.prefill(ctx) }()
	require.Eventually(t, s.job.taken.Load, 5*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	s.release()
	other := make(chan *Result)
	go func() {
		r, err := e.Generate(context.Background(), p, WithLogits())
		assert.NoError(t, err)
		other <- r
	}()
	close(let)
	r := <-other
	require.Equal(t, want[1].Logits, r.Logits)
	require.Equal(t, len(p.Tokens(p.Len()-1)), r.Usage.EncodedTokens)
	requireIdle(t, e)
	require.NoError(t, e.Close())
}

// A tier that hangs costs requests one bounded time-out, one that fails nothing, and each is told once.
func TestTierFailsAmongRequests(t *testing.T) {
	const timeout = 200 * time.Millisecond
	want := answers(t)
	for _, streams := range []bool{false, true} {
		remote := newRemote(filled(t))
		var down, failed atomic.Int64
		option := remote.whole(timeout)
		if streams {
			option = remote.layered(timeout)
		}
		e := openPatient(t, option, WithEvents(kvcache.EventListener{
			State:  func(s kvcache.StateEvent) { down.Add(1) },
			Failed: func(kvcache.FailEvent) { failed.Add(1) },
		}))
		require.Equal(t, want[0].Logits, logits(t, e, compile(t, e, sharedRequests()[0])).Logits)
		until := make(chan struct{})
		remote.Inject(kvtest.Hang(until))
		start := time.Now()
		ask(t, e, want)
		require.Less(t, time.Since(start), 2*timeout)
		start = time.Now()
		ask(t, e, want)
		require.Less(t, time.Since(start), timeout)
		m := e.Stats().Cache
		require.True(t, m.Down)
		require.NotZero(t, m.Skipped)
		require.EqualValues(t, 1, down.Load())
		require.NotZero(t, failed.Load())
		close(until)
		requireIdle(t, e)
		require.NoError(t, e.Close())
		require.Eventually(t, func() bool { return remote.medium.Lent() == 0 }, 5*time.Second, time.Millisecond, "what came too late is released")
	}
}

// A full disk: requests are answered, what is there is still read, and it is said once.
func TestDiskFull(t *testing.T) {
	want := answers(t)
	remote := newRemote(kvtest.NewMedium("disk"))
	var states atomic.Int64
	e := openPatient(t, remote.whole(0), WithEvents(kvcache.EventListener{State: func(s kvcache.StateEvent) {
		assert.Equal(t, "put", s.Op)
		states.Add(1)
	}}))
	logits(t, e, compile(t, e, sharedRequests()[0]))
	require.NoError(t, e.Flush(t.Context()))
	remote.Inject(kvtest.Fail(errors.New("no space left on device"), "put"))
	ask(t, e, want)
	requireIdle(t, e)
	require.EqualValues(t, 1, states.Load())
	require.NoError(t, e.Close())
	require.Zero(t, remote.medium.Lent())
	e = openPatient(t, newRemote(remote.medium).whole(0))
	require.NotZero(t, ask(t, e, want).FetchedTokens)
	require.NoError(t, e.Close())
}

// A folder with damaged files: each is found, reported, moved out of the way, encoded again and written again.
func TestDamagedFiles(t *testing.T) {
	want := answers(t)
	dir := t.TempDir()
	e := openPatient(t, WithDisk(dir, 0))
	ask(t, e, want)
	require.NoError(t, e.Close())
	files, err := filepath.Glob(filepath.Join(dir, "v1", "??", "*.kv"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		require.NoError(t, os.WriteFile(f, data, 0o600))
	}
	var corrupt atomic.Int64
	e = openPatient(t, WithDisk(dir, 0), WithEvents(kvcache.EventListener{Corrupt: func(c kvcache.CorruptEvent) {
		assert.FileExists(t, c.Kept)
		corrupt.Add(1)
	}}))
	require.Zero(t, ask(t, e, want).FetchedTokens)
	require.EqualValues(t, len(files), corrupt.Load())
	require.NoError(t, e.Close())
	e = openPatient(t, WithDisk(dir, 0))
	require.Equal(t, queryTokens, ask(t, e, want).EncodedTokens)
	require.NoError(t, e.Close())
}

// misshapen is a store of others, who write sound KVs under keys that these cannot belong to.
type misshapen struct {
	kvcache.Store
	puts atomic.Int64
}

func (m *misshapen) Put(ctx context.Context, k kvcache.Key, kv *kvcache.KV) error {
	shape, tokens := kv.Shape(), kv.Tokens()
	switch m.puts.Add(1) % 3 {
	case 0:
		tokens++
	case 1:
		shape.KVHeads, shape.HeadDim = 2*shape.KVHeads, shape.HeadDim/2 // as many bytes
	case 2:
		shape.Layers--
	}
	return m.Store.Put(ctx, k, kvcache.NewKV(shape, tokens))
}

// KVs that do not fit are deleted, counted and encoded again.
func TestMisshapenKVs(t *testing.T) {
	want := answers(t)
	for _, layered := range []bool{false, true} {
		medium := kvtest.NewMedium("remote")
		others := &misshapen{Store: medium.Open()}
		e := openTiny(t, WithTier(kvcache.Tier{Store: others}))
		ask(t, e, want)
		require.NoError(t, e.Close())
		require.NotZero(t, others.puts.Load())

		var corrupt atomic.Int64
		events := WithEvents(kvcache.EventListener{Corrupt: func(c kvcache.CorruptEvent) {
			assert.Equal(t, "remote", c.Tier)
			assert.ErrorContains(t, c.Err, "it is of shape")
			corrupt.Add(1)
		}})
		tier := newRemote(medium)
		option := tier.whole(time.Second)
		if layered {
			option = tier.layered(time.Second)
		}
		e = openPatient(t, option, events)
		require.Zero(t, ask(t, e, want).FetchedTokens)
		require.Equal(t, others.puts.Load(), corrupt.Load())
		requireIdle(t, e)
		require.NoError(t, e.Close())
		require.Eventually(t, func() bool { return tier.Streams() == 0 && medium.Lent() == 0 }, 5*time.Second, time.Millisecond)

		e = openPatient(t, newRemote(medium).whole(time.Second))
		require.Equal(t, queryTokens, ask(t, e, want).EncodedTokens, "what was encoded again is there")
		require.NoError(t, e.Close())
	}
}

// Requests that are cancelled at random moments, over tiers that fail, hang, are slow and damaged: those that are not cancelled get their answers, and
// when all are over nothing is held and nobody is left.
func TestNothingLeaks(t *testing.T) {
	want := answers(t)
	medium := filled(t)
	before := runtime.NumGoroutine()
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		remote := newRemote(medium)
		fault := func() error {
			switch rand.IntN(12) {
			case 0:
				return errors.New("connection reset")
			case 1:
				return &kvcache.CorruptError{Where: "remote"}
			case 2:
				time.Sleep(40 * time.Millisecond) // more than it may take
			case 3:
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			}
			return nil
		}
		remote.Inject(func(context.Context, string, kvcache.Key) error { return fault() })
		remote.InjectLayers(func(context.Context, kvcache.Key, int) error { return fault() })
		e := openPatient(t, WithBatchTokens(8), WithDisk(t.TempDir(), 0), WithCacheBytes(int64(round%3)<<18),
			WithTier(kvcache.Tier{Store: remote.Streaming, Timeout: 20 * time.Millisecond, ProbeEvery: 5 * time.Millisecond}))
		var wg sync.WaitGroup
		for n := range 4 {
			for i, q := range sharedRequests() {
				wg.Go(func() {
					p, err := e.Compile(q)
					assert.NoError(t, err)
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					if n%2 == 0 {
						time.AfterFunc(time.Duration(rand.IntN(20000))*time.Microsecond, cancel)
					}
					r, err := e.Generate(ctx, p, WithLogits())
					if n%2 == 0 && errors.Is(err, context.Canceled) {
						return
					}
					if assert.NoError(t, err) {
						assert.Equal(t, want[i].Logits, r.Logits)
					}
				})
			}
		}
		wg.Wait()
		requireIdle(t, e)
		_ = e.Close() // writes that a failing tier did not take
	}
	require.Eventually(t, func() bool { return medium.Lent() == 0 }, 5*time.Second, time.Millisecond)
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// Without tiers below memory nothing is asked, started or allocated for them.
func TestMemoryAloneAsksNobody(t *testing.T) {
	e := tinyEngine(t)
	s, err := e.begin(compile(t, e, sharedRequests()[0]))
	require.NoError(t, err)
	defer s.release()
	require.Zero(t, testing.AllocsPerRun(10, func() { require.NoError(t, s.fetch(t.Context())) }))
	require.Empty(t, s.unasked)
	m := e.Stats().Cache
	require.Len(t, m.Tiers, 1)
}

// What a node costs is known once it is encoded, and is more if it has sources.
func TestCost(t *testing.T) {
	e := tinyEngine(t)
	r := rand.New(rand.NewPCG(51, 52))
	long, short := randomTokens(r, 900), randomTokens(r, 30)
	q := &Request{Strategy: DAG, Query: Tokens(1), Edges: []Edge{{"a", "c"}},
		Segments: []Segment{{ID: "a", Tokens: long}, {ID: "b", Tokens: short}, {ID: "c", Tokens: short}}}
	p := compile(t, e, q)
	_, err := e.Prepare(t.Context(), p)
	require.NoError(t, err)
	s, err := e.begin(p)
	require.NoError(t, err)
	defer s.release()
	var costs []float64
	for _, n := range s.nodes {
		i := n.kv.Info()
		require.Equal(t, e.file.Fingerprint(), i.Model)
		require.Equal(t, e.scope.ID(), i.Scope)
		costs = append(costs, i.Cost)
	}
	c := e.model.Config()
	require.Greater(t, costs[1], 0.0)
	require.Less(t, costs[0], 60.0, "seconds")
	// b and c were encoded by the same pass, so at the same rate.
	require.InEpsilon(t, c.Work(30, 30*900+30*31/2)/c.Work(30, 30*31/2), costs[2]/costs[1], 1e-9)
}

// Whatever goes wrong when an engine is opened, the tiers it was given are closed.
func TestOpenClosesTiers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	tier := func(s kvcache.Store) Option { return WithTier(kvcache.Tier{Store: s}) }
	for _, c := range []struct {
		path    string
		options func(kvcache.Store) []Option
		err     string
	}{
		{"nowhere.gguf", func(s kvcache.Store) []Option { return []Option{tier(s)} }, "nowhere.gguf"},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{tier(s), WithWorkers(0)} }, "0 workers"},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{WithWorkers(0), tier(s)} }, "0 workers"},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{tier(s), WithDisk(file, 0)} }, file},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{tier(s), WithDisk("", -1)} }, "-1 bytes"},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{tier(s), WithKVFormat(99)} }, "Format(99)"},
		{tinyFile, func(s kvcache.Store) []Option { return []Option{tier(s), tier(nil)} }, "without a store"},
	} {
		s := kvtest.NewMedium("remote").Open()
		e, err := Open(c.path, c.options(s)...)
		require.Nil(t, e)
		require.ErrorContains(t, err, c.err)
		_, err = s.Get(t.Context(), kvcache.Key{})
		require.ErrorIs(t, err, kvcache.ErrClosed)
	}
}

// The default folder is the user's.
func TestDefaultFolder(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, t.TempDir())
	}
	base, err := os.UserCacheDir()
	require.NoError(t, err)
	e := openTiny(t, WithDisk("", 1<<20))
	require.NoError(t, e.Close())
	require.DirExists(t, filepath.Join(base, "graphkv", "kv"))
}
