// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/server"
)

// logged runs a handler behind the log and returns what was answered and written.
func logged(t testing.TB, r *http.Request, h http.HandlerFunc) (w *httptest.ResponseRecorder, line map[string]any, all string) {
	t.Helper()
	var log bytes.Buffer
	logger, err := newLogger(&log, "json", "info")
	require.NoError(t, err)
	w = httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil {
				require.Equal(t, http.ErrAbortHandler, v)
			}
		}()
		logRequests(logger, h).ServeHTTP(w, r)
	}()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &line))
	return w, line, log.String()
}

func TestRequestIsLoggedOnce(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions?secret", nil)
	r.Header.Set("X-Request-Id", "abc-1.2:3")
	w, line, all := logged(t, r, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		exchangeObserver().Finished(r.Context(), server.Request{Route: "POST /v1/chat/completions", Namespace: "acme"}, server.Outcome{
			Status: 200, Strategy: graphkv.Block, FinishReason: graphkv.FinishStop, Waited: 5 * time.Millisecond, FirstText: 7 * time.Millisecond,
			Usage: graphkv.Usage{PromptTokens: 10, EncodedTokens: 4, CachedTokens: 6, CompletionTokens: 2},
		})
	})
	require.Equal(t, "abc-1.2:3", w.Header().Get("X-Request-Id"))
	require.Equal(t, 1, strings.Count(all, "\n"))
	for key, want := range map[string]any{
		"level": "INFO", "msg": "request", "route": "POST /v1/chat/completions", "status": 200.0, "bytes": 5.0, "namespace": "acme", "strategy": "block",
		"prompt_tokens": 10.0, "cached_tokens": 6.0, "completion_tokens": 2.0, "waited": 0.005, "first_text": 0.007, "finish_reason": "stop", "request_id": "abc-1.2:3",
	} {
		require.Equal(t, want, line[key], key)
	}
	require.NotContains(t, all, "secret")
}

// What a client says in X-Request-Id is taken over if it can do no harm in a log, and its own id given otherwise.
func TestRequestIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"", "two words", "a\nb", `"`, "é", strings.Repeat("a", 129), "{}"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Request-Id", id)
		w, line, _ := logged(t, r, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		got := w.Header().Get("X-Request-Id")
		require.Regexp(t, `^[A-Z0-9]{26}$`, got)
		require.Equal(t, got, line["request_id"])
		require.Equal(t, 204.0, line["status"])
		require.False(t, seen[got])
		seen[got] = true
	}
}

// A handler that panics costs its own request. What it panics with may be a client's text, and is not logged.
func TestPanicsAreLogged(t *testing.T) {
	w, line, all := logged(t, httptest.NewRequest(http.MethodGet, "/", nil), func(http.ResponseWriter, *http.Request) { panic("a secret") })
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, w.Body.String(), "internal_error")
	require.Equal(t, 500.0, line["status"])
	require.Equal(t, "WARN", line["level"])
	require.Contains(t, all, "servelog_test.go")
	require.NotContains(t, all, "a secret")

	w, _, all = logged(t, httptest.NewRequest(http.MethodGet, "/", nil), func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		panic(errors.New("a secret"))
	})
	require.Equal(t, "half", w.Body.String())
	require.NotContains(t, all, "a secret")
}

// A full disk fails at every write, and is logged once a minute.
func TestTierLog(t *testing.T) {
	var log bytes.Buffer
	logger, err := newLogger(&log, "text", "info")
	require.NoError(t, err)
	counted := 0
	l := tellBoth(newTierLog(logger).listener(), kvcache.EventListener{Failed: func(kvcache.FailEvent) { counted++ }})
	for range 100 {
		l.Failed(kvcache.FailEvent{Tier: "disk", Op: "put", Err: errors.New("no space left")})
	}
	l.Failed(kvcache.FailEvent{Tier: "disk", Op: "get", Err: errors.New("damaged")})
	l.State(kvcache.StateEvent{Tier: "disk", Op: "put", Err: errors.New("no space left")})
	l.State(kvcache.StateEvent{Tier: "disk", Op: "put", Up: true})
	require.Equal(t, 101, counted)
	require.Equal(t, 3, strings.Count(log.String(), "level=WARN"), log.String())
	require.Equal(t, 1, strings.Count(log.String(), "is back"))
}

func TestFront(t *testing.T) {
	var f front
	mux := http.NewServeMux()
	f.probes(mux)
	refused := 0
	mux.Handle("/", f.api(func() { refused++ }))
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	check := func(health, ready, api int, text string) {
		t.Helper()
		code, _ := get("/healthz")
		require.Equal(t, health, code)
		code, said := get("/readyz")
		require.Equal(t, ready, code)
		require.Equal(t, text, said)
		code, _ = get("/v1/models")
		require.Equal(t, api, code)
	}
	check(200, 503, 503, "loading")
	require.Equal(t, 1, refused)
	f.open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	check(200, 200, http.StatusTeapot, "ready")
	f.drain()
	check(200, 503, http.StatusTeapot, "draining") // the API says itself that it drains
	require.Equal(t, 1, refused)
}

// The context of a request names it in whatever is logged about it, by whomever.
func TestLinesNameTheirRequest(t *testing.T) {
	var log bytes.Buffer
	logger, err := newLogger(&log, "json", "warn")
	require.NoError(t, err)
	ctx := context.WithValue(t.Context(), logEntryKey{}, &logEntry{id: "abc"})
	logger.With("a", 1).WithGroup("g").WarnContext(ctx, "odd", "b", 2)
	logger.InfoContext(ctx, "not shown")
	require.Contains(t, log.String(), `"request_id":"abc"`)
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
}
