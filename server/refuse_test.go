// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What clients send that cannot be used gets an error that names the field.
func TestChatRefuses(t *testing.T) {
	s := serve(t, Options{})
	const path = "/v1/chat/completions"
	for _, c := range []struct{ fields, param, code string }{
		{`"n":2`, "n", "unsupported_value"},
		{`"n":0`, "n", "unsupported_value"},
		{`"logprobs":true`, "logprobs", "unsupported_value"},
		{`"top_logprobs":3`, "top_logprobs", "unsupported_value"},
		{`"tools":[{"type":"function"}]`, "tools", "unsupported_value"},
		{`"functions":[{}]`, "functions", "unsupported_value"},
		{`"response_format":{"type":"json_object"}`, "response_format", "unsupported_value"},
		{`"presence_penalty":1`, "presence_penalty", "unsupported_value"},
		{`"frequency_penalty":-1`, "frequency_penalty", "unsupported_value"},
		{`"logit_bias":{"5":1}`, "logit_bias", "unsupported_value"},
		{`"max_tokens":0`, "max_tokens", "invalid_value"},
		{`"max_completion_tokens":-1`, "max_completion_tokens", "invalid_value"},
		{`"max_tokens":1,"max_completion_tokens":2`, "max_tokens", "invalid_value"},
		{`"max_tokens":1.5`, "max_tokens", "invalid_type"},
		{`"temperature":2.1`, "temperature", "invalid_value"},
		{`"temperature":-1`, "temperature", "invalid_value"},
		{`"temperature":"hot"`, "temperature", "invalid_type"},
		{`"top_p":1.1`, "top_p", "invalid_value"},
		{`"min_p":-1`, "min_p", "invalid_value"},
		{`"stop":5`, "stop", "invalid_type"},
		{`"stop":""`, "stop", "invalid_value"},
		{`"stop":["a",""]`, "stop", "invalid_value"},
		{`"stop":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 17), ",") + `]`, "stop", "too_many_stops"},
		{`"stream_options":{"include_usage":true}`, "stream_options", "invalid_value"},
		{`"messages":[]`, "messages", "invalid_value"},
		{`"messages":5`, "messages", "invalid_type"},
		{`"messages":[{"content":"x"}]`, "messages", "invalid_value"},
		{`"messages":[{"role":"wizard","content":"x"}]`, "messages", "invalid_value"},
		{`"messages":[{"role":"tool","content":"x"}]`, "messages", "unsupported_value"},
		{`"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]`, "messages", "unsupported_value"},
		{`"messages":[{"role":"user","content":5}]`, "messages", "invalid_type"},
		{`"messages":[{"role":"assistant","tool_calls":[{}]}]`, "messages", "unsupported_value"},
		{`"documents":[{"text":"x"}]`, "documents", "invalid_value"},
		{`"documents":[{"id":"a","title":"x"}]`, "documents", "invalid_value"},
		{`"documents":[{"id":"a","text":"x"},{"id":"a","text":"x"}]`, "documents", "invalid_value"},
		{`"documents":[5]`, "documents", "invalid_type"},
		{`"documents":[{"id":"a\u0000","text":"x"}]`, "documents", "invalid_value"},
		{`"documents":[{"id":"a","text":"x"}],"messages":[{"role":"system","content":"x"}]`, "messages", "invalid_value"},
		{`"graphkv":5`, "graphkv", "invalid_type"},
		{`"graphkv":{"strategy":"unheard"}`, "graphkv.strategy", "invalid_value"},
		{`"graphkv":{"stratgy":"dag"}`, "graphkv", "invalid_value"},
		{`"graphkv":{"query":"x"}`, "graphkv.query", "invalid_value"},
		{`"documents":[{"id":"a","text":"x"}],"graphkv":{"strategy":"ego"}`, "messages", "invalid_value"},
		{`"documents":[{"id":"a","text":"x","links":["b"]},{"id":"b","text":"x","links":["a"]}],"graphkv":{"strategy":"dag"}`, "messages", "invalid_value"},
	} {
		var body map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(`{"messages":[{"role":"user","content":"x"}],`+c.fields+`}`), &body))
		data, err := json.Marshal(body)
		require.NoError(t, err)
		_, e := s.refuse(400, c.code, "POST", path, string(data))
		require.NotNil(t, e.Error.Param, c.fields)
		require.Equal(t, c.param, *e.Error.Param, c.fields)
	}
	for _, body := range []string{"{", "nil", `"x"`, "[]", `{"messages":[{"role":"user","content":"` + "\xff" + `"}]}`, chatBody("") + "x", chatBody(`,"x":` + strings.Repeat("[", 20000))} {
		resp, data := s.do("POST", path, body)
		require.Equal(t, 400, resp.StatusCode, "%s", data)
	}
	s.refuse(415, "unsupported_media_type", "POST", path, chatBody(""), "Content-Type", "text/plain")
	s.refuse(415, "unsupported_media_type", "POST", path, chatBody(""), "Content-Type", "")
	s.ok("POST", path, chatBody(`,"max_tokens":1`), nil, "Content-Type", "Application/JSON; charset=utf-8")
}

