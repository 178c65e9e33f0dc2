// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The time for which a client may not read is counted while it is written to, and not
// while the model is at work: in HTTP/2 a deadline ends a stream that nobody writes to.
func TestPausesDoNotEndStreams(t *testing.T) {
	s := serve(t, Options{Limits: Limits{WriteTime: 50 * time.Millisecond}})
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Handler().ServeHTTP(w, r.WithContext(WithNamespace(r.Context(), "held")))
	}))
	h.EnableHTTP2 = true
	h.StartTLS()
	t.Cleanup(h.Close)
	r := s.request(t.Context(), "POST", tracePath, traceBody(`{"strategy":"graphkv"}`))
	r.URL.Scheme, r.URL.Host = "https", h.Listener.Addr().String()
	resp, err := h.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 2, resp.ProtoMajor)
	time.AfterFunc(200*time.Millisecond, func() { close(s.held) })
	events, err := readEvents(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "mask", tell(t, events).order[5])
}

// A client that has closed its half of the connection counts as gone. If it still
// listens, what it gets is no success.
func TestHalfClosedConnection(t *testing.T) {
	s := serve(t, Options{Limits: Limits{Concurrent: 1}})
	defer s.occupy()()
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"x\"}")
	require.NoError(t, err)
	s.waitLoad(1, 1)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "HTTP/1.1 499 ")
	require.Contains(t, string(answer), `"code":"canceled"`)
}
