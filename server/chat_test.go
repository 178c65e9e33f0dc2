// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/server/servertest"
)

const hello = `{"model":"servertest","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello"}],"temperature":0,"max_tokens":12}`

func TestChat(t *testing.T) {
	s := serve(t, Options{})
	var r reply
	s.ok("POST", "/v1/chat/completions", hello, &r)
	require.Regexp(t, "^chatcmpl-.{20,}", r.ID)
	require.Equal(t, "chat.completion", r.Object)
	require.Equal(t, servertest.Name, r.Model)
	require.NotZero(t, r.Created)
	require.Regexp(t, "^fp_[0-9a-f]{10}$", r.Fingerprint)
	require.Len(t, r.Choices, 1)
	require.Equal(t, "assistant", r.Choices[0].Message.Role)
	require.NotEmpty(t, r.text())
	require.Equal(t, "length", *r.Choices[0].FinishReason)
	// A byte is a token: the template's two heads, their ends, and the head of the answer.
	prompt := len("system\nBe brief.\nuser\nHello\nassistant\n") + 2 + 2 + 1
	require.Equal(t, []int{prompt, 12, prompt + 12, 0}, []int{r.Usage.PromptTokens, r.Usage.CompletionTokens, r.Usage.TotalTokens, r.Usage.Details.CachedTokens})
	require.Equal(t, graphkv.Sequential, r.GraphKV.Strategy)

	// It is what the library answers to the same text in one piece.
	e := s.engine
	text := "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
	p, err := e.Compile(&graphkv.Request{Query: graphkv.Text(text), MaxTokens: 12})
	require.NoError(t, err)
	want, err := e.Generate(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, want.Text, r.text())

	// When the conversation goes on, only the new turns are encoded.
	next := fmt.Sprintf(`{"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo"}]},
		{"role":"assistant","content":%q},{"role":"user","content":"Bye"}],"temperature":0,"max_completion_tokens":3,"user":"u","store":false,"metadata":{"a":"b"},"n":null,"stop":null,"tools":[],"logprobs":false}`, r.text())
	first := r.Usage.PromptTokens - len("\nassistant\n") - 2
	s.ok("POST", "/v1/chat/completions", next, &r)
	require.Equal(t, first, r.Usage.Details.CachedTokens)
}

func TestChatStreams(t *testing.T) {
	s := serve(t, Options{})
	var whole reply
	s.ok("POST", "/v1/chat/completions", hello, &whole)
	for _, withUsage := range []bool{false, true} {
		body := strings.Replace(hello, "{", fmt.Sprintf(`{"stream":true,"stream_options":{"include_usage":%v},`, withUsage), 1)
		events := s.stream("/v1/chat/completions", body)
		require.Equal(t, "[DONE]", events[len(events)-1])
		events = events[:len(events)-1]
		text, id := "", ""
		for i, data := range events {
			var r reply
			require.NoError(t, json.Unmarshal([]byte(data), &r), "%s", data)
			require.Equal(t, "chat.completion.chunk", r.Object)
			require.True(t, id == "" || id == r.ID, "one id")
			id = r.ID
			if withUsage && i == len(events)-1 {
				require.Empty(t, r.Choices)
				require.Contains(t, data, `"choices":[]`)
				require.Equal(t, whole.Usage.TotalTokens, r.Usage.TotalTokens)
				break
			}
			require.Nil(t, r.Usage)
			require.Equal(t, withUsage, strings.Contains(data, `"usage":null`))
			delta := r.Choices[0].Delta
			last := i == len(events)-1 || withUsage && i == len(events)-2
			switch {
			case i == 0:
				require.Equal(t, "assistant", delta.Role)
				require.Equal(t, "", *delta.Content)
			case last:
				require.Nil(t, delta.Content)
				require.Equal(t, "length", *r.Choices[0].FinishReason)
				require.NotNil(t, r.GraphKV)
			default:
				require.Empty(t, delta.Role)
				text += *delta.Content
			}
			require.Equal(t, last, r.Choices[0].FinishReason != nil)
		}
		require.Equal(t, whole.text(), text)
	}
}

// What clients write never becomes a special token, wherever it stands.
func TestClientsWriteNoSpecialTokens(t *testing.T) {
	s := serve(t, Options{})
	tokens := func(body string) int {
		var r reply
		s.ok("POST", "/v1/chat/completions", body, &r)
		return r.Usage.PromptTokens
	}
	const marker = "<|im_end|>"
	ask := `{"messages":[{"role":"user","content":"%s"}],"max_tokens":1,"documents":[{"id":"a","title":"%s","text":"%s"}],"graphkv":{"strategy":"block"}}`
	require.Equal(t, 3*(len(marker)-1), tokens(fmt.Sprintf(ask, marker, marker, marker))-tokens(fmt.Sprintf(ask, "x", "x", "x")))
}

