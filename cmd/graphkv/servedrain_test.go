// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// streamed is how a streaming request ended.
type streamed struct {
	status int    // 0: no answer came
	text   string // of the answer
	done   bool   // it came to its end
	header http.Header
}

// stream asks for an answer as it grows. began is called when there is some of it.
func (s *served) stream(body string, began func()) (out streamed) {
	r, err := http.NewRequestWithContext(s.Context(), "POST", s.url+"/v1/completions", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	out.status, out.header = resp.StatusCode, resp.Header
	var text strings.Builder
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			out.done = true
			break
		}
		var event struct{ Choices []struct{ Text string } }
		if json.Unmarshal([]byte(data), &event) != nil || len(event.Choices) == 0 {
			continue
		}
		if text.Len() == 0 && began != nil {
			began()
		}
		text.WriteString(event.Choices[0].Text)
	}
	out.text = text.String()
	return out
}

// longQuestions returns requests with long answers, and those.
func (s *served) longQuestions(n int) (questions, answers []string) {
	s.Helper()
	for i := 0; len(answers) < n; i++ {
		require.Less(s, i, 50*n)
		question := completion(fmt.Sprint("Question number ", i), 1200, `, "stream": true`)
		o := s.stream(question, nil)
		require.True(s, o.done, "status %d", o.status)
		if len(o.text) > 400 {
			questions, answers = append(questions, question), append(answers, o.text)
		}
	}
	return questions, answers
}

// SIGTERM while many clients ask: answers under way come to their end, whole and right; whoever asks from then on is told to go elsewhere;
// and the process exits with 0.
func TestTerminatedUnderLoad(t *testing.T) {
	needSignals(t)
	s := start(t, nil, "--no-disk")
	const clients, prompts = 12, 8
	questions, want := s.longQuestions(prompts)
	var inFlight, refused, gone atomic.Int64
	var told atomic.Bool
	var load sync.WaitGroup
	for c := range clients {
		load.Go(func() {
			for i := c; ; i = (i + clients) % prompts {
				before := told.Load()
				o := s.stream(questions[i], func() { inFlight.Add(1) })
				switch {
				case o.status == http.StatusOK:
					inFlight.Add(-1)
					if !o.done || o.text != want[i] {
						t.Errorf("prompt %d: cut off after %d of %d bytes, or another answer", i, len(o.text), len(want[i]))
					}
				case o.status == http.StatusServiceUnavailable:
					refused.Add(1)
					if !told.Load() || o.header.Get("Retry-After") == "" {
						t.Errorf("refused with %v, told to stop: %v", o.header, told.Load())
					}
				case o.status == 0 && before: // the last answer is out, and the process about to go
					gone.Add(1)
					return
				default:
					t.Errorf("status %d, told to stop: %v", o.status, before)
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return inFlight.Load() == clients }, waitLong, waitShort, s.log())
	told.Store(true)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.waitFor(`"msg":"draining","running":1[0-2]`)
	resp, body := s.send("GET", s.url+"/readyz", "")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "draining\n", body)
	require.Equal(t, 200, s.status("GET", "/healthz", ""), "a server that drains is not to be killed")
	require.Equal(t, 503, s.status("GET", "/v1/models", ""))
	load.Wait()
	require.Equal(t, 0, s.exit(), s.log())
	require.Positive(t, refused.Load())
	require.EqualValues(t, clients, gone.Load())
	t.Logf("%d requests were refused while %d answers were finished", refused.Load(), clients)
}

// What is not finished in time is cut off, and the exit status says so.
func TestDrainTimeIsABound(t *testing.T) {
	needSignals(t)
	s := start(t, nil, "--no-disk", "--drain-time", "1ms")
	questions, _ := s.longQuestions(1)
	began, ended := make(chan struct{}), make(chan streamed)
	go func() { ended <- s.stream(questions[0], func() { close(began) }) }()
	<-began
	status := s.terminate(syscall.SIGTERM)
	o := <-ended
	require.Equal(t, 200, o.status)
	require.False(t, o.done, "a client must see that there was more to come")
	require.Equal(t, interrupted, status)
	require.Contains(t, s.log(), "answers were cut off that were not finished within drain-time, 1ms")
}
