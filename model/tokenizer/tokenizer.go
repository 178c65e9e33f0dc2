// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package tokenizer turns text into token ids and back: byte-level byte-pair encoding as GPT-2 introduced it and as the models of the
// Llama 3, Qwen 2 and SmolLM families use it, built from nothing but what a GGUF file says.
//
// Text is first cut into pieces by the model's pre-tokenizer. The regular expressions that define it need look-ahead and would cost more
// than everything else, so they are written out by hand as scanners over a table of Unicode classes; the tests hold them against the
// expressions themselves, run by Hugging Face's engine. A piece is then bytes, every byte a token, and the merges of the vocabulary join
// neighbours, lowest rank first and leftmost among equals.
//
// Most pieces of ordinary text are tokens themselves. Which tokens the merges would rebuild from their own bytes is found out once, when
// the tokenizer is made; such a piece is then a single table lookup. For the others, merges are looked up by pairs of ids, in a short row
// of ranks for words and in a heap for long runs, so a megabyte without a space costs O(n log n) and not O(n²).
//
// Two things differ between engines and follow Hugging Face's tokenizers here: bytes for which the vocabulary has no token are dropped
// before merging, and classes are those of Unicode 16. There is no normaliser: Qwen's composes accents (NFC) before tokenizing, which the
// caller can do.
//
// A Tokenizer is immutable and safe for concurrent use.
package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
)

// ErrUnsupported is wrapped by the errors for a tokenizer model or pre-tokenizer that this package does not implement.
var ErrUnsupported = errors.New("not supported")

// ErrCorrupt is wrapped by the errors for a vocabulary that contradicts itself.
var ErrCorrupt = errors.New("corrupt vocabulary")

// NoToken stands for "no such token" in a Config.
const NoToken int32 = -1

// TokenType is the kind of a vocabulary entry, with the numbers of tokenizer.ggml.token_type.
type TokenType int32

// The token types of GGUF.
const (
	Normal      TokenType = 1
	Unknown     TokenType = 2
	Control     TokenType = 3 // structure, such as the end of a turn: never made from plain text
	UserDefined TokenType = 4 // added after training; looked for like a control token
	Unused      TokenType = 5
	Byte        TokenType = 6
)

// Config describes a vocabulary.
type Config struct {
	// Tokens are the entries in the order of their ids, spelled in the byte-level alphabet ("Ġthe" is " the"), no two equal. Control and
	// user-defined entries are spelled as they are.
	Tokens []string
	// Types are the entries' types; nil: all normal.
	Types []TokenType
	// Merges are pairs of entries separated by a space, in order of rank.
	Merges []string
	// Pre names the pre-tokenizer, as tokenizer.ggml.pre does: "smollm", "gpt-2", "llama-bpe", "qwen2" or a name that llama.cpp treats as
	// one of these.
	Pre string
	// BOS and EOS are the ids that begin and end a sequence, or NoToken.
	BOS, EOS int32
	// EOG are further ids that end generation, such as the end of a turn.
	EOG []int32
}

// Tokenizer encodes and decodes text. Make one with New or FromGGUF.
type Tokenizer struct {
	pre    preTokenizer
	tokens []string
	types  []TokenType
	index  map[string]int32 // by spelling

	bytes   []byte   // the bytes of all tokens, one after the other
	offsets []uint32 // token i is bytes[offsets[i]:offsets[i+1]]

	byteID  [256]int32 // or NoToken
	merges  mergeTable
	words   map[string]int32 // pieces that are one token
	special *specials

	bos, eos int32
	eog      map[int32]struct{}
	addBOS   bool

	work sync.Pool // *workspace
}

