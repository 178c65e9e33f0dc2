// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/sample"
)

func randomTokens(r *rand.Rand, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = r.Int32N(tinyVocab)
	}
	return out
}

// overlapping returns requests that share many segments and chains of segments.
func overlapping(n int) []*Request {
	r := rand.New(rand.NewPCG(1, 2))
	var pool []Segment
	for i := range 8 {
		pool = append(pool, Segment{ID: fmt.Sprint("s", i), Tokens: randomTokens(r, 3+i)})
	}
	var out []*Request
	for i := range n {
		q := &Request{Strategy: DAG, Segments: slices.Clone(pool), Query: Tokens(randomTokens(r, 4)...), MaxTokens: 4}
		for j := range 7 { // the same chain for all, with a shortcut that differs
			q.Edges = append(q.Edges, [2]string{pool[j].ID, pool[j+1].ID})
		}
		if i%2 == 1 {
			q.Edges = append(q.Edges, [2]string{"s0", "s7"})
		}
		out = append(out, q)
	}
	return out
}

// Requests that overlap and run at once get the answers they get alone, and no
// segment is encoded twice.
func TestConcurrentRequests(t *testing.T) {
	requests := overlapping(16)
	alone := tinyEngine(t)
	var want [][]int32
	for _, q := range requests {
		r, err := alone.Generate(t.Context(), compile(t, alone, q))
		require.NoError(t, err)
		want = append(want, r.Tokens)
	}
	for range 5 {
		e := openTiny(t)
		var wg sync.WaitGroup
		encoded := make([]int, len(requests))
		for i, q := range requests {
			wg.Go(func() {
				p, err := e.Compile(q)
				if !assert.NoError(t, err) {
					return
				}
				r, err := e.Generate(t.Context(), p)
				if assert.NoError(t, err) {
					assert.Equal(t, want[i], r.Tokens)
					encoded[i] = r.Usage.EncodedTokens
				}
			})
		}
		wg.Wait()
		total := 0
		for _, n := range encoded {
			total += n - 4 // the query's
		}
		require.Equal(t, 3+4+5+6+7+8+9+10+10, total, "each segment once, the last under two sets of sources")
		s := e.Stats().Cache
		require.Zero(t, s.PinnedBytes)
		require.Zero(t, s.Flights)
		require.NoError(t, e.Close())
	}
}

// Requests that are cancelled at random moments leave nothing behind: those who
// waited for them take over, and the cache holds only whole segments.
func TestCancellation(t *testing.T) {
	requests := overlapping(8)
	alone := tinyEngine(t)
	e := tinyEngine(t, WithBatchTokens(4))
	for round := range 20 {
		var wg sync.WaitGroup
		for i, q := range requests {
			wg.Go(func() {
				p, err := e.Compile(q)
				if !assert.NoError(t, err) {
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				if i%2 == 0 {
					time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
				}
				defer cancel()
				r, err := e.Generate(ctx, p)
				if i%2 == 0 && errors.Is(err, context.Canceled) {
					return
				}
				if assert.NoError(t, err) {
					want, err := alone.Generate(t.Context(), p)
					assert.NoError(t, err)
					assert.Equal(t, want.Tokens, r.Tokens)
				}
			})
		}
		wg.Wait()
		s := e.Stats().Cache
		require.Zero(t, s.PinnedBytes, "round %d", round)
		require.Zero(t, s.Flights, "round %d", round)
		for i := range requests {
			p := compile(t, e, requests[i])
			for _, k := range planKeys(t, e, p) {
				require.NoError(t, e.store.Delete(t.Context(), k))
			}
		}
	}
}

func TestCancelledBeforeItStarts(t *testing.T) {
	e := tinyEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := compile(t, e, overlapping(1)[0])
	_, err := e.Generate(ctx, p)
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Prepare(ctx, p)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, e.Stats().Cache.Entries)
}

func TestPrepare(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, overlapping(1)[0])
	u, err := e.Prepare(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, Usage{PromptTokens: 52, EncodedTokens: 52}, u)
	u, err = e.Prepare(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, Usage{PromptTokens: 52, CachedTokens: 52}, u)
	r, err := e.Generate(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, Usage{PromptTokens: 56, EncodedTokens: 4, CachedTokens: 52, CompletionTokens: len(r.Tokens)}, r.Usage)
}

