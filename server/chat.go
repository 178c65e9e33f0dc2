// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/chat"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/sample"
)

// chatRequest is the body of /v1/chat/completions.
type chatRequest struct {
	common
	Messages            []chatMessage   `json:"messages"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Logprobs            *bool           `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	Tools               json.RawMessage `json:"tools"`
	Functions           json.RawMessage `json:"functions"`
	ResponseFormat      *responseFormat `json:"response_format"`
}

type responseFormat struct {
	Type string `json:"type"`
}

type chatMessage struct {
	Role      string          `json:"role"`
	Content   content         `json:"content"`
	ToolCalls json.RawMessage `json:"tool_calls"`
}

// content is a text, or its parts.
type content string

func (c *content) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		*c = ""
		return nil
	case data[0] == '"':
		return json.Unmarshal(data, (*string)(c))
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return invalid("messages", "invalid_type", "the content of a message is neither a text nor a list of parts")
	}
	var text strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return unsupported("messages", "a part of a message is of type %q; this model reads text", p.Type)
		}
		text.WriteString(p.Text)
	}
	*c = content(text.String())
	return nil
}

// conversation reads the messages.
func (q *chatRequest) conversation(l Limits) ([]chat.Message, error) {
	switch n := len(q.Messages); {
	case n == 0:
		return nil, invalid("messages", "invalid_value", "there are no messages")
	case n > l.Segments: // before the template reads them
		return nil, tooLarge("messages", "too_many_segments", "there are %d messages, the limit is %d", n, l.Segments)
	}
	out := make([]chat.Message, len(q.Messages))
	for i, m := range q.Messages {
		switch m.Role {
		case "system", "user", "assistant":
		case "developer": // OpenAI's later name
			m.Role = "system"
		case "tool", "function":
			return nil, unsupported("messages", "message %d has the role %q; tools are not supported", i, m.Role)
		default:
			return nil, invalid("messages", "invalid_value", "message %d has no role that is known", i)
		}
		if !isNull(m.ToolCalls) && string(m.ToolCalls) != "[]" {
			return nil, unsupported("messages", "message %d has tool calls, which are not supported", i)
		}
		out[i] = chat.Message{Role: m.Role, Content: string(m.Content)}
	}
	return out, nil
}

func (q *chatRequest) check(s *Server) error {
	if err := q.common.check(s); err != nil {
		return err
	}
	list := func(raw json.RawMessage) bool { return !isNull(raw) && string(raw) != "[]" }
	switch {
	case q.Logprobs != nil && *q.Logprobs:
		return unsupported("logprobs", "logprobs are not supported")
	case q.TopLogprobs != nil && *q.TopLogprobs != 0:
		return unsupported("top_logprobs", "top_logprobs are not supported")
	case list(q.Tools):
		return unsupported("tools", "tools are not supported")
	case list(q.Functions):
		return unsupported("functions", "functions are not supported")
	case q.ResponseFormat != nil && q.ResponseFormat.Type != "text" && q.ResponseFormat.Type != "":
		return unsupported("response_format", "response_format of type %q is not supported", q.ResponseFormat.Type)
	case q.MaxTokens != nil && q.MaxCompletionTokens != nil && *q.MaxTokens != *q.MaxCompletionTokens:
		return invalid("max_tokens", "invalid_value", "max_tokens and max_completion_tokens differ")
	}
	return nil
}

// turn is a chat request that may run.
type turn struct {
	request  *graphkv.Request
	plan     *graphkv.Plan
	sampling sample.Params
}

func (x *exchange) chat() error {
	var q chatRequest
	t, err := x.turn(&q)
	if err != nil {
		return err
	}
	return x.complete(&q.common, t.plan, t.sampling, chatShape)
}

