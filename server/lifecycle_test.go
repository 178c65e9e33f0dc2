// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// A client that goes away frees what its request holds: its place, and the engine's
// flights.
func TestClientGoesAway(t *testing.T) {
	outcome := make(chan Outcome, 1)
	s := serve(t, Options{Observer: Observer{Finished: func(_ context.Context, _ Request, o Outcome) { outcome <- o }}})
	s.occupy()()
	select {
	case o := <-outcome:
		require.Equal(t, "canceled", o.Code)
		require.True(t, o.Stream)
	case <-time.After(waitLong):
		t.Fatal("the request goes on")
	}
	s.waitLoad(0, 0)
	require.Zero(t, s.engine.Stats().Cache.Flights)

	// Before there was anything to send.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, s.request(ctx, "POST", "/v1/chat/completions", chatBody(``)))
	require.Equal(t, StatusCanceled, (<-outcome).Status)
	require.Equal(t, StatusCanceled, w.Code, "who still listens does not take it for an answer")
}

// While the server drains, streams go on to their end and others are refused.
func TestDrain(t *testing.T) {
	s := serve(t, Options{})
	resp, err := s.http.Client().Do(s.request(t.Context(), "POST", "/v1/chat/completions", chatBody(`,"stream":true,"max_tokens":40`), "X-Namespace", "held"))
	require.NoError(t, err)
	defer resp.Body.Close()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	require.Eventually(t, func() bool { return s.gate.closed() }, waitLong, waitShort)
	for _, path := range []string{"/v1/chat/completions", "/generate_block"} {
		refused, data := s.do("POST", path, chatBody(``))
		require.Equal(t, 503, refused.StatusCode)
		require.True(t, refused.Close, "Connection: close")
		require.NotEmpty(t, data)
		retryAfter(t, refused)
	}
	s.refuse(503, "server_draining", "GET", "/v1/models", "")
	select {
	case <-drained:
		t.Fatal("drained while a stream was on")
	default:
	}
	close(s.held)
	events, err := readEvents(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "[DONE]", events[len(events)-1])
	require.Len(t, events, 1+40+1+1)
	require.NoError(t, <-drained)
}

// What does not end in time is ended, and its client is told.
func TestDrainIsBounded(t *testing.T) {
	s := serve(t, Options{})
	resp, err := s.http.Client().Do(s.request(t.Context(), "POST", "/v1/chat/completions", chatBody(`,"stream":true,"max_tokens":40`), "X-Namespace", "held"))
	require.NoError(t, err)
	defer resp.Body.Close()
	s.ok("PUT", "/v1/documents/a", `{"text":"x"}`, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Drain(ctx), context.DeadlineExceeded)
	running, waiting := s.Load()
	require.Zero(t, running+waiting)
	events, err := readEvents(resp.Body)
	require.NoError(t, err)
	require.Contains(t, events[len(events)-1], `"code":"server_draining"`)
	require.NoError(t, s.Drain(t.Context()), "again")
}

// panicking fails as no writer should.
type panicking struct{ http.ResponseWriter }

func (p *panicking) WriteHeader(status int) {
	if status == 200 {
		panic("a bug")
	}
	p.ResponseWriter.WriteHeader(status)
}

func TestPanicIsOneRequestsError(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(&panicking{w}, s.request(t.Context(), "POST", "/v1/completions", `{"prompt":"secret","max_tokens":1}`))
	require.Contains(t, log.String(), "panic: string")
	require.Contains(t, log.String(), "lifecycle_test.go", "where it was")
	require.NotContains(t, log.String(), "a bug", "which may be a client's text")
	require.NotContains(t, log.String(), "secret")
	require.NotContains(t, w.Body.String(), "a bug")
	s.waitLoad(0, 0)
	s.ok("POST", "/v1/completions", `{"prompt":"x","max_tokens":1}`, nil)
}

