// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fuzzed is a server whose answers are short, that logs an error for every 5xx.
func fuzzed(t testing.TB) http.Handler {
	s, err := New(Options{Engine: engine(t), Limits: Limits{
		MaxTokens: 3, PromptTokens: 3000, Segments: 30, Documents: 10, BodyBytes: 1 << 16, StoreDocuments: 10, RequestTime: 20 * time.Second,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Drain(context.Background())) })
	return s.Handler()
}

// checkReply: whatever was sent, the reply is JSON or events, and never a 5xx.
func checkReply(t testing.TB, w *httptest.ResponseRecorder) {
	require.Less(t, w.Code, 500, "%s", w.Body)
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		events, err := readEvents(w.Body)
		require.NoError(t, err)
		require.NotEmpty(t, events)
		for i, e := range events {
			require.True(t, json.Valid([]byte(e)) || i == len(events)-1 && e == "[DONE]", "%q", e)
		}
		last := events[len(events)-1]
		require.True(t, last == "[DONE]" || strings.Contains(last, `"error":{"message":`), "a stream ends with %q", last)
		return
	}
	if w.Code >= 300 && w.Code < 400 || w.Code == 400 && w.Body.Len() == 0 {
		return // the multiplexer's own, to a path that is not clean and to "*"
	}
	require.True(t, json.Valid(w.Body.Bytes()), "%d %q", w.Code, w.Body)
}

// inTime serves a request, and ends the process with all stacks if that takes long:
// what cannot be interrupted is a way to stop the server.
func inTime(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	defer time.AfterFunc(10*time.Second, func() {
		debug.SetTraceback("all")
		panic("a request takes too long")
	}).Stop()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func FuzzBodies(f *testing.F) {
	h := fuzzed(f)
	var paths []string
	for _, r := range table() {
		if r.method == "POST" || r.method == "PUT" {
			paths = append(paths, r.method+" "+strings.ReplaceAll(r.path, "{id}", "a"))
		}
	}
	seeds := []string{
		hello, nativeBody, chatBody(`,"stream":true,"stream_options":{"include_usage":true}`),
		chatBody(`,"documents":[{"id":"a","title":"A","text":"x","links":["b","a"]},{"id":"b","text":"y"}],"graphkv":{"strategy":"dag","rounds":2,"positions":"sequential"}`),
		chatBody(`,"documents":["a",{"id":"b"}],"graphkv":{"strategy":"ego","center":"a"}`),
		`{"prompt":"x","stream":true,"temperature":2,"top_p":0.5,"top_k":3,"min_p":0.1,"seed":-1,"stop":["a","b"]}`,
		`{"prompt":[1,2,3],"max_tokens":1}`, `{"prompt":[[1,2]],"documents":[{"id":"a","text":"x"}],"graphkv":{"strategy":"ape","ape":{"temperature":0.5}}}`,
		`{"blocks":["p","m","c","d","q"],"top_k":1}`, `{"blocks":["<|im_start|>","","c","q"],"top_k":0,"num_local_attention_blocks":0}`,
		`{"title":"t","text":"x","links":["a","b"]}`, `{"text":"` + strings.Repeat("x", 4000) + `"}`,
		`{"stream":true,"max_tokens":2,"sampling":{"top_k":5,"seed":1},"temperature":1,"plan":{"nodes":[{"id":"a","base":0,"tokens":[5,6],"sees":[]},{"id":"q","base":2,"tokens":[7],"sees":[{"id":"a","base":0,"scale":0.5}]}]}}`,
		`{"strategy":"graphkv-topk","top_k":1,"segments":[{"id":"a","tokens":[4]},{"id":"b"}],"query":{"tokens":[5]},"block":1}`,
		`{"strategy":"ego-batch","segments":[{"id":"a","text":"x"},{"id":"b","text":"y"}],"edges":[["a","b"]],"query":"q","rounds":3,"visible_rounds":[0,1]}`,
		traceBody(`{"strategy":"cacheblend","repair":{"fraction":0.3}}`), traceBody(`{"strategy":"hdt"}`),
		traceBody(`{"strategy":"pine","biases":[{"kind":"rrwp","weights":[1,2],"undirected":true},{"kind":"alibi","paths":true}]}`),
		`{"nodes":["kv1.a","query"],"max_tokens":2,"segments":[{"id":"a","text":"x y"},{"id":"b","text":"z"}],"query":"q","biases":[{"kind":"relevance","scores":[-1,1e5],"weight":1}]}`,
		`{"nodes":[],"max_tokens":0,"plan":{"nodes":[{"id":"a","base":0,"tokens":[5],"group":1,"sees":[{"id":"b","base":0}]},{"id":"b","base":0,"tokens":[6],"group":1,"sees":[{"id":"a","base":0,"power":1000}]},{"id":"r","base":3,"tokens":[6],"repair":{"of":"b","first":1},"sees":[{"id":"a","base":0,"bias":[null,1,-1e5,1e5]}]},{"id":"q","base":4,"tokens":[7],"sees":[{"id":"r","base":3,"scale":-1000}]}]}}`,
		`{}`, `null`, `[]`, `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, "{\"query\":\"\xff\"}", `{"query":"\ud800"}`, `{"temperature":1e400,"query":"x"}`,
	}
	for _, body := range seeds {
		for i := range paths {
			f.Add(i, body)
		}
	}
	f.Fuzz(func(t *testing.T, which int, body string) {
		if which < 0 {
			which = -(which + 1)
		}
		method, path, _ := strings.Cut(paths[which%len(paths)], " ")
		r := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(t.Context())
		r.Header.Set("Content-Type", "application/json")
		checkReply(t, inTime(h, r))
	})
}

func FuzzHeadersAndPaths(f *testing.F) {
	h := fuzzed(f)
	f.Add("POST", "/v1/chat/completions", "application/json", "Content-Length", "5", "{}")
	f.Add("GET", "/v1/documents?limit=5&after=%00", "", "Accept", "text/event-stream", "")
	f.Add("PUT", "/v1/documents/a%2fb?prepare=true", "application/json;charset=x", "Expect", "100-continue", `{"text":"x"}`)
	f.Add("DELETE", "/v1/documents/..%2f..", "", "Authorization", "Bearer x", "")
	f.Add("GET", "/v1/models/a/b//c", "", "Connection", "close", "")
	f.Add("OPTIONS", "*", "a/b;c", "Transfer-Encoding", "chunked", "")
	f.Add("POST", "/v1//completions/", "application/vnd.x+json", "Content-Type", "text/html", `{"prompt":"x"}`)
	f.Fuzz(func(t *testing.T, method, target, kind, name, value, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost", strings.NewReader(body))
		if err != nil {
			return
		}
		if r.URL, err = r.URL.Parse(target); err != nil {
			return
		}
		r.RequestURI = target
		r.Header.Set("Content-Type", kind)
		r.Header.Set(name, value)
		checkReply(t, inTime(h, r))
	})
}
