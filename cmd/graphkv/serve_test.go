// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/server/servertest"
)

// served is the server as a process of its own.
type served struct {
	testing.TB
	cmd    *exec.Cmd
	url    string // where it listens
	ops    string // where it serves metrics, "" if nowhere else
	client *http.Client

	mu    sync.Mutex
	lines bytes.Buffer // of its log
}

// start starts a server and waits until it is ready.
func start(t testing.TB, env []string, args ...string) *served {
	t.Helper()
	s := launch(t, env, append([]string{"--model", servertest.Model(t)}, args...)...)
	s.waitFor(`"msg":"ready"`)
	return s
}

// launch starts a server and waits until it listens.
func launch(t testing.TB, env []string, args ...string) *served {
	t.Helper()
	s := &served{TB: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	s.cmd = process(t, "", append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug"}, args...)...)
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = nil
	out, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadBytes('\n')
			s.mu.Lock()
			s.lines.Write(line)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.cmd.Process.Kill()
		<-read
		s.cmd.Wait()
	})
	scheme := "http"
	for _, a := range args {
		if a == "--tls-cert" {
			scheme = "https"
		}
	}
	s.url = scheme + "://" + s.waitFor(`"msg":"listening","address":"([^"]*)"`)
	for _, a := range args {
		if a == "--metrics-address" {
			s.ops = "http://" + s.waitFor(`"msg":"metrics","address":"([^"]*)"`)
		}
	}
	return s
}

func (s *served) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.String()
}

// waitFor waits for a line of the log and returns what the pattern's group matches.
func (s *served) waitFor(pattern string) string {
	s.Helper()
	p := regexp.MustCompile(pattern)
	var m []string
	require.Eventually(s, func() bool { m = p.FindStringSubmatch(s.log()); return m != nil }, waitLong, waitShort, "no line like %s", pattern)
	return m[len(m)-1]
}

// send sends a request; header is a list of names and values. It fails the test only when the answer does not come.
func (s *served) send(method, url, body string, header ...string) (*http.Response, string) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	require.NoError(s, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(r)
	require.NoError(s, err, s.log())
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s, err)
	return resp, string(b)
}

func (s *served) status(method, path, body string, header ...string) int {
	s.Helper()
	resp, _ := s.send(method, s.url+path, body, header...)
	return resp.StatusCode
}

// terminate sends a signal and returns the exit status.
func (s *served) terminate(signal os.Signal) int {
	s.Helper()
	require.NoError(s, s.cmd.Process.Signal(signal))
	return s.exit()
}

func (s *served) exit() int {
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func needSignals(t testing.TB) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent a signal there")
	}
}

func completion(prompt string, tokens int, more string) string {
	return fmt.Sprintf(`{"prompt": %q, "max_tokens": %d, "temperature": 0%s}`, prompt, tokens, more)
}

func TestServe(t *testing.T) {
	needSignals(t)
	s := start(t, nil)
	require.Equal(t, 200, s.status("GET", "/healthz", ""))
	require.Equal(t, 200, s.status("GET", "/readyz", ""))
	resp, body := s.send("GET", s.url+"/v1/models", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, body, `"id":"servertest"`)
	require.Len(t, resp.Header.Get("X-Request-Id"), 26)
	resp, body = s.send("POST", s.url+"/v1/completions", completion("Once upon a time", 8, ""))
	require.Equal(t, 200, resp.StatusCode, body)

	_, page := s.send("GET", s.url+"/metrics", "")
	for _, line := range []string{
		`graphkv_requests_total{route="POST /v1/completions",status="200"} 1`, `graphkv_output_tokens_total{namespace=""} 8`,
		`graphkv_time_to_first_token_seconds_count{strategy="`, `graphkv_cache_up{tier="disk"} 1`, `graphkv_requests_running 0`,
	} {
		require.Contains(t, page, line)
	}
	require.Equal(t, 403, s.status("POST", "/v1/completions", completion("x", 1, ""), "Origin", "https://evil.example"))
	require.Equal(t, 0, s.terminate(syscall.SIGTERM), s.log())
	require.Contains(t, s.log(), `"msg":"drained"`)
}

func TestServeRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "keys")
	require.NoError(t, os.WriteFile(bad, []byte("acme short\n"), 0o600))
	busy := launch(t, nil, "--model", servertest.Model(t))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, "--insecure-open"},
		{[]string{"--keys-file", bad}, "line 1: namespace acme: a key of 5 bytes"},
		{[]string{"--tls-cert", bad, "--tls-key", bad}, "TLS certificate"},
		{[]string{"--otlp-endpoint", "localhost:4318"}, "is not the URL of a collector"},
		{[]string{"--listen", strings.TrimPrefix(busy.url, "http://")}, "address already in use"},
		{[]string{"--model", bad + "x.gguf"}, "x.gguf"},
		{[]string{"--redis", "http://x"}, "must begin with redis://"},
		{[]string{"--probe", "--listen", "127.0.0.1:1"}, "connection refused"},
	} {
		if runtime.GOOS == "windows" && strings.Contains(c.want, "address") {
			continue // says it in other words
		}
		_, log, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0", "--model", tiny}, c.args...)...)
		require.ErrorContains(t, err, c.want, log)
	}
}

