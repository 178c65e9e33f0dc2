// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/graphkv/graphkv/server"
)

// Options say where spans go.
type Options struct {
	// Endpoint is the collector's URL, such as http://localhost:4318, to which /v1/traces is added. "" leaves it to the OTEL_EXPORTER_OTLP_ variables.
	Endpoint string
	// Version of the service, as spans give it.
	Version string
	// Failed is told what could not be sent. It is set for the whole process, as the SDK knows no other way.
	Failed func(error)
}

// Wanted tells whether the environment asks for traces: by naming a collector, and not turning the SDK off.
func Wanted(getenv func(string) string) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Tracer makes spans of requests.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New returns a tracer, which is to be shut down. It does not wait for the collector.
func New(ctx context.Context, o Options) (*Tracer, error) {
	var options []otlptracehttp.Option
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("tracing: %q is not the URL of a collector, such as http://localhost:4318", o.Endpoint)
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	}
	if o.Failed != nil {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(o.Failed))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("graphkv"), semconv.ServiceVersion(o.Version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // last, so that OTEL_SERVICE_NAME holds
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/graphkv/graphkv/server/tracing")}, nil
}

// Shutdown sends the spans that are waiting, until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Continue makes requests part of the trace that their headers name.
func (t *Tracer) Continue(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// ID returns the id of the trace that a request is part of, as 32 hexadecimal digits, or "".
func ID(ctx context.Context) string {
	if c := trace.SpanContextFromContext(ctx); c.HasTraceID() {
		return c.TraceID().String()
	}
	return ""
}

// begun is what a span's children need to know of its request.
type begun struct{ admitted time.Time }

type begunKey struct{}

// Observer returns what makes spans of a server's requests.
func (t *Tracer) Observer() server.Observer {
	return server.Observer{
		Started: func(ctx context.Context, r server.Request) context.Context {
			name, attributes := "unknown route", []attribute.KeyValue{attribute.String("graphkv.namespace", r.Namespace)}
			if method, path, ok := strings.Cut(r.Route, " "); ok {
				name = r.Route
				attributes = append(attributes, semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(path))
			}
			ctx, _ = t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(r.Start), trace.WithAttributes(attributes...))
			return context.WithValue(ctx, begunKey{}, new(begun))
		},
		Admitted: func(ctx context.Context, _ server.Request, waited time.Duration) {
			now := time.Now()
			if b, ok := ctx.Value(begunKey{}).(*begun); ok {
				b.admitted = now
			}
			t.child(ctx, "queue", now.Add(-waited), now)
		},
		Finished: func(ctx context.Context, _ server.Request, o server.Outcome) { t.finish(ctx, o) },
	}
}

// child makes a span that is over.
func (t *Tracer) child(ctx context.Context, name string, from, to time.Time, attributes ...attribute.KeyValue) {
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(to))
}

// finish ends a request's span. The engine says how long the parts took and not when they were; they came one after the
// other from when the request could begin.
func (t *Tracer) finish(ctx context.Context, o server.Outcome) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(semconv.HTTPResponseStatusCode(o.Status))
	if o.Code != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(o.Code))
	}
	if o.Status >= 500 {
		span.SetStatus(codes.Error, o.Code)
	}
	if u := o.Usage; u.PromptTokens > 0 {
		span.SetAttributes(
			attribute.String("graphkv.strategy", string(o.Strategy)),
			attribute.Bool("graphkv.stream", o.Stream),
			attribute.String("graphkv.finish_reason", string(o.FinishReason)),
			attribute.Int("gen_ai.usage.input_tokens", u.PromptTokens),
			attribute.Int("gen_ai.usage.output_tokens", u.CompletionTokens),
			attribute.Int("graphkv.tokens.encoded", u.EncodedTokens),
			attribute.Int("graphkv.tokens.cached", u.CachedTokens),
			attribute.Int("graphkv.tokens.fetched", u.FetchedTokens),
			attribute.Float64("graphkv.time_to_first_token", o.FirstText.Seconds()),
		)
	}
	b, ok := ctx.Value(begunKey{}).(*begun)
	if ok && !b.admitted.IsZero() && o.Timings.Total > 0 {
		prepared := b.admitted.Add(milliseconds(o.Timings.Prepare))
		t.child(ctx, "prepare", b.admitted, prepared,
			attribute.Int("graphkv.tokens.encoded", o.Usage.EncodedTokens), attribute.Int("graphkv.tokens.cached", o.Usage.CachedTokens))
		t.child(ctx, "decode", prepared, b.admitted.Add(milliseconds(o.Timings.Total)),
			attribute.Int("graphkv.tokens.generated", o.Usage.CompletionTokens))
	}
	span.End()
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
