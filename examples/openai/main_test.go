// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/server"
	"github.com/graphkv/graphkv/server/servertest"
)

// start starts a server and returns the base of its API.
func start(t *testing.T, limits server.Limits) string {
	t.Helper()
	engine, err := graphkv.Open(servertest.Model(t))
	require.NoError(t, err)
	s, err := server.New(server.Options{Engine: engine, Limits: limits})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		h.CloseClientConnections()
		require.NoError(t, s.Drain(context.Background()))
		h.Close()
		require.NoError(t, engine.Close())
	})
	return h.URL + "/v1"
}

func newClient(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url), option.WithAPIKey("none"), option.WithMaxRetries(0))
}

// The example, run twice: the second time, all but the question comes from the cache.
func TestExample(t *testing.T) {
	client := newClient(start(t, server.Limits{}))
	documents := []Document{{ID: "a", Title: "A", Text: "Ann did it."}, {ID: "b", Text: "Bob did not.", Links: []string{"a"}}}
	var first, second strings.Builder
	require.NoError(t, ask(t.Context(), client, &first, documents, "Who?"))
	require.NoError(t, ask(t.Context(), client, &second, documents, "Who?"))
	answer, report, _ := strings.Cut(second.String(), "\n")
	require.Len(t, answer, 64, "a token of the test's model is a byte")
	require.True(t, strings.HasPrefix(first.String(), answer+"\n"))
	require.Contains(t, first.String(), " 0 of them from the cache, first token after ")
	require.Regexp(t, `^\d+ tokens read, \d\d+ of them from the cache, first token after \d+ ms\n$`, report)
}

func TestWholeAnswers(t *testing.T) {
	client := newClient(start(t, server.Limits{}))
	params := openai.ChatCompletionNewParams{
		Model:               servertest.Name,
		Messages:            []openai.ChatCompletionMessageParamUnion{openai.DeveloperMessage("Be brief."), openai.UserMessage("Hello")},
		Temperature:         openai.Float(0),
		MaxCompletionTokens: openai.Int(10),
		Seed:                openai.Int(1),
		Stop:                openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"\x00"}},
	}
	whole, err := client.Chat.Completions.New(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, "length", whole.Choices[0].FinishReason)
	require.EqualValues(t, 10, whole.Usage.CompletionTokens)
	require.Equal(t, whole.Usage.TotalTokens, whole.Usage.PromptTokens+whole.Usage.CompletionTokens)

	var streamed openai.ChatCompletionAccumulator
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	for stream.Next() {
		require.True(t, streamed.AddChunk(stream.Current()))
	}
	require.NoError(t, stream.Err())
	require.Equal(t, whole.Choices[0].Message.Content, streamed.Choices[0].Message.Content)
	require.Equal(t, "length", streamed.Choices[0].FinishReason)

	text, err := client.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: servertest.Name, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Once")}, Temperature: openai.Float(0), MaxTokens: openai.Int(5),
	})
	require.NoError(t, err)
	require.Len(t, text.Choices[0].Text, 5)
	texts := client.Completions.NewStreaming(t.Context(), openai.CompletionNewParams{
		Model: servertest.Name, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Once")}, Temperature: openai.Float(0), MaxTokens: openai.Int(5),
	})
	all := ""
	for texts.Next() {
		all += texts.Current().Choices[0].Text
	}
	require.NoError(t, texts.Err())
	require.Equal(t, text.Choices[0].Text, all)
	one, err := client.Models.Get(t.Context(), servertest.Name)
	require.NoError(t, err)
	require.Equal(t, servertest.Name, one.ID)
}

// What the server refuses arrives as the client's error.
func TestErrors(t *testing.T) {
	client := newClient(start(t, server.Limits{RequestTime: 200 * time.Millisecond, MaxTokens: 1 << 20}))
	params := openai.ChatCompletionNewParams{Model: servertest.Name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("x")}, N: openai.Int(2)}
	_, err := client.Chat.Completions.New(t.Context(), params)
	var refused *openai.Error
	require.True(t, errors.As(err, &refused))
	require.Equal(t, []any{400, "unsupported_value", "n", "invalid_request_error"}, []any{refused.StatusCode, refused.Code, refused.Param, refused.Type})

	// A stream that fails half way is an error too, not an answer that is short. The
	// model's context ends before the time does unless the machine is slow.
	params.N, params.MaxTokens = openai.Int(1), openai.Int(1<<20)
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	finished := false
	for stream.Next() {
		for _, c := range stream.Current().Choices {
			finished = finished || c.FinishReason != ""
		}
	}
	if err := stream.Err(); err != nil {
		require.ErrorContains(t, err, "request_timeout")
	} else {
		require.True(t, finished)
	}
	_, err = client.Models.Get(t.Context(), "other")
	require.True(t, errors.As(err, &refused))
	require.Equal(t, 404, refused.StatusCode)
}

// OpenAI's client for Python streams from the server unchanged. The test needs a Python
// with the package openai: python3, or what GRAPHKV_PYTHON names. Where that is set, it
// is an error if there is none.
func TestPythonClient(t *testing.T) {
	python := os.Getenv("GRAPHKV_PYTHON")
	wanted := python != ""
	if !wanted {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import openai").CombinedOutput(); err != nil {
		if wanted {
			t.Fatalf("GRAPHKV_PYTHON is %s, which has no openai: %v\n%s", python, err, out)
		}
		t.Skip("needs a Python with the package openai; GRAPHKV_PYTHON names one")
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/client.py", start(t, server.Limits{}))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "ok", strings.TrimSpace(string(out)))
}
