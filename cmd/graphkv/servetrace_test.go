// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Spans leave the process when it is told to stop, belong to the caller's trace, and hold no prompt.
func TestServeSendsTraces(t *testing.T) {
	needSignals(t)
	const secret, id, parent = "XyzzyPlugh", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	var mu sync.Mutex
	var all []byte
	names := map[string]string{} // of spans, and their parents'
	ids := map[string]string{}
	stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(body)
		}
		b, err := io.ReadAll(body)
		var q collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(b, &q) != nil {
			t.Error("no export request")
		}
		all = append(all, b...)
		for _, rs := range q.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					names[span.Name] = hex.EncodeToString(span.ParentSpanId)
					ids[span.Name] = hex.EncodeToString(span.TraceId) + hex.EncodeToString(span.SpanId)
				}
			}
		}
	}))
	defer stub.Close()
	s := start(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + stub.URL})
	require.Equal(t, 200, s.status("POST", "/v1/completions", completion(secret, 4, ""), "traceparent", "00-"+id+"-"+parent+"-01"))
	s.waitFor(`"trace_id":"` + id + `"`)
	require.Equal(t, 0, s.terminate(syscall.SIGTERM))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, parent, names["POST /v1/completions"])
	for _, child := range []string{"queue", "prepare", "decode"} {
		require.Equal(t, ids["POST /v1/completions"], id+names[child], child)
	}
	require.NotContains(t, string(all), secret)
	require.NotContains(t, s.log(), secret)
}
