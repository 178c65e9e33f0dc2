// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/server"
)

// answered reports one request that was answered, and one that found the queue full.
func answered(m *Metrics) {
	o, ctx := m.Observer(), context.Background()
	r := server.Request{Route: "POST /v1/chat/completions", Namespace: "acme", Start: time.Now()}
	o.Admitted(ctx, r, 30*time.Millisecond)
	for i, since := range []time.Duration{80 * time.Millisecond, 12 * time.Millisecond, 13 * time.Millisecond} {
		o.Text(ctx, r, i, since)
	}
	o.Finished(ctx, r, server.Outcome{
		Status: 200, Stream: true, Strategy: graphkv.GraphKV, FinishReason: graphkv.FinishStop, FirstText: 110 * time.Millisecond, Took: 135 * time.Millisecond,
		Usage: graphkv.Usage{PromptTokens: 100, EncodedTokens: 30, CachedTokens: 70, FetchedTokens: 50, CompletionTokens: 3},
	})
	o.Finished(ctx, server.Request{Route: "POST /v1/completions", Namespace: "acme"}, server.Outcome{Status: 429, Code: "queue_full", Took: time.Millisecond})
	o.Finished(ctx, server.Request{}, server.Outcome{Status: 404, Code: "not_found"})
	o.Prepared("acme", graphkv.Usage{PromptTokens: 8, EncodedTokens: 8}, time.Second, nil)
	o.Prepared("acme", graphkv.Usage{}, time.Second, errors.New("no"))
}

func TestObserver(t *testing.T) {
	m := New("v1.2.3")
	answered(m)
	m.Refused("key")
	m.Events().Failed(kvcache.FailEvent{Tier: "redis", Op: "get"})
	require.NoError(t, testutil.GatherAndCompare(m.registry, strings.NewReader(`
# HELP graphkv_answers_total Answers that were generated to their end, by what ended them.
# TYPE graphkv_answers_total counter
graphkv_answers_total{finish_reason="stop"} 1
# HELP graphkv_background_preparations_total Documents encoded in the background.
# TYPE graphkv_background_preparations_total counter
graphkv_background_preparations_total{result="failure"} 1
graphkv_background_preparations_total{result="success"} 1
# HELP graphkv_cache_failures_total Operations that a tier of the cache failed at; the requests went on without.
# TYPE graphkv_cache_failures_total counter
graphkv_cache_failures_total{operation="get",tier="redis"} 1
# HELP graphkv_input_tokens_total Tokens of prompts and documents: encoded, found in memory, or fetched from a lower tier.
# TYPE graphkv_input_tokens_total counter
graphkv_input_tokens_total{namespace="acme",source="encoded"} 38
graphkv_input_tokens_total{namespace="acme",source="fetched"} 50
graphkv_input_tokens_total{namespace="acme",source="memory"} 20
# HELP graphkv_output_tokens_total Tokens generated.
# TYPE graphkv_output_tokens_total counter
graphkv_output_tokens_total{namespace="acme"} 3
# HELP graphkv_request_errors_total Requests answered with an error, by its code.
# TYPE graphkv_request_errors_total counter
graphkv_request_errors_total{code="not_found"} 1
graphkv_request_errors_total{code="queue_full"} 1
# HELP graphkv_requests_refused_total Requests that did not get to a route: a wrong API key, a rate above the namespace's, a server that is not ready.
# TYPE graphkv_requests_refused_total counter
graphkv_requests_refused_total{reason="key"} 1
# HELP graphkv_requests_total Requests answered, by route and HTTP status; 499: the client had gone.
# TYPE graphkv_requests_total counter
graphkv_requests_total{route="POST /v1/chat/completions",status="200"} 1
graphkv_requests_total{route="POST /v1/completions",status="429"} 1
graphkv_requests_total{route="none",status="404"} 1
`), "graphkv_answers_total", "graphkv_background_preparations_total", "graphkv_cache_failures_total", "graphkv_input_tokens_total", "graphkv_output_tokens_total",
		"graphkv_request_errors_total", "graphkv_requests_refused_total", "graphkv_requests_total"))
	page := scrape(t, m)
	for _, line := range []string{
		`graphkv_inter_token_latency_seconds_count 2`,
		`graphkv_inter_token_latency_seconds_bucket{le="0.01"} 0`,
		`graphkv_inter_token_latency_seconds_bucket{le="0.02"} 2`,
		`graphkv_time_to_first_token_seconds_bucket{strategy="graphkv",le="0.1"} 0`,
		`graphkv_time_to_first_token_seconds_bucket{strategy="graphkv",le="0.25"} 1`,
		`graphkv_queue_wait_seconds_sum 0.03`,
		`graphkv_request_duration_seconds_count{route="POST /v1/chat/completions"} 1`,
		`version="v1.2.3"} 1`, `go_goroutines `, `process_start_time_seconds `,
	} {
		require.Contains(t, page, line)
	}
}

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	return w.Body.String()
}