// Two nodes of one plan with equal keys are one: encoded once, read twice.
func TestTwins(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{Strategy: PCW, Query: Tokens(9), MaxTokens: NoTokens,
		Segments: []Segment{{ID: "a", Tokens: []int32{5, 6, 7}}, {ID: "b", Tokens: []int32{5, 6, 7}}}})
	r := logits(t, e, p)
	require.Equal(t, Usage{PromptTokens: 7, EncodedTokens: 4, CachedTokens: 3}, r.Usage)
	require.Equal(t, r.Logits, logits(t, tinyEngine(t, WithCacheBytes(0)), p).Logits)
}

func TestNamespacesDoNotMeet(t *testing.T) {
	a, b := tinyEngine(t, WithNamespace("a")), tinyEngine(t, WithNamespace("b"))
	p := compile(t, a, overlapping(1)[0])
	for i, k := range planKeys(t, a, p) {
		require.NotEqual(t, k, planKeys(t, b, p)[i])
	}
}

func planKeys(t require.TestingT, e *Engine, p *Plan) (keys [][32]byte) {
	s, err := e.begin(p)
	require.NoError(t, err)
	defer s.release()
	for _, n := range s.nodes {
		keys = append(keys, n.key)
	}
	return keys
}

// An answer longer than a page, past many pages, is the answer of one long prompt.
func TestLongAnswer(t *testing.T) {
	e := tinyEngine(t)
	prompt := randomTokens(rand.New(rand.NewPCG(3, 4)), 10)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(prompt...), MaxTokens: 3*pageTokens + 5})
	// A seeded sampler, so that the answer neither loops nor meets an end token early.
	var r *Result
	for seed := range uint64(200) {
		var err error
		r, err = e.Generate(t.Context(), p, WithSampling(sample.Params{Temperature: 2, Seed: seed}))
		require.NoError(t, err)
		if r.FinishReason == FinishLength {
			break
		}
	}
	require.Equal(t, FinishLength, r.FinishReason)
	require.Len(t, r.Tokens, 3*pageTokens+5)
	n := len(r.Tokens) - 1
	step, err := e.begin(p)
	require.NoError(t, err)
	defer step.release()
	a := step.answer()
	require.NoError(t, a.prefill(t.Context()))
	for _, id := range r.Tokens[:n] {
		require.NoError(t, a.step(t.Context(), id))
	}
	whole := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(append(prompt, r.Tokens[:n]...)...), MaxTokens: NoTokens})
	want := logits(t, e, whole).Logits
	for i := range want {
		require.InDelta(t, want[i], a.logits[i], 1e-4)
	}
}

func TestGenerationEndsAtTheContext(t *testing.T) {
	e := tinyEngine(t)
	limit := e.Model().Config().Context
	prompt := randomTokens(rand.New(rand.NewPCG(5, 6)), limit-3)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Tokens(prompt...)})
	r, err := e.Generate(t.Context(), p)
	require.NoError(t, err)
	if r.FinishReason == FinishLength {
		require.Len(t, r.Tokens, 3)
	}
	_, err = e.Compile(&Request{Strategy: Sequential, Query: Tokens(append(prompt, 1, 2, 3, 4)...)})
	require.ErrorContains(t, err, "query needs 2049 positions, the limit is 2048")
	long := tinyEngine(t, WithLongContext())
	_, err = long.Compile(&Request{Strategy: Sequential, Query: Tokens(append(prompt, 1, 2, 3, 4)...)})
	require.NoError(t, err)
}

func TestStreaming(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Text("Hello world"), MaxTokens: 20})
	var got strings.Builder
	r, err := e.Generate(t.Context(), p, Stream(func(s string) error { got.WriteString(s); return nil }))
	require.NoError(t, err)
	require.NotEmpty(t, r.Text)
	require.Equal(t, r.Text, got.String())

	full := r.Text
	stop := full[len(full)/2:][:3]
	p = compile(t, e, &Request{Strategy: Sequential, Query: Text("Hello world"), MaxTokens: 20, Stop: []string{stop}})
	r, err = e.Generate(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, FinishStop, r.FinishReason)
	require.Equal(t, full[:strings.Index(full, stop)], r.Text)

	failure := errors.New("the client has gone")
	_, err = e.Generate(t.Context(), p, Stream(func(string) error { return failure }))
	require.ErrorIs(t, err, failure)
}

