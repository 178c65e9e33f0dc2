// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
)

const nativeBody = `{"strategy":"dag","prefix":"Read.\n","segments":[{"id":"a","text":"Ann did."},{"id":"b","text":"Bob did not."}],"edges":[["a","b"]],"query":"Who did it?","max_tokens":12}`

func TestNativeGenerate(t *testing.T) {
	s := serve(t, Options{})
	r, err := graphkv.ParseRequest([]byte(nativeBody))
	require.NoError(t, err)
	p, err := s.engine.Compile(r)
	require.NoError(t, err)
	want, err := s.engine.Generate(t.Context(), p)
	require.NoError(t, err)

	var got graphkv.Result
	s.ok("POST", "/v1/graphkv/generate", nativeBody, &got)
	require.Equal(t, want.Text, got.Text)
	require.Equal(t, want.Tokens, got.Tokens)
	require.Equal(t, want.Usage.PromptTokens, got.Usage.PromptTokens)

	text := ""
	events := s.stream("/v1/graphkv/generate", strings.Replace(nativeBody, "{", `{"stream":true,`, 1))
	require.Equal(t, "[DONE]", events[len(events)-1])
	var last struct{ Result graphkv.Result }
	for _, data := range events[:len(events)-1] {
		var piece struct{ Text string }
		require.NoError(t, json.Unmarshal([]byte(data), &piece))
		require.NoError(t, json.Unmarshal([]byte(data), &last))
		text += piece.Text
	}
	require.Equal(t, want.Text, text)
	require.Equal(t, want.Tokens, last.Result.Tokens)

	sampled := strings.Replace(nativeBody, "{", `{"temperature":2,"sampling":{"seed":%d,"top_p":0.9,"top_k":50,"min_p":0.01},`, 1)
	var one, two graphkv.Result
	s.ok("POST", "/v1/graphkv/generate", fmt.Sprintf(sampled, 7), &one)
	s.ok("POST", "/v1/graphkv/generate", fmt.Sprintf(sampled, 7), &two)
	require.Equal(t, one.Tokens, two.Tokens)
	require.NotEqual(t, want.Tokens, one.Tokens)
}

// What plan returns can be sent again, as it is or changed, and gives the same answer.
func TestNativePlan(t *testing.T) {
	s := serve(t, Options{})
	var got struct {
		Strategy graphkv.Strategy
		Cost     cost
		Mask     maskSummary
		Plan     json.RawMessage
	}
	s.ok("POST", "/v1/graphkv/plan", strings.Replace(nativeBody, "{", `{"block":8,`, 1), &got)
	require.Zero(t, s.engine.Stats().Passes, "nothing is run")
	require.Equal(t, graphkv.DAG, got.Strategy)
	require.Equal(t, 4, got.Cost.Nodes)
	require.Equal(t, len("Read.\nAnn did.Bob did not.Who did it?"), got.Cost.Tokens)
	require.Equal(t, len("Who did it?"), got.Cost.QueryTokens)
	side := (got.Cost.Tokens + 7) / 8
	require.Equal(t, []int{8, side, side * side}, []int{got.Mask.Block, got.Mask.Side, got.Mask.Full + got.Mask.Partial + got.Mask.Empty})
	require.Len(t, got.Mask.Rows, side)
	full, partial := 0, 0
	for _, row := range got.Mask.Rows {
		require.Len(t, row, side)
		full += strings.Count(row, "#")
		partial += strings.Count(row, "+")
	}
	require.Equal(t, []int{got.Mask.Full, got.Mask.Partial}, []int{full, partial})

	var want, again graphkv.Result
	s.ok("POST", "/v1/graphkv/generate", nativeBody, &want)
	s.ok("POST", "/v1/graphkv/generate", fmt.Sprintf(`{"max_tokens":12,"plan":%s}`, got.Plan), &again)
	require.Equal(t, want.Tokens, again.Tokens)
	require.Equal(t, len("Who did it?"), again.Usage.EncodedTokens)

	var u struct{ Usage graphkv.Usage }
	s.ok("POST", "/v1/graphkv/prepare", strings.Replace(nativeBody, "Ann", "Amy", 1), &u)
	require.Equal(t, len("Amy did.Bob did not."), u.Usage.EncodedTokens)
	require.Equal(t, len("Read.\n"), u.Usage.CachedTokens)
}

