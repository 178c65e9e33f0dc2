// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Normalise does to a text what SQuAD's evaluation (Rajpurkar et al., 2016) does before
// it compares answers: lower case, then without ASCII punctuation, then without the
// words a, an and the, then with single spaces.
func Normalise(s string) string {
	s = cases.Lower(language.Und).String(s)
	s = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.FieldsFunc(withoutArticles(s), isSpace), " ")
}

// withoutArticles replaces every a, an and the that is a word by a space.
func withoutArticles(s string) string {
	var b strings.Builder
	word := 0 // where the word at hand starts
	flush := func(end int) {
		switch w := s[word:end]; w {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(w)
		}
	}
	for i, r := range s {
		if !isWord(r) {
			flush(i)
			b.WriteRune(r)
			word = i + len(string(r))
		}
	}
	flush(len(s))
	return b.String()
}

// isWord says what belongs to a word, as Unicode's annex 18 recommends.
func isWord(r rune) bool {
	return unicode.In(r, unicode.Letter, unicode.Mark, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// isSpace is what Python's str.split takes for white space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// Match says how a text compares with the right answers, each measure by the answer
// that suits it best.
type Match struct {
	Subspan bool    // an answer occurs in it, the published measure (best-subspan EM)
	Exact   bool    // it is an answer
	F1      float64 // harmonic mean of precision and recall of its words, as a multiset
}

// Compare scores a text.
func Compare(text string, answers []string) Match {
	var m Match
	got := Normalise(text)
	words := strings.Fields(got)
	for _, a := range answers {
		want := Normalise(a)
		m.Subspan = m.Subspan || strings.Contains(got, want)
		m.Exact = m.Exact || got == want
		m.F1 = max(m.F1, f1(words, strings.Fields(want)))
	}
	return m
}

func f1(got, want []string) float64 {
	count := map[string]int{}
	for _, w := range want {
		count[w]++
	}
	common := 0
	for _, w := range got {
		if count[w] > 0 {
			count[w]--
			common++
		}
	}
	if common == 0 {
		return 0
	}
	return 2 * float64(common) / float64(len(got)+len(want))
}