// The engine's figures are those of its tiers; two tiers of one kind have series of their own.
func TestEngineCollector(t *testing.T) {
	m := New("")
	m.registry.MustRegister(&engineCollector{
		stats: func() graphkv.Stats {
			return graphkv.Stats{Passes: 7, Tokens: 70, Cache: kvcache.Metrics{Hits: 3, Misses: 2, Waits: 1, Tiers: []kvcache.Metrics{
				{Tier: "memory", Hits: 2, Bytes: 4096, Budget: 8192},
				{Tier: "redis", Hits: 1, ReadTime: 1500 * time.Millisecond},
				{Tier: "redis", Down: true},
			}}}
		},
		load: func() (int, int) { return 4, 5 },
	})
	page := scrape(t, m)
	for _, line := range []string{
		"graphkv_requests_running 4", "graphkv_requests_waiting 5", "graphkv_forward_passes_total 7", "graphkv_forward_tokens_total 70",
		`graphkv_segment_lookups_total{result="hit"} 3`, `graphkv_segment_lookups_total{result="miss"} 2`, `graphkv_segment_lookups_total{result="joined"} 1`,
		`graphkv_cache_hits_total{tier="memory"} 2`, `graphkv_cache_bytes{tier="memory"} 4096`, `graphkv_cache_budget_bytes{tier="memory"} 8192`,
		`graphkv_cache_read_seconds_total{tier="redis"} 1.5`, `graphkv_cache_up{tier="redis"} 1`, `graphkv_cache_up{tier="redis-2"} 0`,
	} {
		require.Contains(t, page, line+"\n")
	}
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestNamesAreConventional(t *testing.T) {
	m := New("v1")
	answered(m)
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// A real engine's figures come through, and many namespaces do not become many series.
func TestSeriesAreBounded(t *testing.T) {
	e, err := graphkv.Open("../../model/testdata/tiny/tiny-F32.gguf")
	require.NoError(t, err)
	defer e.Close()
	s, err := server.New(server.Options{Engine: e, Model: "tiny"})
	require.NoError(t, err)
	m := New("")
	m.Watch(e, s)
	o := m.Observer()
	for i := range 3 * MaxNamespaces {
		o.Finished(t.Context(), server.Request{Namespace: fmt.Sprint("n", i)}, server.Outcome{Status: 200, Usage: graphkv.Usage{EncodedTokens: 1}})
	}
	page := scrape(t, m)
	require.Contains(t, page, "graphkv_input_tokens_total{namespace=\"(other)\",source=\"encoded\"} 400\n")
	require.Equal(t, MaxNamespaces+1, strings.Count(page, "graphkv_output_tokens_total{"))
	require.Contains(t, page, `graphkv_cache_budget_bytes{tier="memory"} 2.147483648e+09`)
}

// Who imports the server gets neither this package's dependencies nor tracing's.
func TestServerDoesNotImportMetrics(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command; not under -short")
	}
	out, err := exec.Command("go", "list", "-deps", "github.com/graphkv/graphkv/server", "github.com/graphkv/graphkv/server/access").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "github.com/graphkv/graphkv/server\n")
	for _, foreign := range []string{"prometheus", "opentelemetry", "google.golang.org", "cobra"} {
		require.NotContains(t, string(out), foreign)
	}
}
