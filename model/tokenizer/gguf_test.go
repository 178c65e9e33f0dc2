// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

// TestTinyModel holds the test models' own examples, made with Hugging Face's tokenizers, against the vocabulary in their files.
func TestTinyModel(t *testing.T) {
	dir := filepath.Join("..", "testdata", "tiny")
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	require.NoError(t, err)
	var manifest struct {
		Tokenizer struct {
			Examples []struct {
				Text string
				IDs  []int32
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &manifest))
	require.NotEmpty(t, manifest.Tokenizer.Examples)
	f, err := gguf.Open(filepath.Join(dir, "tiny-Q4_0.gguf"))
	require.NoError(t, err)
	tok, err := FromGGUF(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, 320, tok.Vocab())
	assert.False(t, tok.AddBOS())
	for _, e := range manifest.Tokenizer.Examples {
		assert.Equal(t, e.IDs, tok.Encode(nil, e.Text, true), "%q", e.Text)
		assert.Equal(t, e.Text, tok.Decode(e.IDs))
	}
}

// keys is metadata in the order of writing.
type keys []struct {
	name  string
	value any
}

// file encodes a GGUF file without tensors, version 3.
func (k keys) file(t *testing.T) *gguf.File {
	t.Helper()
	var b bytes.Buffer
	write := func(v any) { require.NoError(t, binary.Write(&b, binary.LittleEndian, v)) }
	text := func(s string) { write(uint64(len(s))); b.WriteString(s) }
	b.WriteString("GGUF")
	write(uint32(3))
	write(uint64(0))
	write(uint64(len(k)))
	for _, kv := range k {
		text(kv.name)
		switch v := kv.value.(type) {
		case uint32:
			write(uint32(4))
			write(v)
		case int64:
			write(uint32(11))
			write(v)
		case bool:
			write(uint32(7))
			write(v)
		case string:
			write(uint32(8))
			text(v)
		case []string:
			write([]uint32{9, 8})
			write(uint64(len(v)))
			for _, s := range v {
				text(s)
			}
		case []int32:
			write([]uint32{9, 5})
			write(uint64(len(v)))
			write(v)
		case []int64:
			write([]uint32{9, 11})
			write(uint64(len(v)))
			write(v)
		default:
			require.Failf(t, "cannot write", "%T", v)
		}
	}
	f, err := gguf.Parse(b.Bytes())
	require.NoError(t, err)
	return f
}

// sound is the metadata of a small tokenizer.
func sound() keys {
	return keys{
		{"tokenizer.ggml.model", "gpt2"},
		{"tokenizer.ggml.pre", "llama-bpe"},
		{"tokenizer.ggml.tokens", []string{"a", "b", "ab", "<s>", "<e>", "<t>"}},
		{"tokenizer.ggml.token_type", []int32{1, 1, 1, 3, 3, 4}},
		{"tokenizer.ggml.merges", []string{"a b"}},
		{"tokenizer.ggml.bos_token_id", uint32(3)},
		{"tokenizer.ggml.eos_token_id", uint32(4)},
		{"tokenizer.ggml.eot_token_id", uint32(5)},
	}
}

func TestFromGGUF(t *testing.T) {
	tok, err := FromGGUF(sound().file(t))
	require.NoError(t, err)
	assert.Equal(t, []int32{3, 2, 0, 5, 4}, tok.Encode(nil, "<s>aba<t><e>", true))
	assert.True(t, tok.IsEOG(4))
	assert.True(t, tok.IsEOG(5))
	assert.False(t, tok.IsEOG(3))
	assert.True(t, tok.AddBOS(), "the default of llama-bpe")

	tok, err = FromGGUF(append(sound(), keys{{"tokenizer.ggml.add_bos_token", false}}...).file(t))
	require.NoError(t, err)
	assert.False(t, tok.AddBOS())

	// Only what cannot be guessed is required.
	few := sound()[:3]
	few[1].value = "qwen2"
	few = append(few, keys{{"tokenizer.ggml.merges", []string{}}, {"tokenizer.ggml.add_bos_token", true}}...)
	tok, err = FromGGUF(few.file(t))
	require.NoError(t, err)
	assert.Equal(t, []int32{0, 1}, tok.Encode(nil, "ab", true))
	_, ok := tok.EOS()
	assert.False(t, ok)
	assert.False(t, tok.AddBOS(), "there is no BOS")
}

func TestFromGGUFErrors(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any // nil: missing
		want  string
		is    error
	}{
		{"model", "llama", `tokenizer: model "llama", want "gpt2"`, ErrUnsupported},
		{"model", nil, "tokenizer.ggml.model", gguf.ErrMissing},
		{"model", uint32(1), "tokenizer.ggml.model", gguf.ErrType},
		{"pre", "deepseek-llm", `pre-tokenizer "deepseek-llm"`, ErrUnsupported},
		{"pre", nil, "tokenizer.ggml.pre", gguf.ErrMissing},
		{"tokens", nil, "tokenizer.ggml.tokens", gguf.ErrMissing},
		{"tokens", []int32{1}, "tokenizer.ggml.tokens", gguf.ErrType},
		{"tokens", []string{"a", "b", "ab", "<s>", "<e>"}, "5 tokens but 6 token types", ErrCorrupt},
		{"tokens", []string{"a", "b", "ab", "<s>", "a", "<t>"}, `tokens 0 and 4 are both "a"`, ErrCorrupt},
		{"tokens", []string{}, "no tokens", ErrCorrupt},
		{"token_type", "x", "tokenizer.ggml.token_type", gguf.ErrType},
		{"token_type", []int32{1, 1, 1, 3, 3, 9}, `token 5 "<t>" has type 9`, ErrCorrupt},
		{"token_type", []int64{1, 1, 1, 3, 3, 1<<32 + 1}, "tokenizer.ggml.token_type: element 5 is 4294967297", ErrCorrupt},
		{"merges", nil, "tokenizer.ggml.merges", gguf.ErrMissing},
		{"merges", []string{"a c"}, `merge 0 "a c": unknown token "c"`, ErrCorrupt},
		{"bos_token_id", uint32(6), "beginning-of-sequence token id 6 is not in 0…5", ErrCorrupt},
		{"eos_token_id", uint32(math.MaxUint32), "tokenizer.ggml.eos_token_id is 4294967295, not a token id", ErrCorrupt},
		{"eos_token_id", int64(-1), "tokenizer.ggml.eos_token_id", gguf.ErrType},
		{"eot_token_id", "x", "tokenizer.ggml.eot_token_id", gguf.ErrType},
	} {
		var spoiled keys
		for _, kv := range sound() {
			if kv.name == "tokenizer.ggml."+c.key {
				if kv.value = c.value; c.value == nil {
					continue
				}
			}
			spoiled = append(spoiled, kv)
		}
		_, err := FromGGUF(spoiled.file(t))
		require.ErrorIs(t, err, c.is, "%s %v", c.key, c.value)
		assert.ErrorContains(t, err, c.want)
		assert.ErrorContains(t, err, "tokenizer: ")
	}
}