// turn reads a chat request into q, waits until it may run, and makes its plan.
func (x *exchange) turn(q *chatRequest) (*turn, error) {
	if err := x.decode(q); err != nil {
		return nil, err
	}
	if err := q.check(x.Server); err != nil {
		return nil, err
	}
	messages, err := q.conversation(x.limits)
	if err != nil {
		return nil, err
	}
	param, asked := "max_completion_tokens", q.MaxCompletionTokens
	if asked == nil && q.MaxTokens != nil {
		param, asked = "max_tokens", q.MaxTokens
	}
	maxTokens, err := x.answerTokens(param, asked, x.limits.MaxTokens)
	if err != nil {
		return nil, err
	}
	t := new(turn)
	if t.sampling, err = q.sampling(); err != nil {
		return nil, err
	}
	if err := x.admit(); err != nil {
		return nil, err
	}
	if t.request, err = x.converse(messages, &q.extension); err != nil {
		return nil, err
	}
	p, err := x.compile("messages", t.request)
	if err != nil {
		return nil, err
	}
	x.logPrompt(func() []slog.Attr {
		return []slog.Attr{slog.Any("messages", messages), slog.Any("documents", q.Documents)}
	})
	t.plan = p.WithMaxTokens(maxTokens).WithStop(q.Stop...)
	return t, nil
}

var chatShape = shape{
	prefix: "chatcmpl-", object: "chat.completion", chunk: "chat.completion.chunk",
	first: &choice{Delta: &message{Role: "assistant", Content: new(string)}},
	whole: func(text string) choice { return choice{Message: &message{Role: "assistant", Content: &text}} },
	part:  func(text string) choice { return choice{Delta: &message{Content: &text}} },
	last:  func() choice { return choice{Delta: &message{}} },
}

// converse makes a request of a conversation. The template's own text is where
// special tokens are parsed; what clients write has none.
//
// With documents, all before the first message that is not the system's is the prefix,
// and the conversation from there on is the query: the documents stand where that
// message begins.
//
// Without, every message is a segment of one causal text. So when the conversation goes
// on, all that was read before is found in the cache; of the last question, which was
// not answered yet, nothing but the head of the answer is the query.
func (x *exchange) converse(messages []chat.Message, e *extension) (*graphkv.Request, error) {
	if x.template == nil {
		return nil, unsupported("messages", "the model has no chat template; use /v1/completions")
	}
	pieces, err := x.template.Pieces(messages, true)
	if err != nil {
		return nil, refused("messages", err)
	}
	r, err := x.graph(e)
	if err != nil {
		return nil, err
	}
	if len(r.Segments) > 0 {
		at := -1
		for i, p := range pieces {
			if p.Message > 0 && messages[p.Message-1].Role != "system" {
				at = i
				break
			}
		}
		if at < 0 {
			return nil, invalid("messages", "invalid_value", "no message asks anything about the documents")
		}
		r.Prefix, r.Query = x.tokens(pieces[:at]), x.tokens(pieces[at:])
		return r, nil
	}
	r.Strategy = graphkv.Sequential
	start := 0
	for i, p := range pieces {
		if p.Message == 0 {
			continue
		}
		r.Segments = append(r.Segments, graphkv.Segment{ID: fmt.Sprint("message ", len(r.Segments)), Tokens: x.tokens(pieces[start : i+1]).Tokens})
		start = i + 1
	}
	r.Query = x.tokens(pieces[start:])
	if len(r.Query.Tokens) == 0 && len(r.Segments) > 0 { // a template without a head of the answer
		last := len(r.Segments) - 1
		r.Query, r.Segments = graphkv.Tokens(r.Segments[last].Tokens...), r.Segments[:last]
	}
	return r, nil
}

// tokens tokenises pieces of a conversation.
func (s *Server) tokens(pieces []chat.Piece) graphkv.Piece {
	return graphkv.Tokens(chat.Encode(nil, s.engine.Tokenizer(), pieces)...)
}

// templateOf reads the model's chat template; nil if it has none.
func templateOf(e *graphkv.Engine) (*chat.Template, error) {
	t, err := chat.FromGGUF(e.Metadata(), e.Tokenizer())
	if errors.Is(err, gguf.ErrMissing) {
		return nil, nil
	}
	return t, err
}
