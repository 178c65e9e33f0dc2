// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	randv2 "math/rand/v2"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/sample"
)

// openAIError is the dialect of OpenAI's clients.
func openAIError(e *apiError) any {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	b := body{Message: e.Message, Type: e.Type, Code: e.Code}
	if e.Param != "" {
		b.Param = &e.Param
	}
	return struct {
		Error body `json:"error"`
	}{b}
}

// common are the fields that chat and text completions share. Pointers tell what the
// client has not sent, or sent as null.
type common struct {
	Model         string         `json:"model"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options"`
	MaxTokens     *int           `json:"max_tokens"`
	N             *int           `json:"n"`
	Temperature   *float64       `json:"temperature"`
	TopP          *float64       `json:"top_p"`
	TopK          *int           `json:"top_k"` // not OpenAI's, but of other servers
	MinP          *float64       `json:"min_p"` // likewise
	Seed          *int64         `json:"seed"`
	Stop          stops          `json:"stop"`

	PresencePenalty  *float64                   `json:"presence_penalty"`
	FrequencyPenalty *float64                   `json:"frequency_penalty"`
	LogitBias        map[string]json.RawMessage `json:"logit_bias"`

	extension
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// extension are the fields that this server adds: documents that the answer is to be
// found in, and how they attend to one another.
type extension struct {
	Documents []document  `json:"documents"`
	GraphKV   *strategies `json:"graphkv"`
}

// maxStops is how many stop strings a request may have, each of up to maxStopBytes; every
// one is looked for in every piece of an answer. OpenAI allows 4.
const maxStops, maxStopBytes = 16, 4096

// checkStops refuses stop strings that cannot be used.
func checkStops(texts []string) error {
	if n := len(texts); n > maxStops {
		return invalid("stop", "too_many_stops", "there are %d stop strings, the limit is %d", n, maxStops)
	}
	for _, text := range texts {
		switch n := len(text); {
		case n == 0:
			return invalid("stop", "invalid_value", "a stop string is empty")
		case n > maxStopBytes:
			return invalid("stop", "stop_too_long", "a stop string has %d bytes, the limit is %d", n, maxStopBytes)
		}
	}
	return nil
}

// stops is a string or several.
type stops []string

func (s *stops) UnmarshalJSON(data []byte) error {
	*s = nil
	if len(data) > 0 && data[0] == '"' {
		*s = make(stops, 1)
		return json.Unmarshal(data, &(*s)[0])
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return invalid("stop", "invalid_type", "stop is neither a string nor a list of strings")
	}
	*s = list
	return nil
}

// check refuses what the server does not honour, and leaves out what changes nothing.
func (c *common) check(s *Server) error {
	if c.Model != "" && c.Model != s.model {
		return unknownModel(c.Model)
	}
	switch {
	case c.N != nil && *c.N != 1:
		return unsupported("n", "n is %d; this server gives one answer to a request", *c.N)
	case c.PresencePenalty != nil && *c.PresencePenalty != 0:
		return unsupported("presence_penalty", "presence_penalty is not supported")
	case c.FrequencyPenalty != nil && *c.FrequencyPenalty != 0:
		return unsupported("frequency_penalty", "frequency_penalty is not supported")
	case len(c.LogitBias) > 0:
		return unsupported("logit_bias", "logit_bias is not supported")
	case c.StreamOptions != nil && !c.Stream:
		return invalid("stream_options", "invalid_value", "stream_options belong to a request with stream: true")
	}
	return checkStops(c.Stop)
}

// answerTokens returns how long the answer may grow.
func (s *Server) answerTokens(param string, asked *int, standard int) (int, error) {
	switch {
	case asked == nil:
		return min(standard, s.limits.MaxTokens), nil
	case *asked < 1:
		return 0, invalid(param, "invalid_value", "%s is %d, want at least 1", param, *asked)
	case *asked > s.limits.MaxTokens:
		return 0, invalid(param, "max_tokens_too_large", "%s is %d, the limit is %d", param, *asked, s.limits.MaxTokens)
	}
	return *asked, nil
}

// sampling turns OpenAI's parameters into the sampler's. OpenAI's defaults are 1 for
// temperature and top_p, and a new seed for every request.
func (c *common) sampling() (sample.Params, error) {
	p := sample.Params{Temperature: 1, Seed: randv2.Uint64()}
	if c.Temperature != nil {
		p.Temperature = *c.Temperature
	}
	if p.Temperature < 0 || p.Temperature > 2 {
		return p, invalid("temperature", "invalid_value", "temperature is %g, want 0 to 2", p.Temperature)
	}
	if c.Seed != nil {
		p.Seed = uint64(*c.Seed)
	}
	if c.TopP != nil {
		if p.TopP = *c.TopP; p.TopP < 0 || p.TopP > 1 {
			return p, invalid("top_p", "invalid_value", "top_p is %g, want 0 to 1", p.TopP)
		}
		if p.TopP == 0 { // nothing but the likeliest token; for the sampler, 0 means all
			p.Temperature = 0
		}
	}
	if c.TopK != nil {
		p.TopK = max(*c.TopK, 0) // others write -1 for all
	}
	if c.MinP != nil {
		if p.MinP = *c.MinP; p.MinP < 0 || p.MinP > 1 {
			return p, invalid("min_p", "invalid_value", "min_p is %g, want 0 to 1", p.MinP)
		}
	}
	return p, nil
}

// usage is OpenAI's count of tokens. A node that a strategy encodes in two rounds
// counts twice, as it costs twice. An end token counts, though it has no text.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	PromptDetails    struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func usageOf(u graphkv.Usage) *usage {
	out := &usage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.PromptTokens + u.CompletionTokens}
	out.PromptDetails.CachedTokens = u.CachedTokens
	return out
}

