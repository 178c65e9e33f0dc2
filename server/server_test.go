// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/server/servertest"
)

var modelPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "server")
	if err == nil {
		modelPath = dir + "/servertest.gguf"
		err = servertest.Write(modelPath)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// service is a server under test and its client.
type service struct {
	t testing.TB
	*Server
	http *httptest.Server
	held chan struct{} // closed when answers in the namespace held may go on after their first piece
}

func engine(t testing.TB, options ...graphkv.Option) *graphkv.Engine {
	e, err := graphkv.Open(modelPath, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func serve(t testing.TB, o Options) *service {
	t.Helper()
	if o.Engine == nil {
		o.Engine = engine(t)
	}
	held := make(chan struct{})
	text := o.Observer.Text
	o.Observer.Text = func(ctx context.Context, r Request, index int, since time.Duration) {
		if text != nil {
			text(ctx, r, index, since)
		}
		if r.Namespace == "held" && index > 0 {
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
	}
	s, err := New(o)
	require.NoError(t, err)
	// As an authenticating proxy would do it.
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Handler().ServeHTTP(w, r.WithContext(WithNamespace(r.Context(), r.Header.Get("X-Namespace"))))
	}))
	t.Cleanup(func() {
		h.CloseClientConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, s.Drain(ctx))
		h.Close()
	})
	return &service{t, s, h, held}
}

// request makes a request; header is a list of names and values.
func (s *service) request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.http.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (s *service) do(method, path, body string, header ...string) (*http.Response, []byte) {
	s.t.Helper()
	resp, err := s.http.Client().Do(s.request(s.t.Context(), method, path, body, header...))
	require.NoError(s.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, data
}

// ok sends a request that is to succeed, and reads what comes back into v.
func (s *service) ok(method, path, body string, v any, header ...string) {
	s.t.Helper()
	resp, data := s.do(method, path, body, header...)
	require.Less(s.t, resp.StatusCode, 300, "%s", data)
	require.Equal(s.t, "application/json", resp.Header.Get("Content-Type"))
	if v != nil {
		require.NoError(s.t, json.Unmarshal(data, v), "%s", data)
	}
}

// wireError is OpenAI's form of an error.
type wireError struct {
	Error struct {
		Message, Type string
		Param         *string
		Code          string
	}
}

// refuse sends a request that is to fail.
func (s *service) refuse(status int, code, method, path, body string, header ...string) (*http.Response, wireError) {
	s.t.Helper()
	resp, data := s.do(method, path, body, header...)
	require.Equal(s.t, status, resp.StatusCode, "%s", data)
	var e wireError
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	require.NoError(s.t, d.Decode(&e), "%s", data)
	require.Equal(s.t, code, e.Error.Code, "%s", data)
	require.NotEmpty(s.t, e.Error.Message)
	require.NotEmpty(s.t, e.Error.Type)
	return resp, e
}

// stream sends a request and returns the data of its events as they were sent.
func (s *service) stream(path, body string, header ...string) []string {
	s.t.Helper()
	resp, err := s.http.Client().Do(s.request(s.t.Context(), "POST", path, body, header...))
	require.NoError(s.t, err)
	defer resp.Body.Close()
	require.Equal(s.t, 200, resp.StatusCode)
	require.Equal(s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	events, err := readEvents(resp.Body)
	require.NoError(s.t, err)
	return events
}

func readEvents(r io.Reader) (events []string, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			events = append(events, data)
		} else if lines.Text() != "" {
			return events, io.ErrUnexpectedEOF
		}
	}
	return events, lines.Err()
}

// reply is a chat or text completion, or an event of it.
type reply struct {
	ID, Object, Model string
	Created           int64
	Fingerprint       string `json:"system_fingerprint"`
	Choices           []struct {
		Index   int
		Text    string
		Message struct {
			Role    string
			Content *string
		}
		Delta struct {
			Role    string
			Content *string
		}
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
		Details          struct {
			CachedTokens int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
	GraphKV *details
}

func (r *reply) text() string {
	c := r.Choices[0]
	if c.Message.Content != nil {
		return *c.Message.Content
	}
	return c.Text
}
