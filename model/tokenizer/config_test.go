// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// abc is a small sound vocabulary to spoil.
func abc() Config {
	return Config{
		Tokens: []string{"a", "b", "c", "ab", "abc", "<s>", "</s>", "日"},
		Types:  []TokenType{Normal, Normal, Normal, Normal, Normal, Control, Control, Normal},
		Merges: []string{"a b", "ab c"}, Pre: "gpt-2", BOS: 5, EOS: 6,
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		spoil func(*Config)
		want  string
		is    error
	}{
		{func(c *Config) { c.Pre = "gpt-5" }, `tokenizer: pre-tokenizer "gpt-5": not supported`, ErrUnsupported},
		{func(c *Config) { c.Pre = "" }, `tokenizer: pre-tokenizer "": not supported`, ErrUnsupported},
		{func(c *Config) { c.Tokens, c.Types = nil, nil }, "tokenizer: no tokens: corrupt vocabulary", ErrCorrupt},
		{func(c *Config) { c.Types = c.Types[1:] }, "8 tokens but 7 token types", ErrCorrupt},
		{func(c *Config) { c.Types = []TokenType{} }, "8 tokens but 0 token types", ErrCorrupt},
		{func(c *Config) { c.Types[2] = 0 }, `token 2 "c" has type 0, not 1 to 6`, ErrCorrupt},
		{func(c *Config) { c.Types[2] = 7 }, `token 2 "c" has type 7, not 1 to 6`, ErrCorrupt},
		{func(c *Config) { c.Tokens[1] = "" }, "token 1 is empty", ErrCorrupt},
		{func(c *Config) { c.Tokens[4] = "b" }, `tokens 1 and 4 are both "b"`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "ab x" }, `merge 1 "ab x": unknown token "x"`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "x c" }, `merge 1 "x c": unknown token "x"`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "b a" }, `merge 1 "b a" makes the unknown token "ba"`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "abc" }, `merge 1 "abc" is not two tokens`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "" }, `merge 1 "" is not two tokens`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = " b" }, `merge 1 " b" is not two tokens`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "b " }, `merge 1 "b " is not two tokens`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "a b c" }, `merge 1 "a b c" is not two tokens`, ErrCorrupt},
		{func(c *Config) { c.Merges[1] = "a b" }, `merges 0 and 1 are both "a b"`, ErrCorrupt},
		{func(c *Config) { c.Types[3] = Control }, `merge 0 "a b": "ab" is a control token`, ErrCorrupt},
		{func(c *Config) { c.Tokens[3] = "日b"; c.Merges = []string{"日 b"} }, `"日" is a control token or not spelled`, ErrCorrupt},
		{func(c *Config) { c.BOS = 8 }, "beginning-of-sequence token id 8 is not in 0…7", ErrCorrupt},
		{func(c *Config) { c.BOS = -2 }, "beginning-of-sequence token id -2 is not in 0…7", ErrCorrupt},
		{func(c *Config) { c.EOS = 1 << 30 }, "end-of-sequence token id 1073741824 is not in 0…7", ErrCorrupt},
		{func(c *Config) { c.EOG = []int32{1, 9} }, "end-of-generation token id 9 is not in 0…7", ErrCorrupt},
	} {
		config := abc()
		c.spoil(&config)
		_, err := New(config)
		require.ErrorIs(t, err, c.is, c.want)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestAccessors(t *testing.T) {
	config := abc()
	config.EOG = []int32{NoToken, 2}
	tok, err := New(config)
	require.NoError(t, err)
	config.Tokens[0], config.Types[0] = "z", Control // the tokenizer has its own copy

	assert.Equal(t, 8, tok.Vocab())
	bos, ok := tok.BOS()
	assert.True(t, ok)
	assert.EqualValues(t, 5, bos)
	eos, ok := tok.EOS()
	assert.True(t, ok)
	assert.EqualValues(t, 6, eos)
	assert.False(t, tok.AddBOS())
	var eog, special []int32
	for id := range int32(8) {
		if tok.IsEOG(id) {
			eog = append(eog, id)
		}
		if tok.Special(id) {
			special = append(special, id)
		}
		got, ok := tok.ID(tok.Token(id))
		assert.True(t, ok)
		assert.Equal(t, id, got)
	}
	assert.Equal(t, []int32{2, 6}, eog)
	assert.Equal(t, []int32{5, 6}, special)
	_, ok = tok.ID("z")
	assert.False(t, ok)
	assert.Equal(t, "a日<s>", tok.Decode([]int32{0, 7, 5}))
	assert.Empty(t, tok.Encode(nil, "日", false), "its bytes have no tokens")

	config = abc()
	config.BOS, config.EOS, config.Pre, config.Types = NoToken, NoToken, "llama-bpe", nil
	tok, err = New(config)
	require.NoError(t, err)
	_, ok = tok.BOS()
	assert.False(t, ok)
	_, ok = tok.EOS()
	assert.False(t, ok)
	assert.False(t, tok.AddBOS(), "there is none to add")
	assert.False(t, tok.IsEOG(NoToken))
	assert.False(t, slices.ContainsFunc([]int32{0, 5, 6}, tok.Special))
}

func TestEndOfGeneration(t *testing.T) {
	tok := smol(t, "")
	for name, want := range map[string]bool{"<|im_end|>": true, "<|endoftext|>": true, "<|im_start|>": false, "Ġthe": false} {
		id, ok := tok.ID(name)
		require.True(t, ok)
		assert.Equal(t, want, tok.IsEOG(id), name)
	}
}
