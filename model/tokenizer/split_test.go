// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestClasses compares the class of every code point with the engine that runs the expressions in Hugging Face's tokenizers.
func TestClasses(t *testing.T) {
	var ref map[string][][2]rune
	require.NoError(t, readJSON("classes.json", &ref))
	want := make([]class, unicode.MaxRune+1)
	for name, c := range map[string]class{"letter": letter, "number": number, "space": space} {
		require.NotEmpty(t, ref[name])
		for _, g := range ref[name] {
			for r := g[0]; r <= g[1]; r++ {
				want[r] = c
			}
		}
	}
	want['\r'], want['\n'] = newline, newline
	table := classes()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if got := table.of(r); got != want[r] {
			t.Errorf("%U has class %d, want %d", r, got, want[r])
		}
		if r < utf8.RuneSelf {
			require.Equal(t, want[r], asciiClasses[r], "%U", r)
		}
	}
}

// white is \s, which in Go's regexp is ASCII only and has no Unicode name.
const white = `\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`

// Go's regexp prefers alternatives in order, as the reference engine does, but has no look-ahead: the last group takes a run of white
// space and expect gives its end back.
var (
	reGPT2   = regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?\pL+| ?\pN+| ?[^\pL\pN` + white + `]+|([` + white + `]+))`)
	reLlama3 = regexp.MustCompile(`^(?:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\pL\pN]?\pL+|\pN{1,3}| ?[^\pL\pN` + white + `]+[\r\n]*|[` + white +
		`]*[\r\n]+|([` + white + `]+))`)
	reQwen2  = regexp.MustCompile(strings.Replace(reLlama3.String(), "{1,3}", "", 1))
	reNumber = regexp.MustCompile(`\pN`)
)

// expect splits s, which is UTF-8, by expression.
func expect(pre, s string) []int {
	out := []int{}
	if pre == "smollm" {
		at := 0
		for _, m := range append(reNumber.FindAllStringIndex(s, -1), []int{len(s), len(s)}) {
			out = append(out, expect("gpt-2", s[at:m[0]])...)
			if m[1] > m[0] {
				out = append(out, m[1]-m[0])
			}
			at = m[1]
		}
		return out
	}
	re := map[string]*regexp.Regexp{"gpt-2": reGPT2, "llama-bpe": reLlama3, "qwen2": reQwen2}[pre]
	for s != "" {
		m := re.FindStringSubmatchIndex(s)
		n := m[1]
		if _, last := utf8.DecodeLastRuneInString(s[:n]); m[2] >= 0 && n < len(s) && n > last {
			n -= last // \s+(?!\S)
		}
		out = append(out, n)
		s = s[n:]
	}
	return out
}

var pres = []string{"smollm", "gpt-2", "llama-bpe", "qwen2"}

// tricky draws text in which the expressions' alternatives meet often.
var tricky = rapid.Custom(func(t *rapid.T) string {
	parts := []string{" ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u0085", "'", "'s", "'LL", "'re", "'vE", "'ſ", "'D", "a", "bc", "é",
		"中", "K", "1", "23", "²", "Ⅷ", "!", "...", "😀", "\u0301", "\ufffd", "\x00", "\u200b"}
	var b strings.Builder
	for range rapid.IntRange(0, 16).Draw(t, "parts") {
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			// Code points that Go's tables do not know yet are left to the fixtures.
			b.WriteRune(rapid.Rune().Filter(func(r rune) bool { return !unicode.In(r, letters16, numbers16) }).Draw(t, "rune"))
		} else {
			b.WriteString(rapid.SampledFrom(parts).Draw(t, "part"))
		}
	}
	return b.String()
})

func TestSplitIsTheExpression(t *testing.T) {
	for _, pre := range pres {
		t.Run(pre, func(t *testing.T) {
			p, ok := lookupPre(pre)
			require.True(t, ok)
			tok := &Tokenizer{pre: p}
			rapid.Check(t, func(t *rapid.T) {
				s := tricky.Draw(t, "text")
				require.Equal(t, expect(pre, s), pieces(tok, s), "%q", s)
			})
		})
	}
}

// TestSplitAnyBytes: pieces leave no gap in any bytes, and a byte that is not UTF-8 is split as U+FFFD would be.
func TestSplitAnyBytes(t *testing.T) {
	for _, pre := range pres {
		t.Run(pre, func(t *testing.T) {
			p, _ := lookupPre(pre)
			tok := &Tokenizer{pre: p}
			rapid.Check(t, func(t *rapid.T) {
				s := strings.Join(rapid.SliceOf(rapid.OneOf(tricky,
					rapid.SampledFrom([]string{"\xff", "\xe4", "\xe4\xb8", "\xc5", "\x80", "\xed\xa0\x80"}))).Draw(t, "text"), "")
				var got []string
				at := 0
				for _, n := range pieces(tok, s) {
					require.Positive(t, n)
					got = append(got, string([]rune(s[at:at+n]))) // one U+FFFD for every stray byte
					at += n
				}
				require.Equal(t, len(s), at)
				var want []string
				valid, at := string([]rune(s)), 0
				for _, n := range pieces(tok, valid) {
					want = append(want, valid[at:at+n])
					at += n
				}
				require.Equal(t, want, got, "%q", s)
			})
		})
	}
}

func TestPreTokenizerNames(t *testing.T) {
	for name, same := range map[string]string{
		"starcoder": "smollm", "command-r": "smollm", "phi-2": "gpt-2", "olmo": "gpt-2", "llama3": "llama-bpe", "llama-v3": "llama-bpe",
		"deepseek-r1-qwen": "qwen2", "stablelm2": "qwen2",
	} {
		a, ok := lookupPre(name)
		require.True(t, ok, name)
		b, _ := lookupPre(same)
		assert.Equal(t, b, a, name)
	}
	for _, name := range []string{"", "default", "SmolLM", "falcon", "gpt-4o", "qwen35", "deepseek-llm"} {
		_, ok := lookupPre(name)
		assert.False(t, ok, name)
	}
	smaug, _ := lookupPre("smaug-bpe")
	assert.True(t, smaug.llama3)
	assert.False(t, smaug.ignoreMerges)
}
