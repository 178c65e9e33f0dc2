// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"errors"
	"fmt"
	"math"

	"github.com/graphkv/graphkv/model/gguf"
)

// FromGGUF builds the tokenizer that a GGUF file describes; the file may be closed afterwards. Errors wrap ErrUnsupported, ErrCorrupt, or
// gguf.ErrMissing and gguf.ErrType for keys that are not there or not what they should be. A file without tokenizer.ggml.pre is refused:
// there is no pre-tokenizer that would be right for all.
func FromGGUF(f *gguf.File) (*Tokenizer, error) {
	r := reader{f: f}
	if model := r.text("model"); r.err == nil && model != "gpt2" {
		return nil, fmt.Errorf("tokenizer: model %q, want \"gpt2\" (byte-level BPE): %w", model, ErrUnsupported)
	}
	c := Config{
		Pre: r.text("pre"), Tokens: r.texts("tokens"), Merges: r.texts("merges"), Types: r.types("token_type"),
		BOS: r.id("bos_token_id"), EOS: r.id("eos_token_id"), EOG: []int32{r.id("eot_token_id"), r.id("eom_token_id")},
	}
	addBOS, said := r.flag("add_bos_token")
	if r.err != nil {
		return nil, fmt.Errorf("tokenizer: %w", r.err)
	}
	t, err := New(c)
	if err != nil {
		return nil, err
	}
	if said {
		t.addBOS = addBOS
	}
	return t, nil
}

// reader reads keys under "tokenizer.ggml." and keeps the first error.
type reader struct {
	f   *gguf.File
	err error
}

// take returns what get finds under key. A key that is missing is an error only if it is required; ok says whether it was there.
func take[T any](r *reader, key string, required bool, get func(key string) (T, error)) (v T, ok bool) {
	if r.err != nil {
		return v, false
	}
	v, err := get("tokenizer.ggml." + key)
	if err != nil && (required || !errors.Is(err, gguf.ErrMissing)) {
		r.err = err
	}
	return v, err == nil
}

func (r *reader) text(key string) string {
	v, _ := take(r, key, true, r.f.String)
	return v
}

func (r *reader) texts(key string) []string {
	v, _ := take(r, key, true, r.f.Strings)
	return v
}

func (r *reader) flag(key string) (v, ok bool) {
	return take(r, key, false, r.f.Bool)
}

func (r *reader) id(key string) int32 {
	v, ok := take(r, key, false, r.f.Uint)
	switch {
	case !ok:
		return NoToken
	case v > math.MaxInt32:
		r.err = fmt.Errorf("tokenizer.ggml.%s is %d, not a token id: %w", key, v, ErrCorrupt)
		return NoToken
	}
	return int32(v)
}

func (r *reader) types(key string) []TokenType {
	v, ok := take(r, key, false, r.f.Ints)
	if !ok {
		return nil
	}
	types := make([]TokenType, len(v))
	for i, typ := range v {
		if types[i] = TokenType(typ); int64(types[i]) != typ {
			r.err = fmt.Errorf("tokenizer.ggml.%s: element %d is %d: %w", key, i, typ, ErrCorrupt)
			return nil
		}
	}
	return types
}