// New builds a tokenizer. The error wraps ErrUnsupported if the pre-tokenizer is unknown and ErrCorrupt if the vocabulary contradicts
// itself: entries that are empty or repeated, merges that name or make unknown entries, ids out of range.
func New(c Config) (*Tokenizer, error) {
	pre, ok := lookupPre(c.Pre)
	if !ok {
		return nil, fmt.Errorf("tokenizer: pre-tokenizer %q: %w", c.Pre, ErrUnsupported)
	}
	t := &Tokenizer{pre: pre, bos: c.BOS, eos: c.EOS, addBOS: pre.addBOS, special: newSpecials(), eog: map[int32]struct{}{}}
	t.work.New = func() any { return new(workspace) }
	for _, load := range []func(Config) error{t.loadTokens, t.loadSpecials, t.loadMerges} {
		if err := load(c); err != nil {
			return nil, err
		}
	}
	t.loadWords()
	return t, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("tokenizer: "+format+": %w", append(args, ErrCorrupt)...)
}

func (t *Tokenizer) loadTokens(c Config) error {
	n := len(c.Tokens)
	switch {
	case n == 0:
		return corrupt("no tokens")
	case n > math.MaxInt32:
		return corrupt("%d tokens, limit %d", n, math.MaxInt32)
	case c.Types != nil && len(c.Types) != n:
		return corrupt("%d tokens but %d token types", n, len(c.Types))
	}
	t.tokens = append([]string(nil), c.Tokens...)
	t.types = append([]TokenType(nil), c.Types...)
	if c.Types == nil {
		t.types = make([]TokenType, n)
		for i := range t.types {
			t.types[i] = Normal
		}
	}
	t.index = make(map[string]int32, n)
	t.offsets = make([]uint32, 1, n+1)
	for i, tok := range t.tokens {
		switch typ := t.types[i]; {
		case tok == "":
			return corrupt("token %d is empty", i)
		case typ < Normal || typ > Byte:
			return corrupt("token %d %q has type %d, not 1 to 6", i, tok, typ)
		}
		if j, ok := t.index[tok]; ok {
			return corrupt("tokens %d and %d are both %q", j, i, tok)
		}
		t.index[tok] = int32(i)
		if t.types[i] == Control || t.types[i] == UserDefined {
			t.bytes = append(t.bytes, tok...)
		} else {
			t.bytes = appendBytes(t.bytes, tok)
		}
		if uint64(len(t.bytes)) > math.MaxUint32 {
			return corrupt("tokens take more than %d bytes", uint32(math.MaxUint32))
		}
		t.offsets = append(t.offsets, uint32(len(t.bytes)))
	}
	for b, r := range byteRunes {
		t.byteID[b] = NoToken
		if id, ok := t.index[string(r)]; ok && t.fromBytes(id) {
			t.byteID[b] = id
		}
	}
	return nil
}

func (t *Tokenizer) loadSpecials(c Config) error {
	check := func(name string, id int32) error {
		if id != NoToken && (id < 0 || int(id) >= len(t.tokens)) {
			return corrupt("%s token id %d is not in 0…%d", name, id, len(t.tokens)-1)
		}
		return nil
	}
	if err := check("beginning-of-sequence", c.BOS); err != nil {
		return err
	}
	if err := check("end-of-sequence", c.EOS); err != nil {
		return err
	}
	for _, id := range append([]int32{c.EOS}, c.EOG...) {
		if err := check("end-of-generation", id); err != nil {
			return err
		}
		if id != NoToken {
			t.eog[id] = struct{}{}
		}
	}
	for i, tok := range t.tokens {
		switch t.types[i] {
		case Control:
			if endsGeneration(tok) {
				t.eog[int32(i)] = struct{}{}
			}
			t.special.add(tok, int32(i))
		case UserDefined:
			t.special.add(tok, int32(i))
		}
	}
	return nil
}

// endsGeneration knows the control tokens that end a turn or a document. Files name one or two ids; a model that was tuned on top of
// another often ends with the other's token, and then the file does not name it.
func endsGeneration(tok string) bool {
	switch tok {
	case "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<end_of_turn>",
		"<end_of_utterance>", "<EOT>", "<eos>", "[EOS]", "<｜end▁of▁sentence｜>":
		return true
	}
	return false
}