// details are what this server adds to a response: how the answer came about.
type details struct {
	Strategy graphkv.Strategy `json:"strategy,omitempty"`
	Usage    graphkv.Usage    `json:"usage"`
	Timings  graphkv.Timings  `json:"timings_ms"`
	Waited   float64          `json:"waited_ms"`
}

func (x *exchange) details() *details {
	return &details{x.out.Strategy, x.out.Usage, x.out.Timings, float64(x.out.Waited.Microseconds()) / 1000}
}

// completion is a response, or one event of it.
type completion struct {
	ID          string   `json:"id"`
	Object      string   `json:"object"`
	Created     int64    `json:"created"`
	Model       string   `json:"model"`
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []choice `json:"choices"`
	Usage       any      `json:"usage,omitempty"` // *usage, or a null between the events of a client that asked for it
	GraphKV     *details `json:"graphkv,omitempty"`
}

type choice struct {
	Index        int                   `json:"index"`
	Message      *message              `json:"message,omitempty"`
	Delta        *message              `json:"delta,omitempty"`
	Text         *string               `json:"text,omitempty"`
	Logprobs     *struct{}             `json:"logprobs"` // always null
	FinishReason *graphkv.FinishReason `json:"finish_reason"`
}

type message struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func (s *Server) completion(prefix, object string) completion {
	return completion{ID: prefix + rand.Text(), Object: object, Created: time.Now().Unix(), Model: s.model, Fingerprint: s.fingerprint}
}

// fingerprint names what answers depend on besides the request.
func fingerprint(e *graphkv.Engine) string {
	sum := e.Metadata().Fingerprint()
	return "fp_" + hex.EncodeToString(sum[:5])
}

// null is a JSON null that omitempty keeps.
var null = json.RawMessage("null")

// shape is what chat and text completions differ in.
type shape struct {
	prefix, object, chunk string
	first                 *choice // the first event's, if it has one of its own
	whole                 func(text string) choice
	part                  func(text string) choice
	last                  func() choice
}

// complete runs a request and answers in the given shape.
func (x *exchange) complete(c *common, p *graphkv.Plan, sampling sample.Params, f shape) error {
	if !c.Stream {
		result, err := x.answer(p, nil, graphkv.WithSampling(sampling))
		if err != nil {
			return err
		}
		out := x.completion(f.prefix, f.object)
		out.Choices = []choice{f.whole(result.Text)}
		out.Choices[0].FinishReason = &result.FinishReason
		out.Usage, out.GraphKV = usageOf(result.Usage), x.details()
		return x.write(200, out)
	}
	stream := x.events()
	event := x.completion(f.prefix, f.chunk)
	withUsage := c.StreamOptions != nil && c.StreamOptions.IncludeUsage
	if withUsage {
		event.Usage = null
	}
	send := func(c choice) error {
		if !stream.begun && f.first != nil {
			event.Choices = []choice{*f.first}
			if err := stream.emit(event); err != nil {
				return err
			}
		}
		event.Choices = []choice{c}
		return stream.emit(event)
	}
	result, err := x.answer(p, func(text string) error { return send(f.part(text)) }, graphkv.WithSampling(sampling))
	if err != nil {
		return stream.close(err)
	}
	last := f.last()
	last.FinishReason = &result.FinishReason
	event.GraphKV = x.details()
	if err := send(last); err != nil {
		return err
	}
	if withUsage {
		event.GraphKV, event.Choices, event.Usage = nil, []choice{}, usageOf(result.Usage)
		if err := stream.emit(event); err != nil {
			return err
		}
	}
	return stream.close(nil)
}

// isNull reports whether a field was left out or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, null) }
