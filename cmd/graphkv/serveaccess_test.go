// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/server/access"
)

const (
	acmeKey   = "acme-key-8Jw0rPbXkq2sUoYH3nTzLd"
	globexKey = "globex-key-V5mQxC1fRt7yGe9KiSaW"
)

func TestReadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(path, []byte("acme "+acmeKey+"\n"), 0o600))
	var log bytes.Buffer
	logger, err := newLogger(&log, "text", "info")
	require.NoError(t, err)
	read := func(file string, env map[string]string) (*access.Keys, error) {
		return (&serve{keysFile: file}).readKeys(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, logger)
	}
	keys, err := read("", nil)
	require.NoError(t, err)
	require.Nil(t, keys)
	keys, err = read(path, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"acme"}, keys.Namespaces())
	keys, err = read("", map[string]string{keysVariable: "globex=" + globexKey + ",acme=" + acmeKey})
	require.NoError(t, err)
	require.Equal(t, []string{"acme", "globex"}, keys.Namespaces())
	require.Empty(t, log.String())

	_, err = read(path, map[string]string{keysVariable: "globex=" + globexKey})
	require.ErrorContains(t, err, "give one of them")
	_, err = read("", map[string]string{keysVariable: ""}) // a secret that did not arrive must not open the server
	require.ErrorContains(t, err, "GRAPHKV_API_KEYS has no keys")
	_, err = read(path+"x", nil)
	require.ErrorIs(t, err, os.ErrNotExist)

	if runtime.GOOS == "windows" {
		return
	}
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o440: false, 0o644: true, 0o660: true, 0o602: true} {
		log.Reset()
		require.NoError(t, os.Chmod(path, mode))
		_, err = read(path, nil)
		require.NoError(t, err)
		require.Equal(t, warned, bytes.Contains(log.Bytes(), []byte("level=WARN")), "%o: %s", mode, log.String())
		require.NotContains(t, log.String(), acmeKey)
	}
}

// Who has no key holds no connection for long, by a body that does not come or by answers that are not read.
func TestStrangersAreCutOff(t *testing.T) {
	needSignals(t)
	s := start(t, []string{keysVariable + "=acme=" + acmeKey}, "--header-timeout", "100ms", "--body-timeout", "200ms", "--write-timeout", "300ms")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(waitLong)))
		return c
	}
	for _, request := range []string{"POST /v1/completions", "GET /v1/models", "GET /", "GET /healthz", "POST /v1//completions", "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer " + acmeKey + "\r\nX:"} {
		c := dial()
		_, err := io.WriteString(c, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err, "%s: the connection is kept", request)
	}
	c := dial()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(1))
	var err error
	for n := 0; err == nil && n < 1<<20; n++ {
		_, err = io.WriteString(c, "GET /app.js HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is served for ever")

	// An answer may take longer than all of these times.
	resp, body := s.send("POST", s.url+"/v1/completions", completion("x", 4000, ""), "Authorization", "Bearer "+acmeKey)
	require.Equal(t, 200, resp.StatusCode, body)
	require.Contains(t, body, `"finish_reason":"length"`)
}

func TestOpenServersListenOnLoopback(t *testing.T) {
	keys, err := access.ParseKeys("acme "+acmeKey, "keys")
	require.NoError(t, err)
	for address, loopback := range map[string]bool{"127.0.0.1": true, "127.8.9.1": true, "::1": true, "0.0.0.0": false, "::": false, "192.0.2.1": false, "fe80::1": false} {
		at := &net.TCPAddr{IP: net.ParseIP(address), Port: 80}
		require.Equal(t, loopback, (&serve{}).mayListen(at, nil) == nil, address)
		require.NoError(t, (&serve{}).mayListen(at, keys))
		require.NoError(t, (&serve{insecureOpen: true}).mayListen(at, nil))
	}
	require.ErrorIs(t, (&serve{}).mayListen(&net.UnixAddr{Name: "x"}, nil), errOpen)
}

// A page of another site cannot use an open server on the machine of whoever looks at it.
func TestGuardOpen(t *testing.T) {
	for _, c := range []struct {
		host, method  string
		header        [2]string
		insecure, let bool
	}{
		{host: "localhost:8080", method: "POST", let: true},
		{host: "LocalHost", method: "POST", let: true},
		{host: "127.0.0.1:8080", method: "POST", let: true},
		{host: "[::1]:8080", method: "GET", let: true},
		{host: "rebound.example:8080", method: "GET"},
		{host: "localhost.example", method: "GET"},
		{host: "192.0.2.1", method: "GET"},
		{host: "", method: "GET"},
		{host: "answers.example", method: "POST", insecure: true, let: true},
		{host: "localhost:8080", method: "POST", header: [2]string{"Sec-Fetch-Site", "cross-site"}},
		{host: "localhost:8080", method: "POST", header: [2]string{"Origin", "https://evil.example"}},
		{host: "answers.example", method: "POST", header: [2]string{"Origin", "https://evil.example"}, insecure: true},
		{host: "localhost:8080", method: "POST", header: [2]string{"Sec-Fetch-Site", "same-origin"}, let: true},
		{host: "localhost:8080", method: "POST", header: [2]string{"Origin", "http://localhost:8080"}, let: true},
	} {
		var reasons []string
		let := false
		h := (&serve{insecureOpen: c.insecure}).guardOpen(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { let = true }),
			func(reason string) { reasons = append(reasons, reason) })
		r := httptest.NewRequest(c.method, "/v1/models", nil)
		r.Host = c.host
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, c.let, let, "%+v", c)
		require.Equal(t, c.let, len(reasons) == 0, "%+v", c)
		if !c.let {
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Contains(t, w.Body.String(), `"error":{`)
		}
	}
}
