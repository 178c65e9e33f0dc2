// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/server"
)

// MaxNamespaces is how many namespaces have series of their own; further ones share those of [OtherNamespaces].
const MaxNamespaces = 200

// OtherNamespaces is the label of namespaces without series of their own. No namespace that package access reads has this name.
const OtherNamespaces = "(other)"

// Metrics is a registry and what is counted in it.
type Metrics struct {
	registry *prometheus.Registry

	requests     *prometheus.CounterVec
	errors       *prometheus.CounterVec
	refused      *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	waited       prometheus.Histogram
	firstToken   *prometheus.HistogramVec
	betweenToken prometheus.Histogram
	input        *prometheus.CounterVec
	output       *prometheus.CounterVec
	answers      *prometheus.CounterVec
	background   *prometheus.CounterVec
	failures     *prometheus.CounterVec

	mu         sync.Mutex
	namespaces map[string]bool
}

// From a cached question's few milliseconds to what a request may take at all.
var secondsBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

// From the fastest small model to a stalled stream.
var tokenBuckets = []float64{.001, .0025, .005, .01, .02, .03, .05, .075, .1, .15, .25, .5, 1, 2.5}

// New returns metrics of the process, for a server of this version. The engine's and the cache's come with [Metrics.Watch].
func New(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "graphkv", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "graphkv", Name: name, Help: help, Buckets: buckets}
	}
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		namespaces:   make(map[string]bool),
		requests:     counter("requests_total", "Requests answered, by route and HTTP status; 499: the client had gone.", "route", "status"),
		errors:       counter("request_errors_total", "Requests answered with an error, by its code.", "code"),
		refused:      counter("requests_refused_total", "Requests that did not get to a route: a wrong API key, a rate above the namespace's, a server that is not ready.", "reason"),
		duration:     prometheus.NewHistogramVec(histogram("request_duration_seconds", "Time from a request's arrival to the end of its answer.", secondsBuckets), []string{"route"}),
		waited:       prometheus.NewHistogram(histogram("queue_wait_seconds", "Time for which requests waited until they could begin.", secondsBuckets)),
		firstToken:   prometheus.NewHistogramVec(histogram("time_to_first_token_seconds", "Time from a request's arrival to the first text of its answer.", secondsBuckets), []string{"strategy"}),
		betweenToken: prometheus.NewHistogram(histogram("inter_token_latency_seconds", "Time between one text of an answer and the next.", tokenBuckets)),
		input:        counter("input_tokens_total", "Tokens of prompts and documents: encoded, found in memory, or fetched from a lower tier.", "namespace", "source"),
		output:       counter("output_tokens_total", "Tokens generated.", "namespace"),
		answers:      counter("answers_total", "Answers that were generated to their end, by what ended them.", "finish_reason"),
		background:   counter("background_preparations_total", "Documents encoded in the background.", "result"),
		failures:     counter("cache_failures_total", "Operations that a tier of the cache failed at; the requests went on without.", "tier", "operation"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "graphkv", Name: "build_info", Help: "1, with what the program was built from and by as labels.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.errors, m.refused, m.duration, m.waited, m.firstToken, m.betweenToken, m.input, m.output, m.answers,
		m.background, m.failures, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Observer returns what counts a server's requests.
func (m *Metrics) Observer() server.Observer {
	return server.Observer{
		Admitted: func(_ context.Context, _ server.Request, waited time.Duration) { m.waited.Observe(waited.Seconds()) },
		Text: func(_ context.Context, _ server.Request, index int, since time.Duration) {
			if index > 0 {
				m.betweenToken.Observe(since.Seconds())
			}
		},
		Finished: func(_ context.Context, r server.Request, o server.Outcome) { m.finished(r, o) },
		Prepared: func(namespace string, u graphkv.Usage, _ time.Duration, err error) {
			m.tokens(namespace, u)
			result := "success"
			if err != nil {
				result = "failure"
			}
			m.background.WithLabelValues(result).Inc()
		},
	}
}

func (m *Metrics) finished(r server.Request, o server.Outcome) {
	route := r.Route
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(o.Status)).Inc()
	m.duration.WithLabelValues(route).Observe(o.Took.Seconds())
	if o.Code != "" {
		m.errors.WithLabelValues(o.Code).Inc()
	}
	m.tokens(r.Namespace, o.Usage)
	if o.FirstText > 0 {
		strategy := string(o.Strategy)
		if strategy == "" {
			strategy = "plan"
		}
		m.firstToken.WithLabelValues(strategy).Observe(o.FirstText.Seconds())
	}
	if o.FinishReason != "" {
		m.answers.WithLabelValues(string(o.FinishReason)).Inc()
	}
}

func (m *Metrics) tokens(namespace string, u graphkv.Usage) {
	if u == (graphkv.Usage{}) {
		return
	}
	namespace = m.namespace(namespace)
	m.input.WithLabelValues(namespace, "encoded").Add(float64(u.EncodedTokens))
	m.input.WithLabelValues(namespace, "memory").Add(float64(u.CachedTokens - u.FetchedTokens))
	m.input.WithLabelValues(namespace, "fetched").Add(float64(u.FetchedTokens))
	m.output.WithLabelValues(namespace).Add(float64(u.CompletionTokens))
}

// namespace returns the label of a namespace.
func (m *Metrics) namespace(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.namespaces[name] {
		if len(m.namespaces) >= MaxNamespaces {
			return OtherNamespaces
		}
		m.namespaces[name] = true
	}
	return name
}

// Refused counts a request that did not get to a route. reason is one of few words.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// Events returns a listener that counts what goes wrong in the tiers of a cache.
func (m *Metrics) Events() kvcache.EventListener {
	return kvcache.EventListener{Failed: func(e kvcache.FailEvent) { m.failures.WithLabelValues(e.Tier, e.Op).Inc() }}
}

// Watch adds the figures of an engine and of the server in front of it. It may be called once.
func (m *Metrics) Watch(e *graphkv.Engine, s *server.Server) {
	m.registry.MustRegister(&engineCollector{stats: e.Stats, load: s.Load})
}