func TestClosedEngine(t *testing.T) {
	e := openTiny(t)
	p := compile(t, e, overlapping(1)[0])
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	_, err := e.Generate(t.Context(), p)
	require.ErrorIs(t, err, ErrClosed)
	_, err = e.Prepare(t.Context(), p)
	require.ErrorIs(t, err, ErrClosed)
}

// Every Close waits until the requests that run have ended.
func TestCloseWaits(t *testing.T) {
	e := openTiny(t)
	p := compile(t, e, &Request{Strategy: Sequential, Query: Text("Hello world"), MaxTokens: 20})
	streaming, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	answered := make(chan error, 1)
	go func() {
		_, err := e.Generate(context.Background(), p, Stream(func(string) error {
			once.Do(func() { close(streaming); <-goOn })
			return nil
		}))
		answered <- err
	}()
	<-streaming
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- e.Close() }()
	}
	select {
	case <-closed:
		t.Fatal("Close returned while a request ran")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-closed)
	require.NoError(t, <-closed)
	require.NoError(t, <-answered)
}

func TestNothingToRun(t *testing.T) {
	e := tinyEngine(t, nil)
	for _, p := range []*Plan{nil, {}} {
		_, err := e.Generate(t.Context(), p)
		require.ErrorIs(t, err, errNoPlan)
		_, err = e.Prepare(t.Context(), p)
		require.ErrorIs(t, err, errNoPlan)
	}
	_, err := e.Generate(t.Context(), compile(t, e, overlapping(1)[0]), nil)
	require.NoError(t, err)
}

func TestPromptLimit(t *testing.T) {
	e := tinyEngine(t, WithPromptTokens(55))
	q := overlapping(1)[0]
	_, err := e.Compile(q)
	var limit *PromptError
	require.ErrorAs(t, err, &limit)
	p, err := Compile(q, CompileOptions{})
	require.NoError(t, err)
	_, err = e.Generate(t.Context(), p)
	require.ErrorAs(t, err, &limit)
	require.Equal(t, PromptError{Tokens: 56, Limit: 55}, *limit)
}

func TestPlanForAnotherVocabulary(t *testing.T) {
	e := tinyEngine(t)
	p := compile(t, e, &Request{Query: Tokens(tinyVocab), MaxTokens: NoTokens})
	_, err := e.Generate(t.Context(), p)
	var token *TokenError
	require.ErrorAs(t, err, &token)
	require.Equal(t, TokenError{Node: "query", Token: tinyVocab, Vocab: tinyVocab}, *token)
}

// A step of an answer allocates nothing but, now and then, a page.
func TestStepAllocatesNothing(t *testing.T) {
	e := tinyEngine(t, WithWorkers(1))
	s, err := e.begin(compile(t, e, overlapping(1)[0]))
	require.NoError(t, err)
	defer s.release()
	a := s.answer()
	require.NoError(t, a.prefill(t.Context()))
	require.NoError(t, a.step(t.Context(), 1)) // takes the page
	allocs := testing.AllocsPerRun(50, func() {
		if err := a.step(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, allocs)
}

// What a request takes for its edges, of which there may be millions, is little more than the layout of its plan.
func TestKeysTakeLittleMemory(t *testing.T) {
	e := tinyEngine(t)
	for _, s := range []Strategy{PINE, Sequential, GraphKV} {
		r := &Request{Strategy: s, Query: Tokens(1), MaxTokens: NoTokens}
		for i := range 300 {
			r.Segments = append(r.Segments, Segment{ID: fmt.Sprint(i), Tokens: []int32{1, 2}})
		}
		p := compile(t, e, r)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		session, err := e.keyed(p)
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		require.Len(t, session.nodes, p.Len()-1)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64*p.layout.NumEdges()+(2<<20)), s)
	}
}