func TestServeWithKeys(t *testing.T) {
	needSignals(t)
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte("acme "+acmeKey+"\nglobex "+globexKey+"\n"), 0o600))
	s := start(t, nil, "--keys-file", keys, "--metrics-address", "127.0.0.1:0", "--namespace-rate", "0.001")
	ask := func(key string) int {
		return s.status("GET", "/v1/models", "", "Authorization", "Bearer "+key)
	}
	require.Equal(t, 200, s.status("GET", "/readyz", ""), "needs no key")
	require.Equal(t, 200, s.status("GET", "/", ""), "the page needs none either, only what it asks for")
	require.Equal(t, 401, s.status("GET", "/v1/models", ""))
	require.Equal(t, 401, s.status("GET", "/no/such/path", ""))
	require.Equal(t, 401, s.status("GET", "/metrics", "", "Authorization", "Bearer wrong"))
	require.Equal(t, 404, s.status("GET", "/metrics", "", "Authorization", "Bearer "+acmeKey), "what others do is for the operator")
	require.Equal(t, 401, ask(acmeKey+"x"))
	require.Equal(t, 200, ask(acmeKey))

	// What acme registers is not there for globex; and one namespace's rate is its own.
	auth := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	require.Less(t, s.status("PUT", "/v1/documents/d", `{"text": "A document."}`, auth(acmeKey)...), 300)
	require.Equal(t, 200, s.status("GET", "/v1/documents/d", "", auth(acmeKey)...))
	require.Equal(t, 404, s.status("GET", "/v1/documents/d", "", auth(globexKey)...))
	resp, body := s.send("POST", s.url+"/v1/completions", completion("x", 1, ""), auth(acmeKey)...)
	require.Equal(t, 429, resp.StatusCode)
	require.Contains(t, body, "rate_limit_exceeded")
	require.Regexp(t, `^(99\d|1000)$`, resp.Header.Get("Retry-After"))
	require.Equal(t, 200, s.status("POST", "/v1/completions", completion("x", 1, ""), auth(globexKey)...))

	// Keys are replaced while the server runs; a file that is wrong replaces none.
	require.NoError(t, os.WriteFile(keys, []byte("globex "+globexKey+"\n"), 0o600))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return ask(acmeKey) == 401 }, waitLong, waitShort)
	require.NoError(t, os.WriteFile(keys, []byte("acme "+acmeKey+"\nglobex "), 0o600))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.waitFor("the new API keys cannot be used")
	require.Equal(t, 401, ask(acmeKey))
	require.Equal(t, 200, ask(globexKey))

	_, page := s.send("GET", s.ops+"/metrics", "")
	require.Regexp(t, `graphkv_requests_refused_total{reason="key"} \d+\n`, page)
	require.Contains(t, page, `graphkv_requests_refused_total{reason="rate"} 1`)
	require.Contains(t, page, `graphkv_input_tokens_total{namespace="globex",source="encoded"}`)
	resp, _ = s.send("GET", s.ops+"/readyz", "")
	require.Equal(t, 200, resp.StatusCode)
	resp, _ = s.send("GET", s.ops+"/v1/models", "")
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, 0, s.terminate(os.Interrupt), s.log())
	for _, key := range []string{acmeKey, globexKey} {
		require.NotContains(t, s.log(), key)
	}
}

func TestServeOverTLS(t *testing.T) {
	needSignals(t)
	p := newPair(t)
	s := start(t, nil, "--tls-cert", p.cert, "--tls-key", p.key)
	resp, _ := s.send("GET", s.url+"/v1/models", "")
	require.Equal(t, 2, resp.ProtoMajor)
	require.EqualValues(t, 1, resp.TLS.PeerCertificates[0].SerialNumber.Int64())
	p.write(t, 2)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		s.client.CloseIdleConnections()
		resp, _ := s.send("GET", s.url+"/readyz", "")
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64() == 2
	}, waitLong, waitShort)
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}}
	_, err := old.Get(s.url + "/readyz")
	require.ErrorContains(t, err, "protocol version")

	// The probe asks over TLS, too.
	address := strings.TrimPrefix(s.url, "https://")
	mustRun(t, "", "serve", "--probe", "--listen", address, "--tls-cert", p.cert, "--tls-key", p.key)
	_, _, err = run(t, "", "serve", "--probe", "--listen", address)
	require.ErrorContains(t, err, "is not ready", "it does not speak plain HTTP")
	require.Equal(t, 0, s.terminate(syscall.SIGTERM), s.log())
}