func TestDocumentsInChat(t *testing.T) {
	s := serve(t, Options{})
	ask := func(options string) (r reply) {
		t.Helper()
		s.ok("POST", "/v1/chat/completions", `{"model":"servertest","temperature":0,"max_tokens":8,
			"messages":[{"role":"system","content":"S"},{"role":"user","content":"Who?"},{"role":"assistant","content":"What?"},{"role":"user","content":"Who did it?"}],
			"documents":[{"id":"a","title":"A","text":"Ann did."},{"id":"b","text":"Bob did not.","links":["a","elsewhere","b","a"]}],
			"graphkv":`+options+`}`, &r)
		return r
	}
	r := ask(`{"strategy":"dag"}`)
	require.Equal(t, graphkv.DAG, r.GraphKV.Strategy)

	// The same request in the library's words: a link is an edge, the documents stand
	// before the first question, and links to what is not here are left out.
	e := s.engine
	p, err := e.Compile(&graphkv.Request{
		Strategy: graphkv.DAG,
		Prefix:   graphkv.Text("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n"),
		Segments: []graphkv.Segment{{ID: "a", Text: "- Title: A\nAnn did.\n"}, {ID: "b", Text: "Bob did not.\n"}},
		Edges:    []graphkv.Edge{{"a", "b"}},
		Query:    graphkv.Text("Who?<|im_end|>\n<|im_start|>assistant\nWhat?<|im_end|>\n<|im_start|>user\nWho did it?<|im_end|>\n<|im_start|>assistant\n"),
	})
	require.NoError(t, err)
	want, err := e.Generate(t.Context(), p.WithMaxTokens(8))
	require.NoError(t, err)
	require.Equal(t, want.Text, r.text())
	require.Equal(t, want.Usage.CachedTokens, want.Usage.PromptTokens-p.Cost().QueryTokens, "nodes have the same keys")

	require.Equal(t, graphkv.GraphKV, ask(`null`).GraphKV.Strategy)
	require.Equal(t, graphkv.Ego, ask(`{"strategy":"ego","center":"b"}`).GraphKV.Strategy)
	require.Equal(t, graphkv.GraphKVTopK, ask(`{"strategy":"graphkv-topk","top_k":1}`).GraphKV.Strategy)
	for _, options := range []string{`{"strategy":"dag","rounds":2,"positions":"sequential"}`, `{"strategy":"dag","edges":[["b","a"]],"rounds":1}`} {
		require.Equal(t, graphkv.DAG, ask(options).GraphKV.Strategy)
	}
}

func TestSamplingParameters(t *testing.T) {
	s := serve(t, Options{})
	answer := func(parameters string) string {
		var r reply
		s.ok("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hello"}],"max_tokens":30,`+parameters+`}`, &r)
		return r.text()
	}
	greedy := answer(`"temperature":0`)
	require.Equal(t, greedy, answer(`"temperature":0,"seed":5`))
	require.Equal(t, greedy, answer(`"top_p":0`))
	require.Equal(t, greedy, answer(`"top_k":1`))
	require.Equal(t, answer(`"seed":5`), answer(`"seed":5`))
	require.NotEqual(t, answer(`"seed":5,"temperature":2`), answer(`"seed":6,"temperature":2`))
	require.NotEqual(t, answer(`"temperature":2`), answer(`"temperature":2`), "every request has a seed of its own")
	half := len(greedy) / 2
	stop := greedy[half : half+3]
	before, _, _ := strings.Cut(greedy, stop)
	escaped, err := json.Marshal(stop)
	require.NoError(t, err)
	require.Equal(t, before, answer(fmt.Sprintf(`"temperature":0,"stop":%s`, escaped)))
	require.Equal(t, before, answer(fmt.Sprintf(`"temperature":0,"stop":["\u0000",%s]`, escaped)))
}

func TestModels(t *testing.T) {
	s := serve(t, Options{Model: "org/name"})
	var list struct {
		Object string
		Data   []model
	}
	s.ok("GET", "/v1/models", "", &list)
	require.Equal(t, "list", list.Object)
	require.Len(t, list.Data, 1)
	require.Equal(t, "org/name", list.Data[0].ID)
	var one model
	s.ok("GET", "/v1/models/org/name", "", &one)
	require.Equal(t, list.Data[0], one)
	s.ok("GET", "/v1/models/org%2Fname", "", &one)
	s.refuse(404, "model_not_found", "GET", "/v1/models/other", "")
	s.refuse(404, "model_not_found", "POST", "/v1/chat/completions", `{"model":"other","messages":[{"role":"user","content":"x"}]}`)
}
