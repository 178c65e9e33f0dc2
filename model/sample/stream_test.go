// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package sample

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStreamEmits(t *testing.T) {
	for _, c := range []struct {
		name   string
		stops  []string
		pieces []string
		emits  []string // one per piece pushed before the stop, then what Flush returns
		stop   bool
	}{
		{"plain", nil, []string{"ab", "", "c"}, []string{"ab", "", "c", ""}, false},
		{"character over three tokens", nil, []string{"a\xe4", "\xb8", "\xadb"}, []string{"a", "", "中b", ""}, false},
		{"character cut short by the next", nil, []string{"\xe4\xb8", "x"}, []string{"", "\ufffdx", ""}, false},
		{"character cut short by the end", nil, []string{"x\xf0\x9f\x98"}, []string{"x", "\ufffd"}, false},
		{"bytes that start nothing", nil, []string{"\xff\x80", "\xc0\xaf"}, []string{"\ufffd\ufffd", "\ufffd\ufffd", ""}, false},
		{"surrogates", nil, []string{"\xed", "\xa0\x80"}, []string{"", "\ufffd\ufffd\ufffd", ""}, false},
		{"stop in one token", []string{"END"}, []string{"fooENDbar", "x"}, []string{"foo"}, true},
		{"stop over tokens", []string{"END"}, []string{"fooE", "N", "Dbar"}, []string{"foo", "", ""}, true},
		{"not the stop after all", []string{"END"}, []string{"E", "N", "E", "NX"}, []string{"", "", "EN", "ENX", ""}, false},
		{"held until the end", []string{"END"}, []string{"xEN"}, []string{"x", "EN"}, false},
		{"overlap", []string{"aab"}, []string{"aaa", "b"}, []string{"a", ""}, true},
		{"first complete wins", []string{"abcdef", "cd"}, []string{"xab", "cdef"}, []string{"x", "ab"}, true},
		{"longest of two ends", []string{"b", "ab"}, []string{"xab"}, []string{"x"}, true},
		{"stop after half a character", []string{"!"}, []string{"\xe4\xb8!"}, []string{"\ufffd"}, true},
		{"stop of several bytes per character", []string{"。终"}, []string{"好。\xe7", "\xbb", "\x88"}, []string{"好", "", ""}, true},
		{"half a stop that is another character", []string{"。终"}, []string{"好。\xe7\xbb", "\x89"}, []string{"好", "。绉", ""}, false},
		{"empty stop", []string{""}, []string{"a"}, []string{"a", ""}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewStream(c.stops)
			var emits []string
			stopped := false
			for _, p := range c.pieces {
				var e string
				if e, stopped = s.Push([]byte(p)); stopped {
					emits = append(emits, e)
					break
				}
				emits = append(emits, e)
			}
			if !stopped {
				emits = append(emits, s.Flush())
			}
			assert.Equal(t, c.stop, stopped)
			assert.Equal(t, c.emits, emits)

			e, done := s.Push([]byte("more"))
			assert.True(t, done)
			assert.Empty(t, e)
			assert.Empty(t, s.Flush())
		})
	}
}

// upTo is the definition: the bytes before the stop string that is complete first, the longest of those that end together.
func upTo(text []byte, stops []string) ([]byte, bool) {
	for end := range len(text) + 1 {
		longest := 0
		for _, stop := range stops {
			if stop != "" && bytes.HasSuffix(text[:end], []byte(stop)) {
				longest = max(longest, len(stop))
			}
		}
		if longest > 0 {
			return text[:end-longest], true
		}
	}
	return text, false
}

// lossy replaces what is not UTF-8 by the rule of the Unicode standard (chapter 3, U+FFFD substitution of maximal subparts), written as
// its table 3-7: per leading byte the number of bytes to follow and the range of the first of them.
func lossy(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n, lo, hi := 0, byte(0x80), byte(0xbf)
		switch c := b[0]; {
		case c < 0x80:
			out.WriteByte(c)
			b = b[1:]
			continue
		case c >= 0xc2 && c <= 0xdf:
			n = 1
		case c >= 0xe0 && c <= 0xef:
			n = 2
			if c == 0xe0 {
				lo = 0xa0
			} else if c == 0xed {
				hi = 0x9f
			}
		case c >= 0xf0 && c <= 0xf4:
			n = 3
			if c == 0xf0 {
				lo = 0x90
			} else if c == 0xf4 {
				hi = 0x8f
			}
		}
		k := 1
		for k <= n && k < len(b) && b[k] >= lo && b[k] <= hi {
			lo, hi = 0x80, 0xbf
			k++
		}
		if n > 0 && k == n+1 {
			out.Write(b[:k])
		} else {
			out.WriteString("\ufffd")
		}
		b = b[k:]
	}
	return out.String()
}

// TestStreamAnySplit: however the bytes are divided, what is emitted is the text up to the stop string, and it is never late by more than
// a stop string and a character.
func TestStreamAnySplit(t *testing.T) {
	letters := []string{"a", "b", "ab", "é", "中", "😀", "\xe4", "\xb8", "\xad", "\xf0", "\x9f", "\xff", "\xed", "\xa0", "\n"}
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(letters), 0, 12).Draw(t, "letters"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		all := []byte(text.Draw(t, "text") + text.Draw(t, "more"))
		stops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(letters), 0, 4).Draw(t, "letters"), "")
		}), 0, 3).Draw(t, "stops")
		before, want := upTo(all, stops)

		s := NewStream(stops)
		var out strings.Builder
		pushed, stopped := 0, false
		slowest := 0
		for _, stop := range stops {
			slowest = max(slowest, len(stop)-1)
		}
		for rest := all; len(rest) > 0 && !stopped; {
			n := rapid.IntRange(0, min(5, len(rest))).Draw(t, "n")
			e := ""
			e, stopped = s.Push(rest[:n])
			out.WriteString(e)
			rest, pushed = rest[n:], pushed+n
			if !stopped {
				require.LessOrEqual(t, len(s.held), slowest+3, "held back for nothing")
				require.True(t, strings.HasPrefix(lossy(before), out.String()), "%q is not the beginning of %q", out.String(), lossy(before))
			}
		}
		if !stopped {
			out.WriteString(s.Flush())
		}
		require.Equal(t, want, stopped)
		require.Equal(t, lossy(before), out.String())
	})
}

func TestStreamDoesNotKeepThePiece(t *testing.T) {
	s := NewStream([]string{"stop"})
	p := []byte("st")
	s.Push(p)
	copy(p, "xx")
	assert.Equal(t, "st", s.Flush())
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("hello END"), "END", uint8(2))
	f.Add([]byte("\xe4\xb8\xad\xe4"), "\xad", uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, stop string, size uint8) {
		s := NewStream([]string{stop})
		var out strings.Builder
		stopped := false
		for p := range slices.Chunk(text, int(size%16)+1) {
			emit, done := s.Push(p)
			out.WriteString(emit)
			if stopped = done; stopped {
				break
			}
		}
		out.WriteString(s.Flush())
		before, want := upTo(text, []string{stop})
		if stopped != want || out.String() != lossy(before) {
			t.Fatalf("text %q stop %q size %d: got %q %v, want %q %v", text, stop, size, out.String(), stopped, lossy(before), want)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	s := NewStream([]string{"<|im_end|>", "\n\nQuestion:", "\n\n\n"})
	piece := []byte(" token")
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		s.Push(piece)
	}
}
