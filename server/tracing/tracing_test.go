// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/server"
)

// stub is an OTLP collector that keeps what it is sent.
type stub struct {
	*httptest.Server
	mu       sync.Mutex
	spans    map[string]*spans.Span
	resource map[string]string
}

func newStub(t testing.TB) *stub {
	s := &stub{spans: make(map[string]*spans.Span), resource: make(map[string]string)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s with %s", r.URL.Path, r.Header.Get("Content-Type"))
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Error(err)
			}
		}
		b, err := io.ReadAll(body)
		var q collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(b, &q) != nil {
			t.Errorf("no export request: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, rs := range q.ResourceSpans {
			for k, v := range values(rs.Resource.Attributes) {
				s.resource[k] = v.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					s.spans[span.Name] = span
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		out, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		w.Write(out)
	}))
	t.Cleanup(s.Close)
	return s
}

func values(attributes []*common.KeyValue) map[string]*common.AnyValue {
	m := make(map[string]*common.AnyValue)
	for _, a := range attributes {
		m[a.Key] = a.Value
	}
	return m
}

// request reports one request the way a server does.
func request(ctx context.Context, o server.Observer, outcome server.Outcome) {
	r := server.Request{Route: "POST /v1/chat/completions", Namespace: "acme", Start: time.Now()}
	ctx = o.Started(ctx, r)
	if outcome.Timings.Total > 0 {
		o.Admitted(ctx, r, 2*time.Millisecond)
	}
	o.Finished(ctx, r, outcome)
}

func TestRequestIsASpanWithChildren(t *testing.T) {
	s := newStub(t)
	tracer, err := New(t.Context(), Options{Endpoint: s.URL, Version: "v1.2.3"})
	require.NoError(t, err)
	const parent, id = "00f067aa0ba902b7", "4bf92f3577b34da6a3ce929d0e0e4736"
	h := tracer.Continue(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, id, ID(r.Context()))
		request(r.Context(), tracer.Observer(), server.Outcome{
			Status: 200, Strategy: graphkv.Block, FinishReason: graphkv.FinishStop, FirstText: 45 * time.Millisecond,
			Usage:   graphkv.Usage{PromptTokens: 100, EncodedTokens: 30, CachedTokens: 70, FetchedTokens: 50, CompletionTokens: 3},
			Timings: graphkv.Timings{Prepare: 40, FirstToken: 41, Decode: 20, Total: 60},
		})
	}))
	r := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	r.Header.Set("traceparent", "00-"+id+"-"+parent+"-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.NoError(t, tracer.Shutdown(t.Context()))

	require.Equal(t, "graphkv", s.resource["service.name"])
	require.Equal(t, "v1.2.3", s.resource["service.version"])
	root := s.spans["POST /v1/chat/completions"]
	require.NotNil(t, root)
	require.Equal(t, id, hex.EncodeToString(root.TraceId))
	require.Equal(t, parent, hex.EncodeToString(root.ParentSpanId))
	require.Equal(t, spans.Span_SPAN_KIND_SERVER, root.Kind)
	a := values(root.Attributes)
	require.Equal(t, "/v1/chat/completions", a["http.route"].GetStringValue())
	require.Equal(t, "POST", a["http.request.method"].GetStringValue())
	require.EqualValues(t, 200, a["http.response.status_code"].GetIntValue())
	require.Equal(t, "acme", a["graphkv.namespace"].GetStringValue())
	require.EqualValues(t, 30, a["graphkv.tokens.encoded"].GetIntValue())
	require.EqualValues(t, 50, a["graphkv.tokens.fetched"].GetIntValue())
	require.EqualValues(t, 3, a["gen_ai.usage.output_tokens"].GetIntValue())

	for name, took := range map[string]time.Duration{"queue": 2 * time.Millisecond, "prepare": 40 * time.Millisecond, "decode": 20 * time.Millisecond} {
		child := s.spans[name]
		require.NotNil(t, child, name)
		require.Equal(t, root.SpanId, child.ParentSpanId, name)
		require.Equal(t, root.TraceId, child.TraceId, name)
		require.EqualValues(t, took, child.EndTimeUnixNano-child.StartTimeUnixNano, name)
	}
	require.Equal(t, s.spans["queue"].EndTimeUnixNano, s.spans["prepare"].StartTimeUnixNano)
	require.Equal(t, s.spans["prepare"].EndTimeUnixNano, s.spans["decode"].StartTimeUnixNano)
}

func TestErrorsAndTheEnvironment(t *testing.T) {
	s := newStub(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_SERVICE_NAME", "answers")
	tracer, err := New(t.Context(), Options{})
	require.NoError(t, err)
	request(t.Context(), tracer.Observer(), server.Outcome{Status: 500, Code: "internal_error"})
	tracer.Observer().Finished(tracer.Observer().Started(t.Context(), server.Request{}), server.Request{}, server.Outcome{Status: 404, Code: "not_found"})
	require.NoError(t, tracer.Shutdown(t.Context()))
	require.Equal(t, "answers", s.resource["service.name"])
	failed := s.spans["POST /v1/chat/completions"]
	require.Equal(t, spans.Status_STATUS_CODE_ERROR, failed.Status.Code)
	require.Equal(t, "internal_error", values(failed.Attributes)["error.type"].GetStringValue())
	require.Equal(t, spans.Status_STATUS_CODE_UNSET, s.spans["unknown route"].Status.GetCode())
	require.Len(t, s.spans, 2, "no children of a request that the model did not run for")
}

// Requests do not wait for a collector that is not there.
func TestDeadCollectorCostsNothing(t *testing.T) {
	s := newStub(t)
	s.Close()
	failed := make(chan error, 1)
	tracer, err := New(t.Context(), Options{Endpoint: s.URL, Failed: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}})
	require.NoError(t, err)
	start := time.Now()
	for range 5000 { // more than the queue holds
		request(t.Context(), tracer.Observer(), server.Outcome{Status: 200})
	}
	require.Less(t, time.Since(start), 2*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Error(t, errFirst(tracer.Shutdown(ctx), failed))
}

// errFirst returns whichever of the SDK's ways of telling has told.
func errFirst(err error, failed chan error) error {
	if err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func TestOptions(t *testing.T) {
	for _, endpoint := range []string{"localhost:4318", "ftp://x", "http://", "://"} {
		_, err := New(t.Context(), Options{Endpoint: endpoint})
		require.ErrorContains(t, err, "is not the URL of a collector", endpoint)
	}
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		require.Equal(t, c.want, Wanted(func(name string) string { return c.env[name] }), c.env)
	}
}
