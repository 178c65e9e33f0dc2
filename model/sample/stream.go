// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package sample

import "unicode/utf8"

// Stream turns the bytes of tokens into text, up to the first stop string. What it emits does not depend on how the bytes are divided
// into pieces, only when: bytes are held back while they may be the beginning of a stop string or of a UTF-8 character.
//
// The stop string that is complete first counts, the longest of those that end together; neither it nor anything after it is emitted.
// Bytes that are not UTF-8 become U+FFFD, one for every longest beginning of a character, as Unicode recommends.
//
// A Stream is for one sequence and not safe for concurrent use.
type Stream struct {
	stops []matcher
	held  []byte // received, not emitted
	done  bool
}

// matcher looks for one stop string by the algorithm of Knuth, Morris and Pratt.
type matcher struct {
	stop string
	// border[n] is the length of the longest string shorter than n that stop[:n] both begins and ends with.
	border []int
	n      int // the bytes received so far end with stop[:n], and with no longer beginning of stop
}

// NewStream returns a stream that ends at any of the stop strings. Empty ones are ignored.
func NewStream(stops []string) *Stream {
	s := &Stream{}
	for _, stop := range stops {
		if stop == "" {
			continue
		}
		m := matcher{stop: stop, border: make([]int, len(stop)+1)}
		for i := 1; i < len(stop); i++ {
			m.next(stop[i])
			m.border[i+1] = m.n
		}
		m.n = 0
		s.stops = append(s.stops, m)
	}
	return s
}

// next takes one byte in and reports whether the stop string is complete.
func (m *matcher) next(b byte) bool {
	for m.n > 0 && m.stop[m.n] != b {
		m.n = m.border[m.n]
	}
	if m.stop[m.n] == b {
		m.n++
	}
	return m.n == len(m.stop)
}

// Push takes the bytes of one token in and returns the text that is now certain. stopped reports that the stream is done, by a
// stop string or by Flush; from then on Push and Flush return no text.
func (s *Stream) Push(piece []byte) (emit string, stopped bool) {
	if s.done {
		return "", true
	}
	open := 0 // bytes at the end that may begin a stop string
	for _, b := range piece {
		s.held = append(s.held, b)
		open = 0
		longest := 0
		for i := range s.stops {
			m := &s.stops[i]
			if m.next(b) {
				longest = max(longest, m.n)
			}
			open = max(open, m.n)
		}
		if longest > 0 {
			s.held = s.held[:len(s.held)-longest]
			return s.Flush(), true
		}
	}
	if len(piece) == 0 {
		return "", false
	}
	return s.take(len(s.held)-open, false), false
}

// Flush ends the stream and returns the text held back: a stop string was not completed, a character never will be. After it, the
// stream is done.
func (s *Stream) Flush() string {
	if s.done {
		return ""
	}
	s.done = true
	return s.take(len(s.held), true)
}

// take removes and returns the text of the first n held bytes, except for a character that reaches beyond them or, unless final, that
// the next bytes may complete.
func (s *Stream) take(n int, final bool) string {
	text := make([]byte, 0, n)
	i := 0
	for i < n {
		rest := s.held[i:]
		if !final && !utf8.FullRune(rest) {
			break
		}
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			size = begun(rest)
		}
		if i+size > n {
			break
		}
		text = utf8.AppendRune(text, r)
		i += size
	}
	s.held = s.held[:copy(s.held, s.held[i:])]
	return string(text)
}

// begun returns how many bytes of b, which does not start with a character, start like one; at least 1.
func begun(b []byte) int {
	for n := min(len(b), utf8.UTFMax-1); n > 1; n-- {
		if !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}
