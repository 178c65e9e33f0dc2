// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/access"
)

// keysVariable holds API keys. It is no setting: arguments and files of settings are seen by many.
const keysVariable = variablePrefix + "API_KEYS"

// readKeys returns the API keys, nil if there are none.
func (s *serve) readKeys(lookup func(string) (string, bool), log *slog.Logger) (*access.Keys, error) {
	text, ok := lookup(keysVariable)
	switch {
	case s.keysFile != "" && ok:
		return nil, fmt.Errorf("API keys are in %s and in %s; give one of them", s.keysFile, keysVariable)
	case ok:
		return access.ParseKeys(text, keysVariable)
	case s.keysFile == "":
		return nil, nil
	}
	b, err := os.ReadFile(s.keysFile)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(s.keysFile); err == nil && tooOpen(info.Mode()) {
		log.Warn("others than its owner may read or change the file of API keys", "file", s.keysFile, "mode", info.Mode().String())
	}
	return access.ParseKeys(string(b), s.keysFile)
}

// tooOpen tells whether a file of secrets lets everybody read it, or more than its owner change it. That a group may read it is how a secret gets
// to a service.
func tooOpen(m fs.FileMode) bool { return runtime.GOOS != "windows" && m.Perm()&0o026 != 0 }

// errOpen says why a server does not start.
var errOpen = errors.New("without API keys (--keys-file, or the variable " + keysVariable + ") the server listens on loopback addresses only; --insecure-open lets whoever reaches it in")

// mayListen refuses an open server beyond loopback.
func (s *serve) mayListen(at net.Addr, keys *access.Keys) error {
	if keys != nil || s.insecureOpen {
		return nil
	}
	if a, ok := at.(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%v: %w", at, errOpen)
}

// guardOpen keeps pages that a user of this machine has open in a browser from using a server without keys: those of other sites, and those
// that have given the machine's own address to a name of theirs. Behind --insecure-open any name is good.
func (s *serve) guardOpen(next http.Handler, refused func(reason string)) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refused("origin")
		server.Refuse(w, http.StatusForbidden, "cross_origin", "pages of other sites may not use this server", 0)
	}))
	next = cross.Handler(next)
	if s.insecureOpen {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !namesLoopback(r.Host) {
			refused("host")
			server.Refuse(w, http.StatusForbidden, "unknown_host", "a server without API keys answers to localhost only", 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// namesLoopback tells whether a Host header is of this machine itself.
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
