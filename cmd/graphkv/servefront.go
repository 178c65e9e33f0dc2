// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/graphkv/graphkv/server"
)

// front stands before the API: it is there while the model is being loaded, and when the server drains.
type front struct {
	behind   atomic.Pointer[http.Handler] // nil: the model is being loaded
	draining atomic.Bool
}

func (f *front) open(api http.Handler) { f.behind.Store(&api) }
func (f *front) drain()                { f.draining.Store(true) }

// state is what /readyz says.
func (f *front) state() (ready bool, text string) {
	switch {
	case f.draining.Load():
		return false, "draining"
	case f.behind.Load() == nil:
		return false, "loading"
	}
	return true, "ready"
}

// probes adds /healthz and /readyz. A tier of the cache that is down makes no server unready: it answers all the same.
func (f *front) probes(mux *http.ServeMux) {
	say := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		fmt.Fprintln(w, text)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, text := f.state()
		status := http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		say(w, status, text)
	})
}

// api passes requests on when there is something to pass them to.
func (f *front) api(refused func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := f.behind.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		refused()
		server.Refuse(w, http.StatusServiceUnavailable, "server_loading", "the model is being loaded", 5*time.Second)
	})
}

// probeTime is how long a server may take to say whether it is ready.
const probeTime = 3 * time.Second

// askWhetherReady asks the server that runs with these settings. It is for containers, which have no other program to ask with.
func (s *serve) askWhetherReady(ctx context.Context) error {
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return err
	}
	switch host { // a name would need a resolver
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	scheme := "http"
	if s.tlsCert != "" {
		scheme = "https"
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	// The certificate is in the name that clients call the server by, and nothing secret is sent.
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server at %s is not ready: %s", s.address, strings.TrimSpace(string(text)))
	}
	return err
}

// notifySystemd tells the service manager that started this process, if one did and wants to know, of a change.
func notifySystemd(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
