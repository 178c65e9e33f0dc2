// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package outline

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentences cuts a text into sentences, of which none is empty and none has white space
// around it. Nothing else of the text is lost.
//
// A sentence ends with one or more of . ! ? … and their full-width forms, and any
// closing quotes and brackets after them. White space must follow, and then something
// that can start a sentence, which a small letter cannot. Neither the dot after a
// single capital letter (an initial), nor after a known abbreviation (some only before a
// digit), nor after a number that starts the text (of a list) ends one. After 。！？ no white space is needed.
//
// Rules of this kind are wrong about some sentences of every text. A sentence too long or
// too short is no error: it is a node of the graph like any other.
func Sentences(text string) []string {
	var out []string
	start := past(text, 0, unicode.IsSpace)
	for i := start; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		at := i
		i += n
		if !ends(r) {
			continue
		}
		i = past(text, i, ends)
		i = past(text, i, closes)
		if !wide(r) && (!pause(text[i:]) || r == '.' && abbreviates(text[start:at], text[i:])) {
			continue
		}
		out = appendTrimmed(out, text[start:i])
		i = past(text, i, unicode.IsSpace)
		start = i
	}
	return appendTrimmed(out, text[start:])
}

func appendTrimmed(out []string, s string) []string {
	if s = strings.TrimSpace(s); s != "" {
		out = append(out, s)
	}
	return out
}

func ends(r rune) bool { return strings.ContainsRune(".!?…", r) || wide(r) }

// wide reports whether r ends sentences of scripts that put no space between them.
func wide(r rune) bool { return strings.ContainsRune("。！？｡", r) }

func closes(r rune) bool {
	return strings.ContainsRune(`"')]*_`+"`", r) || unicode.In(r, unicode.Pe, unicode.Pf)
}

// past returns the place after all characters from i on that are.
func past(s string, i int, are func(rune) bool) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !are(r) {
			break
		}
		i += n
	}
	return i
}

// pause reports whether a sentence may end before rest.
func pause(rest string) bool {
	next := strings.TrimLeftFunc(rest, unicode.IsSpace)
	if next == "" {
		return true
	}
	r, _ := utf8.DecodeRuneInString(next)
	return len(next) < len(rest) && !unicode.IsLower(r)
}

// abbreviates reports whether a dot after these words, the first of which starts the
// sentence, belongs to the last of them.
func abbreviates(words, rest string) bool {
	at := strings.LastIndexFunc(words, unicode.IsSpace) + 1
	last := strings.TrimLeft(words[at:], `("'[*_“‘«`)
	r, n := utf8.DecodeRuneInString(last)
	switch {
	case n == len(last) && unicode.IsUpper(r):
		return true
	case at == 0 && last != "" && strings.Trim(last, "0123456789") == "":
		return true
	}
	last = strings.ToLower(last)
	next := strings.TrimLeftFunc(rest, unicode.IsSpace)
	return abbreviations[last] || numbered[last] && next != "" && next[0] >= '0' && next[0] <= '9'
}

// abbreviations are those that usually stand before more of the sentence, numbered those
// that do before a number; without their last dot.
var (
	abbreviations = set(`mr mrs ms dr prof rev gen col sen rep gov st messrs
		e.g i.e cf vs viz al approx ca resp ed eds z.b d.h bzw ggf`)
	numbered = set("fig figs eq eqs sec secs ch chap no nos nr vol p pp ref refs tab thm def art")
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}
