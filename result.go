// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import "time"

// FinishReason says why an answer ended.
type FinishReason string

const (
	FinishStop   FinishReason = "stop"   // an end token or a stop string
	FinishLength FinishReason = "length" // the token limit or the model's context
)

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`     // of all nodes of the plan
	EncodedTokens    int `json:"encoded_tokens"`    // computed for this request; of a repaired node, the tokens encoded again
	CachedTokens     int `json:"cached_tokens"`     // reused; encoded + cached = prompt
	FetchedTokens    int `json:"fetched_tokens"`    // of those, fetched by this request from tiers below memory
	CompletionTokens int `json:"completion_tokens"` // generated, an end token included
}

// Timings says where a request's time went, in milliseconds.
type Timings struct {
	Prepare    float64 `json:"prepare"`     // encoding what was missing, and the query
	FirstToken float64 `json:"first_token"` // from the call to the first token (TTFT)
	Decode     float64 `json:"decode"`      // from the first token to the last
	Total      float64 `json:"total"`
}

// DecodeRate returns tokens per second after the first, 0 when there are none.
func (r *Result) DecodeRate() float64 {
	if r.Usage.CompletionTokens < 2 || r.Timings.Decode == 0 {
		return 0
	}
	return float64(r.Usage.CompletionTokens-1) / r.Timings.Decode * 1000
}

// Result is an answer.
type Result struct {
	Text         string       `json:"text"` // without end tokens and stop strings
	Tokens       []int32      `json:"tokens"`
	FinishReason FinishReason `json:"finish_reason"`
	Usage        Usage        `json:"usage"`
	Timings      Timings      `json:"timings_ms"`
	// Logits at the query's last token, [vocabulary], when [WithLogits] asked for them.
	Logits []float32 `json:"-"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
