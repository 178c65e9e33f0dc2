// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// load is what clients of the load test ask: questions over a few of many documents.
type load struct {
	bodies  []string // streaming requests, of temperature 0
	answers []string
}

const (
	loadClients   = 64
	loadDocuments = 200
	loadQuestions = 48
)

// loadDuration is how long the load test runs: as long as GRAPHKV_LOAD says (60s), a
// second without.
func loadDuration(t testing.TB) time.Duration {
	v := os.Getenv("GRAPHKV_LOAD")
	if v == "" {
		return time.Second
	}
	d, err := time.ParseDuration(v)
	require.NoError(t, err, "GRAPHKV_LOAD")
	return d
}

// loadEngine opens the model of the load test, GRAPHKV_LOAD_MODEL or the small one.
func loadEngine(t testing.TB) *graphkv.Engine {
	path := os.Getenv("GRAPHKV_LOAD_MODEL")
	if path == "" {
		path = modelPath
	}
	e, err := graphkv.Open(path, graphkv.WithCacheBytes(24<<20))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// register puts the documents into a namespace.
func (l *load) register(s *service, namespace string) {
	r := rand.New(rand.NewPCG(9, 9))
	for i := range loadDocuments {
		words := make([]string, 20+r.IntN(30))
		for j := range words {
			words[j] = fmt.Sprint(r.IntN(1000))
		}
		var links []string
		for range r.IntN(4) {
			links = append(links, fmt.Sprint("d", r.IntN(loadDocuments)))
		}
		body, err := json.Marshal(document{Title: fmt.Sprint("number ", i), Text: strings.Join(words, " "), Links: links})
		require.NoError(s.t, err)
		s.ok("PUT", fmt.Sprint("/v1/documents/d", i), string(body), nil, "X-Namespace", namespace)
	}
}

// ask makes the questions and finds out their answers, one after the other on a server
// that does nothing else.
func (l *load) ask(t testing.TB) {
	alone := serve(t, Options{Engine: loadEngine(t)})
	l.register(alone, "")
	r := rand.New(rand.NewPCG(10, 10))
	options := []string{`{"strategy":"graphkv"}`, `{"strategy":"block"}`, `{"strategy":"graphkv-topk","top_k":2}`, `{"strategy":"dag","rounds":1}`, `{"strategy":"pcw"}`, `{"strategy":"sequential"}`}
	for i := range loadQuestions {
		var documents []string
		for _, d := range r.Perm(loadDocuments)[:3+r.IntN(5)] {
			documents = append(documents, fmt.Sprintf(`"d%d"`, d))
		}
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"What of %d?"}],"documents":[%s],"graphkv":%s,"temperature":0,"max_tokens":%d,"stream":true}`,
			i, strings.Join(documents, ","), options[i%len(options)], 8+r.IntN(24))
		l.bodies = append(l.bodies, body)
		text, err := readAnswer(strings.NewReader("data: "+strings.Join(alone.stream("/v1/chat/completions", body), "\ndata: ")), nil)
		require.NoError(t, err)
		l.answers = append(l.answers, text)
	}
}

// readAnswer puts the pieces of a stream together. each is called before every line.
func readAnswer(r io.Reader, each func(pieces int)) (string, error) {
	var text strings.Builder
	lines := bufio.NewScanner(r)
	for pieces := 0; lines.Scan(); pieces++ {
		if each != nil {
			each(pieces)
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
			continue
		case data == "[DONE]":
			return text.String(), nil
		}
		var r reply
		if err := json.Unmarshal([]byte(data), &r); err != nil {
			return "", err
		}
		if len(r.Choices) == 0 {
			return "", fmt.Errorf("an event without a choice: %s", data)
		}
		if c := r.Choices[0].Delta.Content; c != nil {
			text.WriteString(*c)
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", io.ErrUnexpectedEOF
}

// tally is what the clients have seen.
type tally struct {
	mu         sync.Mutex
	whole      int
	cancelled  int
	refused    int
	firstToken []time.Duration
}

// client sends requests until ctx ends, some of which it leaves, some of which make no
// sense, and some of which it reads slowly. It checks whatever comes back.
func (l *load) client(ctx context.Context, s *service, n int, seen *tally) error {
	r := rand.New(rand.NewPCG(uint64(n), 11))
	namespace := fmt.Sprint(n % 4)
	post := func(ctx context.Context, body string) (*http.Response, error) {
		return s.http.Client().Do(s.request(ctx, "POST", "/v1/chat/completions", body, "X-Namespace", namespace))
	}
	for ctx.Err() == nil {
		i := r.IntN(len(l.bodies))
		switch kind := r.IntN(10); {
		case kind == 0: // malformed
			body := l.bodies[i][:1+r.IntN(len(l.bodies[i])-1)]
			resp, err := post(context.Background(), body)
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 400 {
				return fmt.Errorf("status %d for %s", resp.StatusCode, body)
			}
			seen.mu.Lock()
			seen.refused++
			seen.mu.Unlock()
		case kind <= 2: // goes away
			ctx, cancel := context.WithCancel(context.Background())
			stop := time.AfterFunc(time.Duration(r.IntN(30_000))*time.Microsecond, cancel)
			if resp, err := post(ctx, l.bodies[i]); err == nil {
				_, _ = io.CopyN(io.Discard, resp.Body, int64(r.IntN(3000)))
				cancel()
				resp.Body.Close()
			}
			stop.Stop()
			cancel()
			seen.mu.Lock()
			seen.cancelled++
			seen.mu.Unlock()
		default:
			slow := kind == 3
			start := time.Now()
			resp, err := post(context.Background(), l.bodies[i])
			if err != nil {
				return err
			}
			if resp.StatusCode != 200 {
				data, _ := io.ReadAll(resp.Body)
				return fmt.Errorf("status %d: %s", resp.StatusCode, data)
			}
			var first time.Duration
			text, err := readAnswer(resp.Body, func(pieces int) {
				if pieces == 1 { // after the one that says the role
					first = time.Since(start)
				}
				if slow && pieces%4 == 0 {
					time.Sleep(5 * time.Millisecond)
				}
			})
			resp.Body.Close()
			if err != nil || text != l.answers[i] {
				return fmt.Errorf("question %d: %v, %q, want %q", i, err, text, l.answers[i])
			}
			seen.mu.Lock()
			seen.whole++
			seen.firstToken = append(seen.firstToken, first)
			seen.mu.Unlock()
		}
	}
	return nil
}

// run lets the clients work for a while.
func (l *load) run(t testing.TB, s *service, d time.Duration) *tally {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	seen := new(tally)
	var clients sync.WaitGroup
	errs := make(chan error, loadClients)
	for n := range loadClients {
		clients.Go(func() {
			if err := l.client(ctx, s, n, seen); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	clients.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	return seen
}

// heap returns the bytes in use when the server is idle.
func heap(t testing.TB, s *service) uint64 {
	s.waitLoad(0, 0)
	s.http.Client().CloseIdleConnections()
	time.Sleep(50 * time.Millisecond) // connections close in the background
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// heapGrowth is how much more memory may be in use after a run of the load test than
// before it, in bytes: some kilobytes for each request of a short one.
const heapGrowth = 4 << 20

// Many clients at once, of which some leave, some send nonsense and some read slowly:
// every answer is the one that the question gets alone, and nothing is left over
// afterwards. GRAPHKV_LOAD=60s says for how long; GRAPHKV_LOAD_MODEL names a model file
// in place of the small one.
func TestLoad(t *testing.T) {
	var l load
	l.ask(t)
	s := serve(t, Options{Engine: loadEngine(t)})
	s.http.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = loadClients
	for n := range 4 {
		l.register(s, fmt.Sprint(n))
	}
	d := loadDuration(t)
	for s.engine.Stats().Cache.Evictions == 0 { // until the cache is full
		l.run(t, s, d/4)
	}
	before, goroutines := heap(t, s), runtime.NumGoroutine()
	seen := l.run(t, s, d)
	after := heap(t, s)
	// Buffers grow until they have met the largest requests together; what leaks grows for ever.
	for again := 0; after > before+heapGrowth; again++ {
		require.Less(t, again, 5, "heap still grows, from %d KiB to %d KiB", before>>10, after>>10)
		before = after
		l.run(t, s, d)
		after = heap(t, s)
	}
	for end := time.Now().Add(waitLong); runtime.NumGoroutine() > goroutines; time.Sleep(waitShort) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines became %d:\n%s", goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
	t.Logf("heap %d KiB before, %d KiB after; %d goroutines", before>>10, after>>10, goroutines)
	m := s.engine.Stats().Cache
	require.Zero(t, m.PinnedBytes)
	require.Zero(t, m.Flights)
	require.NotZero(t, seen.whole)
	slices.Sort(seen.firstToken)
	quantile := func(q float64) time.Duration {
		return seen.firstToken[int(q*float64(len(seen.firstToken)-1))].Round(10 * time.Microsecond)
	}
	stats := s.engine.Stats()
	t.Logf("%v: %d answers, all right; %d left, %d refused; time to first token p50 %v, p99 %v; %d tokens in %d passes",
		d, seen.whole, seen.cancelled, seen.refused, quantile(0.5), quantile(0.99), stats.Tokens, stats.Passes)
}
