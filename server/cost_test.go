// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

// segmentsOf returns n segments of one token and, if they are dense, edges between all.
func segmentsOf(n int, dense bool) string {
	var segments, edges []string
	for i := range n {
		segments = append(segments, fmt.Sprintf(`{"id":"%d","tokens":[5]}`, i))
		for j := range i {
			if dense {
				edges = append(edges, fmt.Sprintf(`["%d","%d"]`, j, i))
			}
		}
	}
	return `"segments":[` + strings.Join(segments, ",") + `],"edges":[` + strings.Join(edges, ",") + `]`
}

// What a small body can make expensive is refused before it is: nothing of this is
// interrupted by a time-out.
func TestCostsAreBounded(t *testing.T) {
	s := serve(t, Options{Limits: Limits{Explained: 4000, Segments: 400}})
	const plan = "/v1/graphkv/plan"
	steps := func(n int) string {
		return `{"kind":"rrwp","undirected":true,"weights":[` + strings.TrimSuffix(strings.Repeat("1,", n), ",") + `]}`
	}
	body := func(rest string, n int, dense bool) string {
		return `{"query":"x",` + rest + `,` + segmentsOf(n, dense) + `}`
	}
	s.ok("POST", plan, body(`"biases":[`+steps(16)+`,{"kind":"alibi","paths":true}]`, 60, true), nil)
	s.refuse(413, "biases_too_large", "POST", plan, body(`"biases":[`+steps(64)+`]`, 400, true))
	s.refuse(413, "biases_too_large", "POST", plan, body(`"biases":[`+strings.Repeat(steps(16)+",", 200)+steps(16)+`]`, 60, true))
	s.refuse(413, "biases_too_large", "POST", plan, body(`"biases":[`+strings.Repeat(`{"kind":"alibi"},`, 5000)+`{"kind":"alibi"}]`, 400, false))
	s.refuse(413, "biases_too_large", "POST", plan, body(`"biases":[`+strings.Repeat(`{"kind":"shortest-path","table":[1]},`, 400)+`{"kind":"alibi","paths":true}]`, 200, true))

	s.ok("POST", plan, body(`"strategy":"dag","rounds":50`, 60, true), nil)
	s.refuse(413, "too_many_edges", "POST", plan, body(`"strategy":"dag","rounds":300`, 60, true))
	s.refuse(413, "too_many_edges", "POST", plan, body(`"strategy":"dag","rounds":9000000000000000000`, 60, true))
	text := strings.Repeat("a.\n\n", 700) // trees of many small nodes
	s.refuse(413, "too_many_edges", "POST", plan, fmt.Sprintf(`{"query":"x","strategy":"hdt","segments":[{"id":"a","text":%q}]}`, text))

	// An explanation is refused before the answer to explain is generated.
	const explain = "/v1/graphkv/explain"
	s.ok("POST", explain, body(`"strategy":"graphkv","max_tokens":1`, 18, false), nil)
	passes := s.engine.Stats().Passes
	s.refuse(413, "explanation_too_large", "POST", explain, body(`"strategy":"graphkv","max_tokens":1`, 30, false))
	s.refuse(400, "not_explainable", "POST", explain, body(`"nodes":["z"],"max_tokens":1`, 2, false))
	require.Equal(t, passes, s.engine.Stats().Passes)
	s.ok("POST", explain, body(`"strategy":"graphkv","max_tokens":1,"nodes":["kv1.3"]`, 30, false), nil)
}

// Messages are counted before the template reads them, with documents too.
func TestMessagesAreBounded(t *testing.T) {
	s := serve(t, Options{Limits: Limits{Segments: 5}})
	turns := func(n int, rest string) string {
		return `{"max_tokens":1,"messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"x"},`, n), ",") + `]` + rest + `}`
	}
	const documents = `,"documents":[{"id":"a","text":"x"}]`
	s.ok("POST", "/v1/chat/completions", turns(5, documents), nil)
	s.refuse(413, "too_many_segments", "POST", "/v1/chat/completions", turns(6, documents))
	s.refuse(413, "too_many_segments", "POST", "/v1/chat/completions", turns(6, ""))
}

