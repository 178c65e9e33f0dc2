// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/access"
	"github.com/graphkv/graphkv/server/metrics"
	"github.com/graphkv/graphkv/server/servertest"
	"github.com/graphkv/graphkv/server/tracing"
)

// FuzzRequest sends any bytes that are an HTTP request through all that stands before the API, and the API: nothing panics, nothing is
// the server's fault, nobody gets in without the key but to the page and the probes, and every answer names its request.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + acmeKey + "\r\n\r\n",
		"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + acmeKey + "\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{\"prompt\":\"a\",\"max_tokens\":1}  ",
		"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: bearer " + acmeKey + "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /generate_block HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\nAuthorization: Bearer " + acmeKey + "\r\nContent-Length: 2\r\n\r\n{}",
		"GET / HTTP/1.0\r\nX-Request-Id: \t a\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n\r\n",
		"GET /v1/models HTTP/1.1\r\nHost: localhost\r\ntraceparent: 00-00000000000000000000000000000000-0000000000000000-ff\r\nX-Request-Id: \xff\r\n\r\n",
		"PUT /v1/documents/a%2f..%2fb HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Bearer " + acmeKey + "\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n{\"text\": \"a\"}",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nAuthorization: Basic Og==\r\n\r\n",
		"POST /v1/graphkv/trace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + acmeKey + "\r\nContent-Type: application/json\r\nContent-Length: 80\r\n\r\n{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"documents\":[{\"id\":\"a\",\"text\":\"b\"}]}",
		"POST /v1/graphkv/explain HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + acmeKey + "\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"query\":\"a\"}",
		"POST /v1/graphkv/plan HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nSec-Fetch-Site: none\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	e, err := graphkv.Open(servertest.Model(f), graphkv.WithCacheBytes(1<<20))
	require.NoError(f, err)
	f.Cleanup(func() { e.Close() })
	api, err := server.New(server.Options{Engine: e, Limits: server.Limits{MaxTokens: 4, PromptTokens: 500}})
	require.NoError(f, err)
	keys, err := access.ParseKeys("acme "+acmeKey, "keys")
	require.NoError(f, err)
	logger, err := newLogger(io.Discard, "json", "debug")
	require.NoError(f, err)
	tracer, err := tracing.New(f.Context(), tracing.Options{Endpoint: "http://127.0.0.1:1", Failed: func(error) {}})
	require.NoError(f, err)
	var handlers [2]http.Handler
	for i := range handlers {
		r := &running{serve: &serve{}, log: logger, metrics: metrics.New(""), tracer: tracer}
		r.keys.Store(keys)
		r.front.open(api.Handler())
		handlers[i] = r.handler(i == 1)
	}
	authorised := regexp.MustCompile(`^(?i:bearer) +` + acmeKey + ` *$`)
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, h := range handlers {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
			if err != nil {
				return
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Less(t, w.Code, 500, "%s", w.Body)
			page := w.Header().Get("Content-Security-Policy") != "" // is for everybody, as the probes are
			if w.Code == http.StatusOK && i == 1 && !page && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
				require.Len(t, r.Header["Authorization"], 1)
				require.Regexp(t, authorised, r.Header.Get("Authorization"))
			}
			if id := w.Header().Get("X-Request-Id"); id != "" {
				require.Regexp(t, requestID, id)
			}
		}
	})
}
