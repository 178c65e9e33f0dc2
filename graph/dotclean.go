// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// cleanDOT rewrites DOT input before gonum's parser sees it. It drops comments,
// writes every string in the one form that survives unquoting, and refuses what
// the decoder would crash on or silently get wrong:
//
//   - deep nesting and long chains: parser and decoder recurse over them;
//   - subgraphs as ends of edges: the decoder leaves out members that were named
//     before, and the edges multiply;
//   - undirected graphs: they would be read as directed.
//
// Anything else that is malformed is left for the parser to report.
func cleanDOT(src []byte) ([]byte, error) {
	s := dotScanner{src: src, out: make([]byte, 0, len(src)+len(src)/8)}
	if i := invalidUTF8(src); i >= 0 {
		s.from = i
		return nil, s.fail(ErrSyntax, "invalid UTF-8")
	}
	for {
		kind, err := s.next()
		if err != nil {
			return nil, err
		}
		if kind == 0 {
			return s.out, nil
		}
		if err := s.check(kind); err != nil {
			return nil, err
		}
	}
}

// invalidUTF8 returns the place of the first byte that is not UTF-8, or −1.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// Kinds of tokens; punctuation is its own kind.
const (
	dotWord   = 'w' // bare word, number or string
	dotArrow  = '>'
	dotLine   = '-'
	dotString = 's'
)

type dotScanner struct {
	src  []byte
	at   int // next byte to read
	from int // first byte of the last token
	out  []byte

	depth, chain int
	last         byte // kind of the last token
	word         string
	attrs        bool // inside [ ]
}

func (s *dotScanner) fail(err error, format string, args ...any) error {
	return fmt.Errorf("graph: DOT, byte %d: %w: %s", s.from, err, fmt.Sprintf(format, args...))
}

// check keeps count of the structure around a token.
func (s *dotScanner) check(kind byte) error {
	last := s.last
	s.last = kind
	switch kind {
	case '[':
		s.attrs = true
	case ']':
		s.attrs = false
	}
	if s.attrs {
		return nil
	}
	switch kind {
	case dotLine:
		return s.fail(ErrSyntax, "undirected edge")
	case dotArrow:
		if last == '}' {
			return s.fail(ErrSyntax, "a subgraph cannot be the source of an edge")
		}
		if s.chain++; s.chain > MaxDOTChain {
			return s.fail(ErrTooLarge, "a chain of more than %d edges", MaxDOTChain)
		}
	case '{':
		if last == dotArrow {
			return s.fail(ErrSyntax, "a subgraph cannot be the target of an edge")
		}
		if s.depth++; s.depth > MaxDOTNesting {
			return s.fail(ErrTooLarge, "blocks nested more than %d deep", MaxDOTNesting)
		}
		s.chain = 0
	case '}':
		s.depth--
		s.chain = 0
	case ';', ']':
		s.chain = 0
	case dotWord:
		if last == dotWord || last == dotString {
			s.chain = 0 // two ids in a row: a new statement
		}
		switch {
		case last == dotArrow && strings.EqualFold(s.word, "subgraph"):
			return s.fail(ErrSyntax, "a subgraph cannot be the target of an edge")
		case s.depth == 0 && strings.EqualFold(s.word, "graph"):
			return s.fail(ErrSyntax, "undirected graph")
		}
	case dotString:
		if last == dotWord || last == dotString {
			s.chain = 0
		}
	}
	return nil
}

// next copies one token to the output and returns its kind, 0 at the end.
func (s *dotScanner) next() (byte, error) {
	if err := s.space(); err != nil {
		return 0, err
	}
	s.from = s.at
	if s.at == len(s.src) {
		return 0, nil
	}
	if len(s.out) > 0 {
		s.out = append(s.out, ' ')
	}
	switch c := s.src[s.at]; {
	case c == '"':
		return dotString, s.quoted()
	case c == '<':
		return dotString, s.html()
	case c == '-' && s.at+1 < len(s.src) && (s.src[s.at+1] == '>' || s.src[s.at+1] == '-'):
		s.at += 2
		s.out = append(s.out, s.src[s.from:s.at]...)
		if s.src[s.at-1] == '>' {
			return dotArrow, nil
		}
		return dotLine, nil
	case c == '-' || isDOTWord(c):
		s.at++
		for s.at < len(s.src) && isDOTWord(s.src[s.at]) {
			s.at++
		}
		s.word = string(s.src[s.from:s.at])
		s.out = append(s.out, s.word...)
		return dotWord, nil
	case strings.IndexByte("{}[]=,;:", c) >= 0:
		s.at++
		s.out = append(s.out, c)
		return c, nil
	}
	r, _ := utf8.DecodeRune(s.src[s.at:])
	return 0, s.fail(ErrSyntax, "unexpected %q", r)
}

func isDOTWord(c byte) bool {
	return c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf
}

// space skips white space and comments.
func (s *dotScanner) space() error {
	for s.at < len(s.src) {
		rest := s.src[s.at:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n':
			s.at++
		case rest[0] == '#' || bytes.HasPrefix(rest, []byte("//")):
			n := bytes.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			s.at += n
		case bytes.HasPrefix(rest, []byte("/*")):
			s.from = s.at
			n := bytes.Index(rest[2:], []byte("*/"))
			if n < 0 {
				return s.fail(ErrSyntax, "comment without end")
			}
			s.at += 2 + n + 2
		default:
			return nil
		}
	}
	return nil
}

// quoted copies a quoted string.
func (s *dotScanner) quoted() error {
	for s.at++; s.at < len(s.src); s.at++ {
		switch s.src[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			raw := string(s.src[s.from:s.at])
			text, err := strconv.Unquote(raw)
			if err != nil {
				// Not Go's escapes, so Graphviz's: only \" and an escaped end of
				// line mean something, all else stands for itself.
				text = strings.NewReplacer(`\\`, `\\`, `\"`, `"`, "\\\r\n", "", "\\\n", "").Replace(raw[1 : len(raw)-1])
			}
			return s.put(text)
		}
	}
	return s.fail(ErrSyntax, "string without end")
}

// html copies an HTML string, angle brackets included, as a quoted one.
func (s *dotScanner) html() error {
	open := 0
	for ; s.at < len(s.src); s.at++ {
		switch s.src[s.at] {
		case '<':
			open++
		case '>':
			if open--; open == 0 {
				s.at++
				return s.put(string(s.src[s.from:s.at]))
			}
		}
	}
	return s.fail(ErrSyntax, "HTML string without end")
}

func (s *dotScanner) put(text string) error {
	if !utf8.ValidString(text) { // \xff escaped
		return s.fail(ErrSyntax, "a string is not valid UTF-8")
	}
	s.out = append(s.out, quoteDOT(text)...)
	return nil
}
