// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import "unicode/utf8"

// splitter cuts text into the pieces of one pre-tokenizer: what its regular expression matches, piece after piece, without a gap.
// The zero value is GPT-2's.
//
// A byte that is not part of valid UTF-8 counts as a code point of its own that is neither letter, number nor white space, just as
// U+FFFD is, and stays in its piece as it is.
type splitter struct {
	table *classTable
	// llama3 selects the expression that Llama 3 introduced, with maxNumber digits to a piece (3; 1 for Qwen 2); otherwise GPT-2's.
	llama3    bool
	maxNumber int
	// digits cuts the text at every number first, so that neither a space nor the look-ahead reaches across one (SmolLM).
	digits bool
}

// at returns the class and the length of the code point at s[i], i < len(s).
func (p *splitter) at(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClasses[b], 1
	}
	return p.wide(s, i)
}

func (p *splitter) wide(s string, i int) (class, int) {
	r, n := utf8.DecodeRuneInString(s[i:])
	return p.table.of(r), n
}

// run returns the end of the run of code points of class c from s[i] on.
func (p *splitter) run(s string, i int, c class) int {
	for i < len(s) {
		b := s[i]
		if b < utf8.RuneSelf {
			if asciiClasses[b] != c {
				break
			}
			i++
			continue
		}
		d, n := p.wide(s, i)
		if d != c {
			break
		}
		i += n
	}
	return i
}

// next returns the end of the piece that starts at s[i], i < len(s). It is greater than i.
func (p *splitter) next(s string, i int) int {
	if p.llama3 {
		return p.nextLlama3(s, i)
	}
	return p.nextGPT2(s, i)
}

// nextGPT2 matches
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// and, with digits set, does so between single \p{N}, which are pieces of their own.
func (p *splitter) nextGPT2(s string, i int) int {
	c, n := p.at(s, i)
	if s[i] == '\'' {
		if e := contraction(s, i, false); e > 0 {
			return e
		}
	}
	if s[i] == ' ' && i+1 < len(s) {
		if d, m := p.at(s, i+1); !d.isSpace() && !(p.digits && d == number) {
			return p.run(s, i+1+m, d)
		}
	}
	switch {
	case c.isSpace():
		return p.spaces(s, i, i+n, n)
	case p.digits && c == number:
		return i + n
	default:
		return p.run(s, i+n, c)
	}
}

// nextLlama3 matches, with N for maxNumber,
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func (p *splitter) nextLlama3(s string, i int) int {
	c, n := p.at(s, i)
	if s[i] == '\'' {
		if e := contraction(s, i, true); e > 0 {
			return e
		}
	}
	switch c {
	case letter:
		return p.run(s, i+n, letter)
	case number:
		e := i + n
		for k := 1; k < p.maxNumber && e < len(s); k++ {
			d, m := p.at(s, e)
			if d != number {
				break
			}
			e += m
		}
		return e
	case other, space:
		e := i + n
		if e < len(s) {
			d, m := p.at(s, e)
			if d == letter {
				return p.run(s, e+m, letter)
			}
			if s[i] == ' ' && d == other {
				return p.run(s, p.run(s, e+m, other), newline)
			}
		}
		if c == other {
			return p.run(s, p.run(s, e, other), newline)
		}
	}
	return p.spaces(s, i, i+n, n)
}

// spaces matches \s+(?!\S)|\s+ at s[i:], where s[i:e] is a white space of n = e−i bytes, and before it, for Llama 3, \s*[\r\n]+.
func (p *splitter) spaces(s string, i, e, n int) int {
	last, broken := n, 0 // length of the last white space of the run, end of its last line break
	if p.llama3 && asciiBreak(s[i]) {
		broken = e
	}
	for e < len(s) {
		c, m := p.at(s, e)
		if !c.isSpace() {
			break
		}
		last = m
		e += m
		if c == newline {
			broken = e
		}
	}
	switch {
	case p.llama3 && broken > 0:
		return broken
	case e == len(s), e-last == i:
		return e
	case p.digits:
		if c, _ := p.at(s, e); c == number { // the text to split ends here
			return e
		}
	}
	return e - last
}

func asciiBreak(b byte) bool { return b == '\r' || b == '\n' }

// contraction returns the end of 's 't 're 've 'm 'll 'd at s[i], which is an apostrophe, or 0. Folding case, as (?i) does it in
// Unicode, also lets ſ (U+017F) stand for s.
func contraction(s string, i int, fold bool) int {
	if i+1 >= len(s) {
		return 0
	}
	a := s[i+1]
	var b byte
	if i+2 < len(s) {
		b = s[i+2]
	}
	if fold {
		if a == 0xc5 && b == 0xbf { // ſ
			return i + 3
		}
		a, b = lower(a), lower(b)
	}
	switch {
	case a == 's', a == 't', a == 'm', a == 'd':
		return i + 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return i + 3
	}
	return 0
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}
