// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/bench"
	"github.com/graphkv/graphkv/hub"
)

// realService serves the real model, over HTTP on the loopback interface.
func realService(b *testing.B) *service {
	path, err := hub.Locate(b.Context(), "smollm2-135m-instruct", hub.Options{})
	if err != nil {
		b.Skipf("needs the real model (graphkv pull smollm2-135m-instruct): %v", err)
	}
	e, err := graphkv.Open(path)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	return serve(b, Options{Engine: e})
}

// words returns a text of about n tokens.
func words(r *rand.Rand, n int) string {
	list := strings.Fields("the of and a to in is that it was for on are as with his they at be this from have or by one had not but what all were when we there can an your which their said if do will each about how up out them then she many some so these would other into has more her two like him see time could no make than first been its who now people my made over did down only way find use may water long little very after words called just where most know")
	out := make([]string, n)
	for i := range out {
		out[i] = list[r.IntN(len(list))]
	}
	return strings.Join(out, " ")
}

// stamps sends a streaming request and returns when its pieces came.
func (s *service) stamps(body string) []time.Time {
	resp, err := s.http.Client().Do(s.request(s.t.Context(), "POST", "/v1/chat/completions", body))
	require.NoError(s.t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s", data)
	}
	var at []time.Time
	_, err = readAnswer(resp.Body, func(int) { at = append(at, time.Now()) })
	require.NoError(s.t, err)
	return at
}

func realBody(question string, tokens int, more string) string {
	q, _ := json.Marshal(question)
	return fmt.Sprintf(`{"messages":[{"role":"user","content":%s}],"temperature":0,"max_tokens":%d,"stream":true%s}`, q, tokens, more)
}

// Answers that grow at the same time: how many tokens they get per second together, and
// what share that is of what the machine's multipliers allow.
func BenchmarkDecode(b *testing.B) {
	const tokens = 96
	question := "Tell me a long story about a river, a museum and an architect who never slept."
	rate := map[int]float64{}
	for _, clients := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			s := realService(b)
			s.stamps(realBody(question, 2, ""))
			work := float64(0)
			for b.Loop() {
				var all sync.WaitGroup
				at := make([][]time.Time, clients)
				for i := range clients {
					all.Go(func() { at[i] = s.stamps(realBody(fmt.Sprint(question, " ", i), tokens, "")) })
				}
				all.Wait()
				// From when the last has its first token until the first has its last.
				from, to, n := at[0][1], at[0][len(at[0])-1], 0
				for _, list := range at {
					if list[1].After(from) {
						from = list[1]
					}
					if end := list[len(list)-1]; end.Before(to) {
						to = end
					}
				}
				for _, list := range at {
					for i, t := range list {
						if i%2 == 1 && t.After(from) && !t.After(to) { // every other line is empty
							n++
						}
					}
				}
				rate[clients] = max(rate[clients], float64(n)/to.Sub(from).Seconds())
			}
			c := s.engine.Model().Config()
			work = c.Work(1, 100) + float64(c.Hidden)*float64(c.Vocab)
			b.ReportMetric(rate[clients], "tokens/s")
			b.ReportMetric(rate[clients]/rate[1], "of-one")
			b.ReportMetric(100*rate[clients]*2*work/1e9/bench.FMAPeak(2), "%FMA")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// The time between the tokens of an answer while a prompt of 4000 tokens is read beside it.
func BenchmarkLongPromptBeside(b *testing.B) {
	s := realService(b)
	r := rand.New(rand.NewPCG(1, 2))
	var gaps []time.Duration
	var alone, prompt time.Duration
	for b.Loop() {
		done := make(chan time.Duration)
		var once sync.Once
		start := func() {
			once.Do(func() {
				go func() {
					begin := time.Now()
					s.stamps(realBody(words(r, 3900), 1, ""))
					done <- time.Since(begin)
				}()
			})
		}
		resp, err := s.http.Client().Do(s.request(b.Context(), "POST", "/v1/chat/completions", realBody("Tell me a long story.", 400, "")))
		require.NoError(b, err)
		var at []time.Time
		begun := 0
		_, err = readAnswer(resp.Body, func(n int) {
			if n%2 == 1 {
				at = append(at, time.Now())
			}
			if n == 61 {
				begun = len(at)
				start()
			}
		})
		resp.Body.Close()
		require.NoError(b, err)
		prompt = <-done
		alone = at[begun-1].Sub(at[5]) / time.Duration(begun-6)
		end := at[begun-1].Add(prompt)
		for i := begun; i < len(at) && at[i].Before(end); i++ {
			gaps = append(gaps, at[i].Sub(at[i-1]))
		}
	}
	slices.Sort(gaps)
	require.NotEmpty(b, gaps)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(alone), "ms-alone")
	b.ReportMetric(ms(gaps[len(gaps)/2]), "ms-p50")
	b.ReportMetric(ms(gaps[len(gaps)*99/100]), "ms-p99")
	b.ReportMetric(ms(gaps[len(gaps)-1]), "ms-max")
	b.ReportMetric(prompt.Seconds(), "s-prompt")
	b.ReportMetric(float64(len(gaps)), "tokens-meanwhile")
	b.ReportMetric(0, "ns/op")
}

// The time to the first token over ten documents, never seen before and once more.
func BenchmarkFirstToken(b *testing.B) {
	for _, strategy := range []string{"block", "graphkv", "dag"} {
		b.Run(strategy, func(b *testing.B) {
			s := realService(b)
			r := rand.New(rand.NewPCG(3, 4))
			var cold, warm []time.Duration
			for b.Loop() {
				var documents []string
				for i := range 10 {
					link := ""
					if i > 0 {
						link = fmt.Sprint(`,"links":["`, r.IntN(i), `"]`)
					}
					documents = append(documents, fmt.Sprintf(`{"id":"%d","title":"Number %d","text":%q%s}`, i, i, words(r, 190), link))
				}
				body := realBody("What is said of the water, and by whom?", 1, fmt.Sprintf(`,"documents":[%s],"graphkv":{"strategy":%q}`, strings.Join(documents, ","), strategy))
				for i := range 4 {
					start := time.Now()
					at := s.stamps(body)
					if d := at[2].Sub(start); i == 0 {
						cold = append(cold, d)
					} else {
						warm = append(warm, d)
					}
				}
			}
			slices.Sort(cold)
			slices.Sort(warm)
			c, w := cold[len(cold)/2], warm[len(warm)/2]
			b.ReportMetric(float64(c.Microseconds())/1000, "ms-cold")
			b.ReportMetric(float64(w.Microseconds())/1000, "ms-warm")
			b.ReportMetric(float64(c)/float64(w), "cold/warm")
			b.ReportMetric(0, "ns/op")
		})
	}
}