// The log never has a word of what clients write or get, unless it is asked for.
func TestLogHoldsNoPrompts(t *testing.T) {
	const secret = "xyzzy"
	for _, prompts := range []bool{false, true} {
		var log syncBuffer
		e := engine(t)
		s := serve(t, Options{Engine: e, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), LogPrompts: prompts})
		var r reply
		s.ok("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"`+secret+`"}],"documents":[{"id":"a","text":"`+secret+`"}],"temperature":0,"max_tokens":9}`, &r)
		s.ok("POST", "/v1/completions", `{"prompt":"`+secret+`"}`, nil)
		s.ok("POST", "/v1/graphkv/generate", `{"query":"`+secret+`","max_tokens":1}`, nil)
		s.ok("POST", "/generate_block", `{"blocks":["`+secret+`","","`+secret+`","`+secret+`"]}`, nil)
		s.ok("PUT", "/v1/documents/"+secret+"?prepare=true", `{"text":"`+secret+`"}`, nil)
		s.do("POST", "/v1/completions", `{"prompt":"`+secret)
		s.do("POST", "/v1/completions", `{"prompt":5,"`+secret+`":1}`)
		s.do("GET", "/"+secret, "")
		require.Equal(t, prompts, strings.Contains(log.String(), secret), "%s", log.String())
		answer := strings.ReplaceAll(strings.Trim(log.String(), "\n"), `\u003c`, "<")
		require.Equal(t, prompts, strings.Contains(answer, r.text()[:3]))
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// The observer is told of every request, once and in order.
func TestObserver(t *testing.T) {
	type key struct{}
	var mu sync.Mutex
	var told []string
	tell := func(ctx context.Context, what string) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Value(key{}) == nil {
			what += " without the context of Started"
		}
		told = append(told, what)
	}
	var last Outcome
	var texts atomic.Int64
	s := serve(t, Options{Observer: Observer{
		Started: func(ctx context.Context, r Request) context.Context {
			ctx = context.WithValue(ctx, key{}, true)
			tell(ctx, "started "+r.Route+" "+r.Namespace)
			return ctx
		},
		Admitted: func(ctx context.Context, r Request, _ time.Duration) { tell(ctx, "admitted") },
		Text: func(_ context.Context, _ Request, index int, since time.Duration) {
			assert.EqualValues(t, texts.Add(1)-1, index)
			assert.Positive(t, since)
		},
		Finished: func(ctx context.Context, r Request, o Outcome) {
			mu.Lock()
			last = o
			mu.Unlock()
			tell(ctx, "finished "+o.Code)
		},
	}})
	expect := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= len(want) }, waitLong, waitShort)
		require.Equal(t, want, told)
		told = nil
		texts.Store(0)
	}
	s.ok("POST", "/v1/chat/completions", chatBody(`,"max_tokens":7`), nil, "X-Namespace", "n")
	require.EqualValues(t, 7, texts.Load())
	expect("started POST /v1/chat/completions n", "admitted", "finished ")
	require.Equal(t, 200, last.Status)
	require.Equal(t, 7, last.Usage.CompletionTokens)
	require.Equal(t, graphkv.FinishLength, last.FinishReason)
	require.Equal(t, graphkv.Sequential, last.Strategy)
	require.Positive(t, last.FirstText)
	require.Greater(t, last.Took, last.FirstText)
	require.False(t, last.Stream)
	s.refuse(400, "invalid_json", "POST", "/v1/completions", `{`)
	expect("started POST /v1/completions ", "finished invalid_json")
	require.Equal(t, 400, last.Status)
	s.refuse(404, "not_found", "GET", "/some/where", "")
	expect("started  ", "finished not_found")
	resp, _ := s.refuse(405, "method_not_allowed", "DELETE", "/v1/chat/completions", "")
	require.Equal(t, "POST", resp.Header.Get("Allow"))
	expect("started  ", "finished method_not_allowed")
	s.ok("GET", "/v1/models", "", nil)
	expect("started GET /v1/models ", "finished ")
}

// A request that fails inside is a 500 that says nothing.
func TestInternalError(t *testing.T) {
	require.Equal(t, http.StatusInternalServerError, failed(t.Context(), errors.New("secret")).Status)
	require.NotContains(t, failed(t.Context(), errors.New("secret")).Message, "secret")
	require.Equal(t, errDraining, failed(t.Context(), graphkv.ErrClosed))
	require.Equal(t, errGone, failed(canceled(), context.Canceled))
	require.Equal(t, StatusCanceled, failed(canceled(), io.ErrUnexpectedEOF).Status)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
