// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"

	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/model/tokenizer"
)

// FromGGUF reads the chat template of the model that t belongs to. The error wraps
// [gguf.ErrMissing] if it has none.
func FromGGUF(f *gguf.File, t *tokenizer.Tokenizer) (*Template, error) {
	source, err := f.String("tokenizer.chat_template")
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	name := func(id int32, ok bool) string {
		if !ok {
			return ""
		}
		return t.Token(id)
	}
	return New(source, name(t.BOS()), name(t.EOS()))
}

// Encode appends the token ids of pieces to dst. Special tokens are parsed in the
// template's own text and nowhere else.
func Encode(dst []int32, t *tokenizer.Tokenizer, pieces []Piece) []int32 {
	for _, p := range pieces {
		dst = t.Encode(dst, p.Text, p.Special)
	}
	return dst
}
