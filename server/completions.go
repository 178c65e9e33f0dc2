// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/graphkv/graphkv"
)

// completionRequest is the body of /v1/completions.
type completionRequest struct {
	common
	Prompt   prompt  `json:"prompt"`
	Suffix   *string `json:"suffix"`
	Echo     *bool   `json:"echo"`
	BestOf   *int    `json:"best_of"`
	Logprobs *int    `json:"logprobs"`
}

// prompt is a text or token ids; a list with one of either is the same.
type prompt struct {
	text   string
	tokens []int32
}

func (p *prompt) UnmarshalJSON(data []byte) error {
	*p = prompt{}
	wrong := invalid("prompt", "invalid_type", "prompt is neither a text nor a list of token ids")
	switch data[0] {
	case '"':
		return json.Unmarshal(data, &p.text)
	case '[':
	default:
		return wrong
	}
	if json.Unmarshal(data, &p.tokens) == nil {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return wrong
	}
	if len(list) != 1 {
		return unsupported("prompt", "there are %d prompts; this server answers one in a request", len(list))
	}
	if list[0][0] == '"' {
		return json.Unmarshal(list[0], &p.text)
	}
	if json.Unmarshal(list[0], &p.tokens) != nil {
		return wrong
	}
	return nil
}

// defaultCompletionTokens is OpenAI's default for text completions.
const defaultCompletionTokens = 16

func (q *completionRequest) check(s *Server) error {
	if err := q.common.check(s); err != nil {
		return err
	}
	switch {
	case q.Suffix != nil && *q.Suffix != "":
		return unsupported("suffix", "suffix is not supported")
	case q.Echo != nil && *q.Echo:
		return unsupported("echo", "echo is not supported")
	case q.BestOf != nil && *q.BestOf != 1:
		return unsupported("best_of", "best_of is %d; this server makes one answer to a request", *q.BestOf)
	case q.Logprobs != nil:
		return unsupported("logprobs", "logprobs are not supported")
	}
	return nil
}

func (x *exchange) completeText() error {
	var q completionRequest
	if err := x.decode(&q); err != nil {
		return err
	}
	if err := q.check(x.Server); err != nil {
		return err
	}
	maxTokens, err := x.answerTokens("max_tokens", q.MaxTokens, defaultCompletionTokens)
	if err != nil {
		return err
	}
	sampling, err := q.sampling()
	if err != nil {
		return err
	}
	if err := x.admit(); err != nil {
		return err
	}
	r, err := x.continued(&q)
	if err != nil {
		return err
	}
	p, err := x.compile("prompt", r)
	if err != nil {
		return err
	}
	x.logPrompt(func() []slog.Attr {
		return []slog.Attr{slog.String("prompt", q.Prompt.text), slog.Any("tokens", q.Prompt.tokens), slog.Any("documents", q.Documents)}
	})
	return x.complete(&q.common, p.WithMaxTokens(maxTokens).WithStop(q.Stop...), sampling, textShape)
}

var textShape = shape{
	prefix: "cmpl-", object: "text_completion", chunk: "text_completion",
	whole: func(text string) choice { return choice{Text: &text} },
	part:  func(text string) choice { return choice{Text: &text} },
	last:  func() choice { return choice{Text: new(string)} },
}

// continued makes a request of a prompt. With documents, the prompt is the query over
// them.
func (x *exchange) continued(q *completionRequest) (*graphkv.Request, error) {
	r, err := x.graph(&q.extension)
	if err != nil {
		return nil, err
	}
	t := x.engine.Tokenizer()
	ids := q.Prompt.tokens
	if q.Prompt.text != "" {
		ids = t.Encode(nil, q.Prompt.text, true)
	}
	if len(ids) == 0 {
		return nil, invalid("prompt", "invalid_value", "the prompt is empty")
	}
	if bos, ok := t.BOS(); ok && t.AddBOS() && q.Prompt.text != "" && ids[0] != bos {
		r.Prefix = graphkv.Tokens(bos)
	}
	if len(r.Segments) > 0 {
		r.Query = graphkv.Tokens(ids...)
		return r, nil
	}
	sequence(r, ids)
	return r, nil
}

// promptBlock is the length of the pieces of a prompt that are cached: what two prompts
// begin with in common is found as far as whole pieces go.
const promptBlock = 128

// sequence makes ids one causal text, of which all but the end is cached.
func sequence(r *graphkv.Request, ids []int32) {
	r.Strategy = graphkv.Sequential
	for len(ids) > promptBlock {
		r.Segments = append(r.Segments, graphkv.Segment{ID: fmt.Sprint("block ", len(r.Segments)), Tokens: ids[:promptBlock]})
		ids = ids[promptBlock:]
	}
	r.Query = graphkv.Tokens(ids...)
}
