// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readJSON decodes testdata/name, gunzipping it if its name says so.
func readJSON(name string, v any) error {
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		return err
	}
	defer f.Close()
	if filepath.Ext(name) != ".gz" {
		return json.NewDecoder(f).Decode(v)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return json.NewDecoder(z).Decode(v)
}

// smolLM2 is the vocabulary of SmolLM2-135M-Instruct, as its GGUF file has it.
var smolLM2 = sync.OnceValues(func() (Config, error) {
	var v struct {
		Tokens, Merges []string
		Types          map[string]TokenType
		Pre            string
		BOS, EOS       int32
	}
	if err := readJSON("smollm2.json.gz", &v); err != nil {
		return Config{}, err
	}
	c := Config{Tokens: v.Tokens, Merges: v.Merges, Pre: v.Pre, BOS: v.BOS, EOS: v.EOS, Types: make([]TokenType, len(v.Tokens))}
	for i := range c.Types {
		c.Types[i] = Normal
	}
	for k, typ := range v.Types {
		i, err := strconv.Atoi(k)
		if err != nil {
			return Config{}, err
		}
		c.Types[i] = typ
	}
	return c, nil
})

// smol returns a tokenizer with SmolLM2's vocabulary and the given pre-tokenizer; "" for its own. It is made once.
func smol(t testing.TB, pre string) *Tokenizer {
	t.Helper()
	if tok, ok := made.Load(pre); ok {
		return tok.(*Tokenizer)
	}
	c, err := smolLM2()
	require.NoError(t, err)
	if pre != "" {
		c.Pre = pre
	}
	tok, err := New(c)
	require.NoError(t, err)
	made.Store(pre, tok)
	return tok
}

var made sync.Map // pre-tokenizer → *Tokenizer

// TestLlamaCpp compares with llama.cpp on SmolLM2's own tokenizer.
func TestLlamaCpp(t *testing.T) {
	var cases []struct {
		Text       string
		IDs        []int32
		SpecialIDs []int32 `json:"ids_special"`
	}
	require.NoError(t, readJSON("strings.json", &cases))
	require.NotEmpty(t, cases)
	tok := smol(t, "")
	parsed := 0
	for _, c := range cases {
		assert.Equal(t, c.IDs, tok.Encode([]int32{}, c.Text, false), "%q", c.Text)
		assert.Equal(t, c.SpecialIDs, tok.Encode([]int32{}, c.Text, true), "%q, special", c.Text)
		assert.Equal(t, c.Text, tok.Decode(c.IDs))
		assert.Equal(t, c.Text, tok.Decode(c.SpecialIDs))
		if len(c.IDs) != len(c.SpecialIDs) {
			parsed++
		}
	}
	assert.GreaterOrEqual(t, parsed, 2, "strings with special tokens")
}

// TestHuggingFace compares with Hugging Face's tokenizers (testdata/generate.py): pieces and ids, all pre-tokenizers.
func TestHuggingFace(t *testing.T) {
	var refs []struct {
		Pre, Vocab     string
		Tokens, Merges []string
		Cases          []struct {
			Text       string
			Pieces     []int
			IDs        []int32
			SpecialIDs []int32 `json:"special_ids"`
		}
	}
	require.NoError(t, readJSON("reference.json.gz", &refs))
	require.Len(t, refs, 8)
	for _, ref := range refs {
		t.Run(ref.Pre+"/"+ref.Vocab, func(t *testing.T) {
			tok := (*Tokenizer)(nil)
			if ref.Vocab == "smollm2" {
				tok = smol(t, ref.Pre)
			} else {
				var err error
				tok, err = New(Config{Tokens: ref.Tokens, Merges: ref.Merges, Pre: ref.Pre, BOS: NoToken, EOS: NoToken})
				require.NoError(t, err)
			}
			require.GreaterOrEqual(t, len(ref.Cases), 200)
			for _, c := range ref.Cases {
				assert.Equal(t, c.Pieces, pieces(tok, c.Text), "pieces of %q", c.Text)
				assert.Equal(t, c.IDs, tok.Encode([]int32{}, c.Text, false), "%q", c.Text)
				if c.SpecialIDs != nil {
					assert.Equal(t, c.SpecialIDs, tok.Encode([]int32{}, c.Text, true), "%q, special", c.Text)
				}
			}
		})
	}
}

// pieces returns the lengths of the pieces that s is cut into.
func pieces(tok *Tokenizer, s string) []int {
	out := []int{}
	for i := 0; i < len(s); {
		e := tok.pre.next(s, i)
		out = append(out, e-i)
		i = e
	}
	return out
}
