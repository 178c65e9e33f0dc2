// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/access"
	"github.com/graphkv/graphkv/server/metrics"
	"github.com/graphkv/graphkv/server/page"
	"github.com/graphkv/graphkv/server/tracing"
)

// maxHeader bounds the header of a request, in bytes: keys, ids and what proxies add.
const maxHeader = 64 << 10

// farewell is how long the last answers may take to leave, and the last spans to arrive, when all is done.
const farewell = 5 * time.Second

// running is a server that runs.
type running struct {
	*serve
	log     *slog.Logger
	keys    atomic.Pointer[access.Keys] // nil: an open server
	cert    *certificate                // nil: no TLS
	metrics *metrics.Metrics
	tracer  *tracing.Tracer // nil: no traces
	front   front
	servers []*http.Server
	failed  chan error // of a listener
}

// serve runs the server until cmd's context ends and what is under way is finished.
func (s *serve) serve(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	r := &running{serve: s, metrics: metrics.New(version()), failed: make(chan error, 2)}
	if r.log, err = newLogger(cmd.ErrOrStderr(), s.logFormat, s.logLevel); err != nil {
		return err
	}
	defer r.stop()
	if err := r.start(ctx); err != nil {
		return err
	}
	events := tellBoth(newTierLog(r.log).listener(), r.metrics.Events())
	e, err := s.openEngine(ctx, cmd, r.log, events)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before there was anything to finish
		}
		return err
	}
	defer func() {
		r.stop() // before what answers requests goes away
		if e := e.Close(); e != nil {
			r.log.Warn("some of what was encoded is not kept", "error", e)
		}
	}()
	observers := []server.Observer{r.metrics.Observer(), exchangeObserver()}
	if r.tracer != nil {
		observers = append([]server.Observer{r.tracer.Observer()}, observers...)
	}
	api, err := server.New(server.Options{
		Engine: e, Model: s.modelName, Limits: s.bounds(), Observer: server.Observers(observers...), Logger: r.log, LogPrompts: s.logPrompts,
	})
	if err != nil {
		return err
	}
	r.metrics.Watch(e, api)
	r.front.open(api.Handler())
	r.log.Info("ready")
	if err := notifySystemd("READY=1"); err != nil {
		r.log.Warn("systemd was not told", "error", err)
	}
	select {
	case <-ctx.Done():
	case err = <-r.failed:
	}
	return errors.Join(err, r.drain(api))
}

// start listens, before the model is there: whoever asks is told that it is being loaded, and an address that is taken is found out at once.
func (r *running) start(ctx context.Context) error {
	keys, err := r.readKeys(os.LookupEnv, r.log)
	if err != nil {
		return err
	}
	r.keys.Store(keys)
	if r.tlsCert != "" {
		if r.cert, err = newCertificate(r.tlsCert, r.tlsKey, r.log); err != nil {
			return err
		}
	}
	if r.otlp != "" || tracing.Wanted(os.Getenv) {
		if r.tracer, err = tracing.New(ctx, tracing.Options{Endpoint: r.otlp, Version: version(), Failed: func(err error) {
			r.log.Warn("traces are not sent", "error", err)
		}}); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		return err
	}
	if err := r.mayListen(l.Addr(), keys); err != nil {
		return errors.Join(err, l.Close())
	}
	r.listen(l, "listening", r.handler(keys != nil))
	if r.metricsAddress != "" {
		l, err := net.Listen("tcp", r.metricsAddress)
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		r.front.probes(mux)
		mux.Handle("GET /metrics", r.metrics.Handler())
		r.listen(l, "metrics", mux)
	}
	r.reloadOnHangup(ctx)
	return nil
}

// listen serves connections of l in the background.
func (r *running) listen(l net.Listener, what string, h http.Handler) {
	// The times of whole requests are for those that do not get to the API, such as ones without a key: the http package reads what there is of
	// their bodies. The API sets its own. What the package logs is about connections, such as those of port scanners.
	h1 := &http.Server{
		Handler: h, ReadHeaderTimeout: r.headerTime, IdleTimeout: r.idleTime, MaxHeaderBytes: maxHeader,
		ReadTimeout: r.headerTime + r.limits.BodyTime, WriteTimeout: r.limits.WriteTime,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	serve := h1.Serve
	if r.cert != nil && what == "listening" {
		h1.TLSConfig = r.cert.config()
		serve = func(l net.Listener) error { return h1.ServeTLS(l, "", "") }
	}
	r.servers = append(r.servers, h1)
	r.log.Info(what, "address", l.Addr().String(), "tls", h1.TLSConfig != nil)
	go func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.failed <- err
		}
	}()
}

// handler returns what answers at the main address.
func (r *running) handler(keyed bool) http.Handler {
	refused := func(reason string) func() { return func() { r.metrics.Refused(reason) } }
	api := access.Rate(r.rate).Limit(r.front.api(refused("loading")), refused("rate"))
	if keyed {
		api = access.Authenticate(r.keys.Load, api, refused("key"))
	} else {
		api = r.guardOpen(api, r.metrics.Refused)
	}
	if r.tracer != nil {
		api = r.tracer.Continue(api)
	}
	mux := http.NewServeMux()
	r.front.probes(mux)
	if !keyed && r.metricsAddress == "" { // they tell of all namespaces
		mux.Handle("GET /metrics", r.guardOpen(r.metrics.Handler(), r.metrics.Refused))
	}
	mux.Handle("/", logRequests(r.log, page.Handler(api))) // the page is the same for everybody; what it asks for is not
	return mux
}

// reloadOnHangup reads keys and certificate again on SIGHUP, until ctx ends. What cannot be used changes nothing.
func (r *running) reloadOnHangup(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				r.reload()
			}
		}
	}()
}

func (r *running) reload() {
	if r.cert != nil {
		r.cert.reload()
	}
	if r.keysFile == "" {
		return
	}
	keys, err := r.readKeys(os.LookupEnv, r.log)
	if err != nil {
		r.log.Error("the new API keys cannot be used; those before stay", "error", err)
		return
	}
	r.keys.Store(keys)
	r.log.Info("the API keys were read again", "keys", keys.Len(), "namespaces", keys.Namespaces())
}

// drain finishes what is under way. New requests are refused meanwhile, and connections still taken, so that clients hear of it.
func (r *running) drain(api *server.Server) error {
	atWork, waiting := api.Load()
	r.log.Info("draining", "running", atWork, "waiting", waiting, "at most", r.drainTime)
	r.front.drain()
	if err := notifySystemd("STOPPING=1"); err != nil {
		r.log.Warn("systemd was not told", "error", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.drainTime)
	defer cancel()
	if err := api.Drain(ctx); err != nil {
		err = fmt.Errorf("answers were cut off that were not finished within drain-time, %v", r.drainTime)
		r.log.Error(err.Error())
		return err
	}
	r.log.Info("drained")
	return nil
}

// stop ends all listeners and connections. It may be called twice.
func (r *running) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	for _, s := range r.servers {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
	r.servers = nil
	if r.tracer != nil {
		if err := r.tracer.Shutdown(ctx); err != nil {
			r.log.Warn("the last traces are lost", "error", err)
		}
		r.tracer = nil
	}
}