// Every reader's attention sums to 1, and the answer is the one that generate gives.
func TestNativeExplain(t *testing.T) {
	s := serve(t, Options{})
	var want graphkv.Result
	s.ok("POST", "/v1/graphkv/generate", nativeBody, &want)
	readers := func(body string) (ids []string) {
		var x graphkv.Explanation
		s.ok("POST", "/v1/graphkv/explain", body, &x)
		require.Equal(t, want.Tokens, x.Answer.Tokens)
		for _, r := range x.Readers {
			sum := 0.0
			for _, read := range r.Reads {
				sum += read.Mass
			}
			require.InDelta(t, 1, sum, 1e-4, r.ID)
			ids = append(ids, r.ID)
		}
		return ids
	}
	require.Equal(t, []string{"kv0.b", "query", "answer"}, readers(nativeBody))
	require.Equal(t, []string{"query", "answer"}, readers(strings.Replace(nativeBody, "{", `{"nodes":[],`, 1)))
	s.refuse(400, "not_explainable", "POST", "/v1/graphkv/explain", strings.Replace(nativeBody, "{", `{"nodes":["c"],`, 1))
}

func TestNativeRefuses(t *testing.T) {
	s := serve(t, Options{})
	for body, code := range map[string]string{
		``:                                     "unsupported_media_type",
		`{`:                                    "invalid_json",
		`null`:                                 "invalid_type",
		`7`:                                    "invalid_type",
		`{"query":""}`:                         "invalid_value",
		`{"qery":"x"}`:                         "invalid_value",
		`{"query":"x","strategy":"none"}`:      "invalid_value",
		`{"query":"x","edges":[["a","b"]]}`:    "invalid_value",
		`{"query":{"tokens":[259]}}`:           "invalid_value",
		`{"query":"x","stream":"yes"}`:         "invalid_type",
		`{"query":"x","sampling":{"top_p":2}}`: "invalid_value",
		`{"query":"x","temperature":-1}`:       "invalid_value",
		`{"plan":{"nodes":[]}}`:                "invalid_value",
		`{"plan":{"nodes":[{"id":"q","base":0,"tokens":[999],"sees":[]}]}}`:           "invalid_value",
		`{"plan":{"nodes":[{"id":"q","base":9000,"tokens":[9],"sees":[]}]}}`:          "context_length_exceeded",
		`{"query":"x","plan":{"nodes":[{"id":"q","base":0,"tokens":[9],"sees":[]}]}}`: "invalid_value",
	} {
		status := 400
		if code == "unsupported_media_type" {
			status = 415
		}
		s.refuse(status, code, "POST", "/v1/graphkv/generate", body)
	}
	s.refuse(400, "invalid_value", "POST", "/v1/graphkv/plan", `{"query":"x","block":0}`)
}

// The evaluation client's protocol: paths, fields and what they mean.
func TestPublishedProtocol(t *testing.T) {
	s := serve(t, Options{Limits: Limits{MaxTokens: 20}})
	blocks := `"blocks":["<|im_start|>Prefix. ","middle ","one\n","two\n","three\n","Question?"]`
	contexts := []graphkv.Segment{{ID: "1", Text: "one\n"}, {ID: "2", Text: "two\n"}, {ID: "3", Text: "three\n"}}
	for path, c := range map[string]struct {
		more    string
		request graphkv.Request
	}{
		"/generate_vanilla":     {"", graphkv.Request{Strategy: graphkv.Sequential, Segments: append([]graphkv.Segment{{ID: "m", Text: "middle "}}, contexts...)}},
		"/generate_block":       {"", graphkv.Request{Strategy: graphkv.Block, Segments: contexts, Stop: publishedStops}},
		"/generate_gapemp":      {"", graphkv.Request{Strategy: graphkv.GraphKV, Segments: contexts}},
		"/generate_gapemp_appr": {`,"top_k":2`, graphkv.Request{Strategy: graphkv.GraphKVTopK, TopK: 2, Segments: contexts}},
	} {
		c.request.Prefix, c.request.Query, c.request.MaxTokens = graphkv.Text("<|im_start|>Prefix. "), graphkv.Text("Question?"), 20
		p, err := s.engine.Compile(&c.request)
		require.NoError(t, err)
		want, err := s.engine.Generate(t.Context(), p)
		require.NoError(t, err)
		var got map[string]any
		s.ok("POST", path, `{`+blocks+c.more+`}`, &got)
		require.Equal(t, map[string]any{"ret": 0.0, "generated": want.Text, "message": ""}, got, path)
	}
	var full, all struct{ Generated string }
	s.ok("POST", "/generate_gapemp", `{`+blocks+`}`, &full)
	s.ok("POST", "/generate_gapemp_appr", `{`+blocks+`,"top_k":0}`, &all)
	require.Equal(t, full, all)
	for _, body := range []string{`{}`, `{"blocks":["a","b"]}`, `{"blocks":["a","b",""]}`, `{` + blocks + `}`, `{` + blocks + `,"top_k":-1}`} {
		resp, data := s.do("POST", "/generate_gapemp_appr", body)
		require.Equal(t, 400, resp.StatusCode, "%s", body)
		var e struct {
			Ret     int
			Message string
		}
		require.NoError(t, json.Unmarshal(data, &e))
		require.NotZero(t, e.Ret)
		require.NotEmpty(t, e.Message)
	}
}
