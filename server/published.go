// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/sample"
)

// published is a request of the client that evaluates the published method. Blocks are
// a prefix, a text between that and the contexts, the contexts in ascending relevance,
// and the question:
//
//	POST /generate_vanilla      all of it is one text
//	POST /generate_block        every context alone
//	POST /generate_gapemp       Graph-KV, both rounds over all contexts
//	POST /generate_gapemp_appr  Graph-KV, the second round over the last top_k contexts
//
// As published, the text in between is read by the first alone, and answers have up to
// 1024 tokens, each the likeliest. Unlike there, pieces are tokenised separately in the
// first too, a context never holds special tokens, an answer ends before its end token
// and stop string, and what is longer than the model's context is refused, not cut.
type published struct {
	Blocks []string `json:"blocks"`
	TopK   *int     `json:"top_k"`
	Local  *int     `json:"num_local_attention_blocks"`
}

const publishedTokens = 1024

// publishedStops end the answers of /generate_block.
var publishedStops = []string{"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "Question:"}

// publishedAnswer is the response, also to what goes wrong; then Ret is not 0.
type publishedAnswer struct {
	Ret       int    `json:"ret"`
	Generated string `json:"generated"`
	Message   string `json:"message"`
}

func publishedError(e *apiError) any { return publishedAnswer{Ret: e.Status, Message: e.Message} }

// publishedRoute returns the handler of one of the four paths.
func publishedRoute(strategy graphkv.Strategy) func(*exchange) error {
	return func(x *exchange) error {
		var q published
		if err := x.decode(&q); err != nil {
			return err
		}
		r, err := q.request(strategy)
		if err != nil {
			return err
		}
		if err := x.admit(); err != nil {
			return err
		}
		p, err := x.compile("blocks", r)
		if err != nil {
			return err
		}
		x.logPrompt(func() []slog.Attr { return []slog.Attr{slog.Any("blocks", q.Blocks)} })
		p = p.WithMaxTokens(min(publishedTokens, x.limits.MaxTokens))
		if strategy == graphkv.Block {
			p = p.WithStop(publishedStops...)
		}
		result, err := x.answer(p, nil, graphkv.WithSampling(sample.Params{}))
		if err != nil {
			return err
		}
		return x.write(http.StatusOK, publishedAnswer{Generated: result.Text})
	}
}

func (q *published) request(strategy graphkv.Strategy) (*graphkv.Request, error) {
	if len(q.Blocks) < 3 {
		return nil, invalid("blocks", "invalid_value", "there are %d blocks, want a prefix, a text in between, contexts and a question", len(q.Blocks))
	}
	last := len(q.Blocks) - 1
	contexts := q.Blocks[2:last]
	r := &graphkv.Request{Strategy: strategy, Prefix: graphkv.Text(q.Blocks[0]), Query: graphkv.Text(q.Blocks[last])}
	if strategy == graphkv.Sequential {
		contexts = q.Blocks[1:last]
	}
	if strategy == graphkv.GraphKVTopK {
		switch {
		case q.TopK == nil || *q.TopK < 0:
			return nil, invalid("top_k", "invalid_value", "top_k is missing or negative")
		case *q.TopK == 0: // the last 0 of a list are, as published, all of it
			r.Strategy = graphkv.GraphKV
		default:
			r.TopK = *q.TopK
		}
	}
	if q.Local != nil && *q.Local < 1+len(contexts) && strategy == graphkv.Block {
		return nil, unsupported("num_local_attention_blocks", "num_local_attention_blocks is %d, which would put contexts into the question", *q.Local)
	}
	for i, text := range contexts {
		if text != "" {
			r.Segments = append(r.Segments, graphkv.Segment{ID: fmt.Sprint("context ", i), Text: text})
		}
	}
	return r, nil
}