func (t *Tokenizer) loadMerges(c Config) error {
	if uint64(len(c.Merges)) >= noRank {
		return corrupt("%d merges, limit %d", len(c.Merges), uint32(noRank-1))
	}
	t.merges = newMergeTable(len(c.Merges))
	var joined []byte
	for rank, m := range c.Merges {
		left, right, ok := strings.Cut(m, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return corrupt("merge %d %q is not two tokens with a space between", rank, m)
		}
		joined = append(append(joined[:0], left...), right...)
		var ids [3]int32
		for i, tok := range [3][]byte{joined[:len(left)], joined[len(left):], joined} {
			id, ok := t.index[string(tok)]
			switch {
			case !ok && i < 2:
				return corrupt("merge %d %q: unknown token %q", rank, m, tok)
			case !ok:
				return corrupt("merge %d %q makes the unknown token %q", rank, m, tok)
			case !t.fromBytes(id):
				return corrupt("merge %d %q: %q is a control token or not spelled in the byte-level alphabet", rank, m, tok)
			}
			ids[i] = id
		}
		s := t.merges.slot(makePair(ids[0], ids[1]))
		if s.rank != noRank {
			return corrupt("merges %d and %d are both %q", s.rank, rank, m)
		}
		*s = mergeSlot{key: makePair(ids[0], ids[1]), rank: uint32(rank), id: ids[2]}
	}
	return nil
}

// loadWords finds the tokens that stand for a piece by themselves: those that merging their own bytes ends with, or, with
// ignoreMerges, all.
func (t *Tokenizer) loadWords() {
	t.words = make(map[string]int32, len(t.tokens))
	all := string(t.bytes)
	var w workspace
	for i := range t.tokens {
		id := int32(i)
		if !t.fromBytes(id) {
			continue
		}
		word := all[t.offsets[id]:t.offsets[id+1]]
		if t.pre.ignoreMerges {
			if t.types[id] != UserDefined {
				t.words[word] = id
			}
		} else if ids := t.mergeBytes(&w, word); len(ids) == 1 && ids[0] == id {
			t.words[word] = id
		}
	}
}

// fromBytes reports whether plain text may become token id: it is no control token, and its spelling is that of its bytes in the
// byte-level alphabet.
func (t *Tokenizer) fromBytes(id int32) bool {
	if t.types[id] == Control {
		return false
	}
	word := t.bytes[t.offsets[id]:t.offsets[id+1]]
	i := 0
	for _, r := range t.tokens[id] {
		if i == len(word) || byteRunes[word[i]] != r {
			return false
		}
		i++
	}
	return i == len(word)
}

// Vocab returns the number of tokens; ids are 0 to Vocab()−1.
func (t *Tokenizer) Vocab() int { return len(t.tokens) }

// BOS returns the token that begins a sequence, if the vocabulary has one.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos != NoToken }

// EOS returns the token that ends a sequence, if the vocabulary has one.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos != NoToken }

// AddBOS reports whether the model expects BOS before the text. Encode never adds it.
func (t *Tokenizer) AddBOS() bool { return t.addBOS && t.bos != NoToken }

// IsEOG reports whether id ends generation: the end of the sequence, of a turn or of a message.
func (t *Tokenizer) IsEOG(id int32) bool {
	_, ok := t.eog[id]
	return ok
}

// Special reports whether id is a control or user-defined token.
func (t *Tokenizer) Special(id int32) bool {
	return t.known(id) && (t.types[id] == Control || t.types[id] == UserDefined)
}

// ID returns the id of an entry by its spelling in the vocabulary: "Ġthe", "<|im_end|>".
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.index[token]
	return id, ok
}

// Token returns the spelling of id in the vocabulary, "" if there is no such id. For its bytes, see AppendToken.
func (t *Tokenizer) Token(id int32) string {
	if !t.known(id) {
		return ""
	}
	return t.tokens[id]
}

func (t *Tokenizer) known(id int32) bool { return id >= 0 && int(id) < len(t.tokens) }