// A server that still loads its model says so, and stops when it is told to.
func TestServeWhileLoading(t *testing.T) {
	needSignals(t)
	leave := make(chan struct{})
	hub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	}))
	defer hub.Close()
	defer close(leave)
	s := launch(t, []string{"HF_ENDPOINT=" + hub.URL, "GRAPHKV_CACHE=" + t.TempDir()}, "--model", "hf:owner/repo/model.gguf")
	require.Equal(t, 200, s.status("GET", "/healthz", ""))
	resp, body := s.send("GET", s.url+"/readyz", "")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "loading\n", body)
	resp, body = s.send("POST", s.url+"/v1/completions", completion("x", 1, ""))
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	require.Contains(t, body, "server_loading")
	_, _, err := run(t, "", "serve", "--probe", "--listen", strings.TrimPrefix(s.url, "http://"))
	require.ErrorContains(t, err, "is not ready: loading")
	require.Equal(t, 0, s.terminate(syscall.SIGTERM), s.log())
}

// No line of the log and no figure has a word that a client sent, however it was sent, unless the operator wants prompts.
func TestLogsHoldNoPrompts(t *testing.T) {
	needSignals(t)
	const secret = "XyzzyPlugh"
	use := func(s *served) {
		require.Equal(s, 200, s.status("POST", "/v1/completions", completion(secret, 4, "")))
		for _, r := range [][3]string{
			{"POST", "/v1/completions", completion(secret, 4, `, "stop": ["`+secret+`"]`)},
			{"POST", "/v1/completions", completion(secret, 4, `, "stream": true`)},
			{"POST", "/v1/chat/completions", `{"max_tokens": 4, "messages": [{"role": "user", "content": "` + secret + `"}], "documents": [{"id": "` + secret + `", "title": "` + secret + `", "text": "` + secret + `"}]}`},
			{"POST", "/v1/chat/completions", `{"messages": [{"role": "` + secret + `", "content": "` + secret + `"}]}`},
			{"POST", "/v1/completions", `{"prompt": "` + secret},
			{"POST", "/v1/completions", secret},
			{"POST", "/v1/completions", `{"` + secret + `": 1, "model": "` + secret + `"}`},
			{"PUT", "/v1/documents/" + secret, `{"text": "` + secret + `"}`},
			{"PUT", "/v1/documents/" + secret + "?prepare=true", `{"text": "` + secret + `"}`},
			{"GET", "/v1/documents/" + secret + "x", ""},
			{"GET", "/" + secret + "?" + secret, ""},
			{"POST", "/v1/graphkv/generate", `{"segments": [{"id": "` + secret + `", "text": "` + secret + `"}], "edges": [["` + secret + `", "nobody"]], "query": "` + secret + `", "strategy": "dag", "max_tokens": 2}`},
			{"POST", "/v1/graphkv/plan", `{"query": "` + secret + `", "strategy": "` + secret + `"}`},
			{"POST", "/generate_block", `{"blocks": ["` + secret + `", "` + secret + `", "` + secret + `", "` + secret + `"]}`},
			{"POST", "/generate_block", `{"blocks": "` + secret + `"}`},
		} {
			status := s.status(r[0], r[1], r[2], "Authorization", "Bearer "+secret, "Cookie", secret, "X-Request-Id", secret+" "+secret, "Referer", secret, "User-Agent", secret)
			require.Less(s, status, 500, "%s %s %s", r[0], r[1], r[2])
		}
	}
	s := start(t, nil)
	use(s)
	_, page := s.send("GET", s.url+"/metrics", "")
	require.Equal(t, 0, s.terminate(syscall.SIGTERM))
	require.Greater(t, strings.Count(s.log(), `"msg":"request"`), 10)
	require.NotContains(t, s.log(), secret)
	require.NotContains(t, page, secret)
	for line := range strings.SplitSeq(strings.TrimSpace(s.log()), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}

	s = start(t, nil, "--log-prompts")
	use(s)
	require.Equal(t, 0, s.terminate(syscall.SIGTERM))
	require.Contains(t, s.log(), secret)
	require.NotContains(t, s.log(), "Bearer "+secret)
}

// A client that sends its header a byte at a time, or one without end, is cut off.
func TestSlowAndEndlessHeadersAreCutOff(t *testing.T) {
	needSignals(t)
	s := start(t, nil, "--header-timeout", "300ms", "--idle-timeout", "300ms")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(waitLong)))
		t.Cleanup(func() { c.Close() })
		return c
	}
	slow := dial()
	_, err := io.WriteString(slow, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A")
	require.NoError(t, err)
	_, err = io.ReadAll(slow)
	require.NoError(t, err, "the server closes the connection")

	endless := dial()
	go io.Copy(endless, io.MultiReader(strings.NewReader("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: "), zeros{}))
	line, err := bufio.NewReader(endless).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, " 431 ")

	idle := dial()
	_, err = io.WriteString(idle, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(idle)
	require.NoError(t, err)
	require.Contains(t, string(answer), " 200 OK")
}

// zeros is text without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

func TestSystemdIsTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("systemd is Linux's")
	}
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenPacket("unixgram", path)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.SetDeadline(time.Now().Add(waitLong)))
	read := func() string {
		b := make([]byte, 100)
		n, _, err := l.ReadFrom(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	s := start(t, []string{"NOTIFY_SOCKET=" + path})
	require.Equal(t, "READY=1", read())
	require.Equal(t, 0, s.terminate(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", read())
}