func TestStopsAreBounded(t *testing.T) {
	s := serve(t, Options{})
	for path, body := range map[string]string{
		"/v1/chat/completions":  chatBody(`,"max_tokens":1,"stop":%s`),
		"/v1/completions":       `{"prompt":"x","max_tokens":1,"stop":%s}`,
		"/v1/graphkv/generate":  `{"query":"x","max_tokens":1,"stop":%s}`,
		"/v1/graphkv/explain":   `{"max_tokens":1,"stop":%s,"plan":{"nodes":[{"id":"q","base":0,"tokens":[9],"sees":[]}]}}`,
		"/v1/graphkv/prepare":   `{"query":"x","stop":%s}`,
		"/v1/graphkv/generate?": `{"max_tokens":1,"stop":%s,"plan":{"nodes":[{"id":"q","base":0,"tokens":[9],"sees":[]}]}}`,
	} {
		stops := func(n int) string { return `[` + strings.TrimSuffix(strings.Repeat(`"ab",`, n), ",") + `]` }
		s.ok("POST", path, fmt.Sprintf(body, stops(maxStops)), nil)
		s.refuse(400, "too_many_stops", "POST", path, fmt.Sprintf(body, stops(maxStops+1)))
		s.ok("POST", path, fmt.Sprintf(body, `["`+strings.Repeat("a", maxStopBytes)+`"]`), nil)
		s.refuse(400, "stop_too_long", "POST", path, fmt.Sprintf(body, `["`+strings.Repeat("a", maxStopBytes+1)+`"]`))
		s.refuse(400, "invalid_value", "POST", path, fmt.Sprintf(body, `[""]`))
	}
}

// No number that a plan or a bias can have makes the model's a NaN, which would be the
// server's fault.
func TestNumbersOutOfRange(t *testing.T) {
	s := serve(t, Options{})
	for _, score := range []string{`"scale":3e38`, `"scale":-3e38`, `"power":3e38`, `"bias":[3e38,0,0,0]`, `"bias":[-3e38,0,0,0]`, `"scale":1e400`} {
		for _, path := range []string{"/v1/graphkv/generate", "/v1/graphkv/explain", "/v1/graphkv/prepare"} {
			s.refuse(400, "invalid_value", "POST", path, `{"max_tokens":1,"plan":{"nodes":[{"id":"a","base":0,"tokens":[5,6],"sees":[]},{"id":"q","base":2,"tokens":[7],"sees":[{"id":"a","base":0,`+score+`}]}]}}`)
		}
	}
	s.refuse(400, "invalid_value", "POST", "/v1/graphkv/generate", `{"max_tokens":1,"query":"x","segments":[{"id":"a","text":"x"}],"biases":[{"kind":"relevance","scores":[1e38]}]}`)
	s.refuse(400, "invalid_value", "POST", "/v1/chat/completions", chatBody(`,"documents":[{"id":"a","text":"x"}],"graphkv":{"strategy":"ape","ape":{"temperature":1e-30}}`))
	s.refuse(400, "invalid_value", "POST", "/v1/graphkv/generate", `{"query":"x","query":"y"}`)
	s.refuse(400, "invalid_value", "POST", "/v1/graphkv/generate", `{"query":{"text":"x","text":"y"}}`)
}

// The plan of a repair that depends on the model's numbers has no mask before it is run,
// and is shown all the same.
func TestPlanOfRepairs(t *testing.T) {
	s := serve(t, Options{})
	for _, strategy := range graphkv.Strategies() {
		var got struct {
			Cost cost
			Mask *maskSummary
		}
		s.ok("POST", "/v1/graphkv/plan", fmt.Sprintf(
			`{"strategy":%q,"top_k":1,"center":"b","prefix":"Read.","segments":[{"id":"a","text":"Ann and Amy."},{"id":"b","text":"Bob and Bill."}],"query":"Who?"}`, strategy), &got)
		require.Positive(t, got.Cost.Tokens, strategy)
		require.Equal(t, strategy == graphkv.CacheBlend, got.Mask == nil, strategy)
	}
}
