// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package servertest makes a model for tests of servers: small, with a chat template,
// and with answers that are printable, depend on every word of the prompt and do not
// end by themselves at temperature 0.
package servertest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/graphkv/graphkv/model/gguf"
)

// Name is the model's name in its file, and Context its length in tokens.
const (
	Name    = "servertest"
	Context = 8192
)

const template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}" +
	"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

const (
	layers, hidden, ffn, heads, kvHeads, headDim = 2, 64, 96, 4, 2, 16
	special                                      = 3
	vocabulary                                   = special + 256
)

// Model writes the model into a folder of the test's and returns the file's path.
func Model(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "servertest.gguf")
	if err := Write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Write writes the model to a file; it is the same every time.
func Write(path string) error {
	var b gguf.Builder
	tokens, types := []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, []int32{3, 3, 3}
	for i := range 256 {
		tokens, types = append(tokens, string(letter(byte(i)))), append(types, 1)
	}
	metadata := []struct {
		key   string
		value any
	}{
		{"general.architecture", "llama"},
		{"general.name", Name},
		{"llama.block_count", uint32(layers)},
		{"llama.context_length", uint32(Context)},
		{"llama.embedding_length", uint32(hidden)},
		{"llama.feed_forward_length", uint32(ffn)},
		{"llama.attention.head_count", uint32(heads)},
		{"llama.attention.head_count_kv", uint32(kvHeads)},
		{"llama.rope.freq_base", float32(10000)},
		{"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"llama.vocab_size", uint32(vocabulary)},
		{"llama.rope.dimension_count", uint32(headDim)},
		{"tokenizer.ggml.model", "gpt2"},
		{"tokenizer.ggml.pre", "smollm"},
		{"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.token_type", types},
		{"tokenizer.ggml.merges", []string{}},
		{"tokenizer.ggml.bos_token_id", uint32(1)},
		{"tokenizer.ggml.eos_token_id", uint32(2)},
		{"tokenizer.ggml.add_bos_token", false},
		{"tokenizer.chat_template", template},
	}
	for _, m := range metadata {
		if err := b.Set(m.key, m.value); err != nil {
			return err
		}
	}
	r := rand.New(rand.NewPCG(2506, 7334))
	var err error
	random := func(in, out int, gain float64) []float32 {
		w := make([]float32, in*out)
		for i := range w {
			w[i] = float32(r.NormFloat64() * gain / math.Sqrt(float64(in)))
		}
		return w
	}
	add := func(name string, in, out int, w []float32) {
		if err == nil {
			err = b.AddFloat32(name, []int{in, out}, w)
		}
	}
	matrix := func(name string, in, out int) { add(name, in, out, random(in, out, 2)) }
	norm := func(name string) {
		w := make([]float32, hidden)
		for i := range w {
			w[i] = 1
		}
		if err == nil {
			err = b.AddFloat32(name, []int{hidden}, w)
		}
	}
	add("token_embd.weight", hidden, vocabulary, random(hidden, vocabulary, 1))
	norm("output_norm.weight")
	// Tokens that do not print, and those that end an answer, have the logit 0; the
	// largest of all the others is larger.
	output := random(hidden, vocabulary, 2)
	for id := range vocabulary {
		if c := id - special; c < 32 || c > 126 {
			clear(output[id*hidden : (id+1)*hidden])
		}
	}
	add("output.weight", hidden, vocabulary, output)
	for l := range layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s.weight", l, s) }
		norm(name("attn_norm"))
		norm(name("ffn_norm"))
		matrix(name("attn_q"), hidden, heads*headDim)
		matrix(name("attn_k"), hidden, kvHeads*headDim)
		matrix(name("attn_v"), hidden, kvHeads*headDim)
		matrix(name("attn_output"), heads*headDim, hidden)
		matrix(name("ffn_gate"), hidden, ffn)
		matrix(name("ffn_up"), hidden, ffn)
		matrix(name("ffn_down"), ffn, hidden)
	}
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := b.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// letter returns the character that stands for a byte in byte-level vocabularies.
func letter(b byte) rune {
	printable := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	if printable(int(b)) {
		return rune(b)
	}
	n := rune(0)
	for c := range int(b) {
		if !printable(c) {
			n++
		}
	}
	return 256 + n
}
