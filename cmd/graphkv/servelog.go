// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/tracing"
)

// newLogger returns a logger whose lines name the request that they are about. Durations are in seconds in JSON.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: l}
	if format == "json" {
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr { // else they are numbers of nanoseconds
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.Float64Value(a.Value.Duration().Seconds())
			}
			return a
		}
		return slog.New(ofRequest{slog.NewJSONHandler(w, o)}), nil
	}
	return slog.New(ofRequest{slog.NewTextHandler(w, o)}), nil
}

// ofRequest adds the id of a context's request to a line.
type ofRequest struct{ slog.Handler }

func (h ofRequest) Handle(ctx context.Context, r slog.Record) error {
	if x, ok := ctx.Value(logEntryKey{}).(*logEntry); ok {
		r.AddAttrs(slog.String("request_id", x.id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h ofRequest) WithAttrs(a []slog.Attr) slog.Handler { return ofRequest{h.Handler.WithAttrs(a)} }
func (h ofRequest) WithGroup(name string) slog.Handler   { return ofRequest{h.Handler.WithGroup(name)} }

// logEntry is a request and its answer, for the log.
type logEntry struct {
	id      string
	request server.Request // as far as it has got to the server
	outcome server.Outcome
	trace   string
}

type logEntryKey struct{}

// exchangeObserver notes what the server says about a request.
func exchangeObserver() server.Observer {
	return server.Observer{Finished: func(ctx context.Context, r server.Request, o server.Outcome) {
		if x, ok := ctx.Value(logEntryKey{}).(*logEntry); ok {
			x.request, x.outcome, x.trace = r, o, tracing.ID(ctx)
		}
	}}
}

// requestID is what X-Request-Id may be to be taken over: nothing that could pass for another line or field of a log.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// logRequests gives every request an id, or takes its own, and logs one line about it. Paths, which can be any text, are left out: there is
// the route.
func logRequests(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &logEntry{id: r.Header.Get("X-Request-Id")}
		if !requestID.MatchString(x.id) {
			x.id = rand.Text()
		}
		w.Header().Set("X-Request-Id", x.id)
		ctx := context.WithValue(r.Context(), logEntryKey{}, x)
		seen := &seenWriter{ResponseWriter: w}
		defer func() {
			v := recover()
			if v != nil && v != http.ErrAbortHandler {
				log.ErrorContext(ctx, "a handler panicked", "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
				if seen.status == 0 {
					server.Refuse(seen, http.StatusInternalServerError, "internal_error", "an internal error, which the server's log describes", 0)
					v = nil
				} else {
					v = http.ErrAbortHandler // what was sent is not all
				}
			}
			x.log(ctx, log, r, seen, time.Since(start))
			if v != nil {
				panic(v)
			}
		}()
		next.ServeHTTP(seen, r.WithContext(ctx))
	})
}

func (x *logEntry) log(ctx context.Context, log *slog.Logger, r *http.Request, w *seenWriter, took time.Duration) {
	status, route := w.status, x.request.Route
	if x.outcome.Status != 0 {
		status = x.outcome.Status
	}
	if route == "" {
		route = "none"
	}
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelWarn
	}
	args := []slog.Attr{
		slog.String("route", route), slog.Int("status", status), slog.String("remote", r.RemoteAddr),
		slog.Int64("bytes", w.bytes), slog.Duration("took", took.Round(time.Microsecond)),
	}
	add := func(set bool, a slog.Attr) {
		if set {
			args = append(args, a)
		}
	}
	o := x.outcome
	add(x.request.Namespace != "", slog.String("namespace", x.request.Namespace))
	add(o.Code != "", slog.String("code", o.Code))
	add(x.trace != "", slog.String("trace_id", x.trace))
	add(o.Waited >= time.Millisecond, slog.Duration("waited", o.Waited.Round(time.Microsecond)))
	if o.Usage.PromptTokens > 0 {
		args = append(args, slog.String("strategy", string(o.Strategy)), slog.Int("prompt_tokens", o.Usage.PromptTokens),
			slog.Int("cached_tokens", o.Usage.CachedTokens), slog.Int("completion_tokens", o.Usage.CompletionTokens),
			slog.Duration("first_text", o.FirstText.Round(time.Microsecond)), slog.String("finish_reason", string(o.FinishReason)))
	}
	log.LogAttrs(ctx, level, "request", args...)
}

// seenWriter notes what is sent.
type seenWriter struct {
	http.ResponseWriter
	status int // 0: nothing is sent
	bytes  int64
}

// Unwrap is for [http.ResponseController].
func (w *seenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the first status that is final.
func (w *seenWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *seenWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush implements [http.Flusher].
func (w *seenWriter) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	http.NewResponseController(w.ResponseWriter).Flush()
}