func TestCompletions(t *testing.T) {
	s := serve(t, Options{})
	const path = "/v1/completions"
	var a, b reply
	s.ok("POST", path, `{"model":"servertest","prompt":"Once upon","temperature":0,"logprobs":null,"echo":false,"best_of":1,"n":1}`, &a)
	require.Equal(t, "text_completion", a.Object)
	require.Equal(t, defaultCompletionTokens, a.Usage.CompletionTokens)
	ids, err := json.Marshal(s.engine.Tokenizer().Encode(nil, "Once upon", true))
	require.NoError(t, err)
	for _, prompt := range []string{`["Once upon"]`, string(ids), "[" + string(ids) + "]"} {
		s.ok("POST", path, `{"prompt":`+prompt+`,"temperature":0}`, &b)
		require.Equal(t, a.text(), b.text())
	}
	text := ""
	events := s.stream(path, `{"prompt":"Once upon","temperature":0,"stream":true}`)
	for _, data := range events[:len(events)-1] {
		var r reply
		require.NoError(t, json.Unmarshal([]byte(data), &r))
		require.Equal(t, "text_completion", r.Object)
		text += r.Choices[0].Text
	}
	require.Equal(t, a.text(), text)

	// What two long prompts begin with in common is encoded once.
	common := strings.Repeat("0123456789", 30)
	s.ok("POST", path, `{"prompt":"`+common+` one","max_tokens":1}`, nil)
	s.ok("POST", path, `{"prompt":"`+common+` two","max_tokens":1}`, &b)
	require.Equal(t, 2*promptBlock, b.Usage.Details.CachedTokens)

	// With documents, the prompt is the question.
	s.ok("POST", path, `{"prompt":"Who?","max_tokens":1,"documents":[{"id":"a","text":"Ann"}],"graphkv":{"strategy":"pcw"}}`, &b)
	require.Equal(t, len("Ann\nWho?"), b.Usage.PromptTokens)

	for body, param := range map[string]string{
		`{"prompt":""}`: "prompt", `{}`: "prompt", `{"prompt":[]}`: "prompt", `{"prompt":{}}`: "prompt", `{"prompt":["a","b"]}`: "prompt", `{"prompt":[[999]]}`: "prompt",
		`{"prompt":"x","suffix":"y"}`: "suffix", `{"prompt":"x","echo":true}`: "echo", `{"prompt":"x","best_of":2}`: "best_of", `{"prompt":"x","logprobs":0}`: "logprobs",
	} {
		resp, data := s.do("POST", path, body)
		require.Equal(t, 400, resp.StatusCode, "%s", body)
		var e wireError
		require.NoError(t, json.Unmarshal(data, &e))
		require.Equal(t, param, *e.Error.Param, body)
	}
}
