// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/eval"
	"github.com/graphkv/graphkv/model/chat"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/tokenizer"
)

// vocabulary is what the text side of a model needs: no weights.
type vocabulary struct {
	tokenizer *tokenizer.Tokenizer
	chat      *chat.Template
}

// newVocabulary reads the chat template of the model that t belongs to.
func newVocabulary(f *gguf.File, t *tokenizer.Tokenizer) (*vocabulary, error) {
	c, err := chat.FromGGUF(f, t)
	if errors.Is(err, gguf.ErrMissing) {
		return nil, fmt.Errorf("%w; a model without a chat template needs --request", err)
	}
	if err != nil {
		return nil, err
	}
	return &vocabulary{tokenizer: t, chat: c}, nil
}

// request wraps passages and a question in the model's chat template, in the wording of
// the published Graph-KV evaluation. Only the template's own text may hold special
// tokens; the question never does.
func (v *vocabulary) request(d *documents) (*graphkv.Request, error) {
	before, after, err := v.chat.Wrap("")
	if err != nil {
		return nil, err
	}
	words := eval.RAG.Wording()
	prefix := chat.Encode(nil, v.tokenizer, before)
	prefix = v.tokenizer.Encode(prefix, words.Instruction, false)
	query := v.tokenizer.Encode(nil, words.Before+d.Question+words.After, false)
	query = chat.Encode(query, v.tokenizer, after)
	r := &graphkv.Request{Prefix: graphkv.Tokens(prefix...), Query: graphkv.Tokens(query...), Center: d.Center}
	for _, doc := range d.Documents {
		r.Segments = append(r.Segments, graphkv.Segment{ID: doc.ID, Text: eval.RAG.Block(eval.Document{Title: doc.Title, Text: doc.Text})})
		for _, source := range doc.Links {
			r.Edges = append(r.Edges, [2]string{source, doc.ID})
		}
	}
	return r, nil
}

// request makes a request of passages and a question as the flags say, for the model that t
// belongs to.
func (in *input) request(d *documents, f *gguf.File, t *tokenizer.Tokenizer) (*graphkv.Request, error) {
	v, err := newVocabulary(f, t)
	if err != nil {
		return nil, err
	}
	r, err := v.request(d)
	if err != nil {
		return nil, err
	}
	in.override(r)
	return r, nil
}
