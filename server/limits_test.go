// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	waitLong  = 20 * time.Second
	waitShort = time.Millisecond
)

func chatBody(rest string) string {
	return `{"messages":[{"role":"user","content":"Hello"}],"temperature":0` + rest + `}`
}

// Every limit has a status and a code of its own, and what is just within it passes.
func TestLimits(t *testing.T) {
	s := serve(t, Options{Limits: Limits{
		BodyBytes: 4000, Documents: 3, DocumentBytes: 50, Segments: 5, PromptTokens: 400, MaxTokens: 20,
		StoreDocuments: 2, StoreBytes: 2000,
	}})
	const path = "/v1/chat/completions"
	pad := func(n int) string {
		body := chatBody(`,"max_tokens":1,"user":""`)
		return strings.Replace(body, `"user":"`, `"user":"`+strings.Repeat("x", n-len(body)), 1)
	}
	s.ok("POST", path, pad(4000), nil)
	s.refuse(413, "body_too_large", "POST", path, pad(4001))
	s.refuse(413, "body_too_large", "POST", "/v1/graphkv/generate", pad(4001))
	s.refuse(413, "body_too_large", "PUT", "/v1/documents/a", pad(4001))

	s.ok("POST", path, chatBody(`,"max_tokens":20`), nil)
	s.refuse(400, "max_tokens_too_large", "POST", path, chatBody(`,"max_tokens":21`))
	s.refuse(400, "max_tokens_too_large", "POST", "/v1/completions", `{"prompt":"x","max_tokens":21}`)
	s.refuse(400, "max_tokens_too_large", "POST", "/v1/graphkv/generate", `{"query":"x","max_tokens":21}`)
	var r reply
	s.ok("POST", path, chatBody(``), &r)
	require.LessOrEqual(t, r.Usage.CompletionTokens, 20)

	documents := func(n, size int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"id":"%d","text":%q}`, i, strings.Repeat("a", size)))
		}
		return chatBody(`,"max_tokens":1,"graphkv":{"strategy":"block"},"documents":[` + strings.Join(list, ",") + `]`)
	}
	s.ok("POST", path, documents(3, 50), nil)
	s.refuse(413, "too_many_documents", "POST", path, documents(4, 50))
	s.refuse(413, "document_too_large", "POST", path, documents(3, 51))
	s.refuse(413, "document_too_large", "PUT", "/v1/documents/a", `{"text":"`+strings.Repeat("a", 51)+`"}`)

	turns := func(n int) string {
		return `{"max_tokens":1,"messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"x"},`, n), ",") + `]}`
	}
	s.ok("POST", path, turns(5), nil)
	s.refuse(413, "too_many_segments", "POST", path, turns(6))
	nodes := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"id":"%d","base":0,"tokens":[5],"sees":[]}`, i))
		}
		return `{"max_tokens":0,"plan":{"nodes":[` + strings.Join(list, ",") + `]}}`
	}
	s.ok("POST", "/v1/graphkv/generate", nodes(5), nil)
	s.refuse(413, "too_many_segments", "POST", "/v1/graphkv/generate", nodes(6))

	s.ok("POST", "/v1/completions", `{"max_tokens":1,"prompt":"`+strings.Repeat("x", 400)+`"}`, nil)
	s.refuse(400, "prompt_too_long", "POST", "/v1/completions", `{"max_tokens":1,"prompt":"`+strings.Repeat("x", 401)+`"}`)

	s.ok("PUT", "/v1/documents/a", `{"text":"x"}`, nil)
	s.ok("PUT", "/v1/documents/b", `{"text":"x"}`, nil)
	s.refuse(413, "too_many_registered", "PUT", "/v1/documents/c", `{"text":"x"}`)
	s.ok("PUT", "/v1/documents/b", `{"text":"y"}`, nil)
	s.ok("PUT", "/v1/documents/c", `{"text":"x"}`, nil, "X-Namespace", "other")
	s.refuse(413, "id_too_long", "PUT", "/v1/documents/"+strings.Repeat("i", 257), `{"text":"x"}`)

	s = serve(t, Options{Limits: Limits{StoreBytes: 1000}})
	s.ok("PUT", "/v1/documents/a", `{"text":"x"}`, nil)
	s.refuse(413, "registered_too_large", "PUT", "/v1/documents/b", `{"text":"`+strings.Repeat("x", 120)+`"}`)
	s.refuse(413, "registered_too_large", "PUT", "/v1/documents/a", `{"text":"`+strings.Repeat("x", 200)+`"}`)
	s.ok("PUT", "/v1/documents/a", `{"text":"`+strings.Repeat("x", 120)+`"}`, nil)

	// The model's own limit.
	s.refuse(400, "context_length_exceeded", "POST", "/v1/completions", `{"prompt":"`+strings.Repeat("x", 8200)+`"}`)
}

// occupy starts a stream in the namespace held, whose first event is there when occupy
// returns. What occupy returns stops it.
func (s *service) occupy() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	resp, err := s.http.Client().Do(s.request(ctx, "POST", "/v1/chat/completions", chatBody(`,"stream":true,"max_tokens":40`), "X-Namespace", "held"))
	require.NoError(s.t, err)
	require.Equal(s.t, 200, resp.StatusCode)
	_, err = resp.Body.Read(make([]byte, 1))
	require.NoError(s.t, err)
	return func() {
		cancel()
		resp.Body.Close()
	}
}

func (s *service) waitLoad(running, waiting int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		r, w := s.Load()
		return r == running && w == waiting
	}, waitLong, waitShort)
}

func TestQueue(t *testing.T) {
	const path = "/v1/chat/completions"
	s := serve(t, Options{Limits: Limits{Concurrent: 1, Queue: 1, QueueTime: 30 * time.Millisecond}})
	defer s.occupy()()
	resp, _ := s.refuse(429, "queue_timeout", "POST", path, chatBody(``))
	retryAfter(t, resp)

	s = serve(t, Options{Limits: Limits{Concurrent: 1, Queue: 1}})
	let := s.occupy()

	waiting := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		resp, err := s.http.Client().Do(s.request(ctx, "POST", path, chatBody(`,"max_tokens":1`)))
		if err != nil {
			waiting <- 0
			return
		}
		resp.Body.Close()
		waiting <- resp.StatusCode
	}()
	s.waitLoad(1, 1)
	resp, _ = s.refuse(429, "queue_full", "POST", path, chatBody(``))
	retryAfter(t, resp)
	s.ok("GET", "/v1/models", "", nil) // what costs nothing is answered all the same
	let()
	require.Equal(t, 200, <-waiting)
	cancel()

	// Who gives up while it waits leaves its place.
	s.waitLoad(0, 0)
	let = s.occupy()
	defer let()
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, _ = s.http.Client().Do(s.request(ctx, "POST", path, chatBody(``)))
		waiting <- 0
	}()
	s.waitLoad(1, 1)
	cancel()
	<-waiting
	s.waitLoad(1, 0)
}

func retryAfter(t *testing.T, resp *http.Response) {
	t.Helper()
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, seconds)
	require.LessOrEqual(t, seconds, 60)
}

func TestNamespaceLimit(t *testing.T) {
	s := serve(t, Options{Limits: Limits{NamespaceRequests: 1}})
	defer s.occupy()()
	s.refuse(429, "namespace_busy", "POST", "/v1/chat/completions", chatBody(``), "X-Namespace", "held")
	s.ok("POST", "/v1/chat/completions", chatBody(`,"max_tokens":1`), nil, "X-Namespace", "b")
}

// Those who wait go in by turns between namespaces.
func TestQueueTakesTurns(t *testing.T) {
	limits, err := Limits{Concurrent: 1, Queue: 20}.complete()
	require.NoError(t, err)
	g := newGate(limits)
	enter := func(namespace string) *place {
		p, err := g.enter(namespace)
		require.NoError(t, err)
		return p
	}
	first := enter("many")
	require.NoError(t, first.wait(t.Context()))
	order := make(chan *place, 20)
	line := func(namespace string) {
		p := enter(namespace)
		_, before := g.queued()
		go func() {
			if p.wait(t.Context()) == nil {
				order <- p
			}
		}()
		require.Eventually(t, func() bool { _, n := g.queued(); return n == before+1 }, waitLong, waitShort)
	}
	for range 4 {
		line("many")
	}
	line("few")
	line("few")
	line("one")
	first.leave()
	var got []string
	for range 7 {
		p := <-order
		got = append(got, p.namespace)
		p.leave()
	}
	require.Equal(t, []string{"many", "few", "one", "many", "few", "many", "many"}, got)
	running, waiting := g.load()
	require.Zero(t, running+waiting)
	require.Empty(t, g.lines)
	require.Empty(t, g.turns)
	require.Empty(t, g.of)
}

// queued returns how many requests run, and how many are in a line.
func (g *gate) queued() (running, lined int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lines {
		lined += len(l)
	}
	return g.running, lined
}

func TestRequestTime(t *testing.T) {
	slow := func(context.Context, Request, int, time.Duration) { time.Sleep(5 * time.Millisecond) }
	s := serve(t, Options{Limits: Limits{RequestTime: 100 * time.Millisecond}, Observer: Observer{Text: slow}})
	s.refuse(408, "request_timeout", "POST", "/v1/chat/completions", chatBody(`,"max_tokens":4000`))
	// A stream has its status already; it ends with the error and without the mark of its end.
	events := s.stream("/v1/chat/completions", chatBody(`,"max_tokens":4000,"stream":true`))
	require.Contains(t, events[len(events)-1], `"code":"request_timeout"`)
	require.Greater(t, len(events), 2)
}

// A body that does not come is not waited for.
func TestBodyTime(t *testing.T) {
	s := serve(t, Options{Limits: Limits{BodyTime: 50 * time.Millisecond}})
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	require.NoError(t, err, "the connection is closed")
	require.Contains(t, string(answer), "408 Request Timeout")
	require.Contains(t, string(answer), `"code":"body_timeout"`)
}

// A client that does not read is cut off, and keeps nobody waiting until then.
func TestSlowReader(t *testing.T) {
	outcome := make(chan Outcome, 1)
	s := serve(t, Options{
		Limits: Limits{WriteTime: 300 * time.Millisecond, MaxTokens: 1 << 20, DocumentBytes: 64 << 20, BodyBytes: 64 << 20},
		Observer: Observer{Finished: func(_ context.Context, r Request, o Outcome) {
			if o.Code != "" {
				outcome <- o
			}
		}},
	})
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(1))
	// A document comes back as one large response, which no buffer of the connection's holds.
	text := strings.Repeat("x", 7000)
	put := fmt.Sprintf(`{"text":%q,"title":%q}`, text, text[:1000])
	s.ok("PUT", "/v1/documents/large", put, nil)
	for range 3000 {
		if _, err = io.WriteString(c, "GET /v1/documents/large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			break
		}
	}
	select {
	case o := <-outcome:
		require.Equal(t, "client_too_slow", o.Code)
	case <-time.After(waitLong):
		t.Fatal("it was served for ever")
	}
	s.ok("GET", "/v1/models", "", nil)
}

func TestLimitsAreChecked(t *testing.T) {
	for want, l := range map[string]Limits{
		"BodyBytes is -1": {BodyBytes: -1}, "Segments is -2": {Segments: -2}, "QueueTime is -1ns": {QueueTime: -1},
	} {
		_, err := New(Options{Engine: engine(t), Limits: l})
		require.ErrorContains(t, err, want)
	}
	_, err := New(Options{})
	require.Error(t, err)
	l, err := Limits{Queue: -1}.complete()
	require.NoError(t, err)
	require.Zero(t, l.Queue)
	l, err = Limits{}.complete()
	require.NoError(t, err)
	require.Equal(t, DefaultLimits(), l)
}
