// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what the splitting expressions can tell about a code point.
type class uint8

const (
	other   class = iota // [^\s\p{L}\p{N}]
	letter               // \p{L}
	number               // \p{N}
	space                // \s without line breaks
	newline              // [\r\n], which \s includes
)

func (c class) isSpace() bool { return c >= space }

const pageBits = 8

// classTable maps a code point to its class in two steps: a page number, then the entry of that page. Equal pages are stored once, so
// the whole of Unicode takes about 40 KiB, and a lookup costs the same in every script.
type classTable struct {
	page    [(unicode.MaxRune + 1) >> pageBits]uint8
	entries [][1 << pageBits]class
}

func (t *classTable) of(r rune) class {
	return t.entries[t.page[r>>pageBits]][r&(1<<pageBits-1)]
}

// classes is built on first use, from the tables of the standard library and the newer ranges below.
var classes = sync.OnceValue(func() *classTable {
	flat := make([]class, unicode.MaxRune+1)
	fill := func(c class, tables ...*unicode.RangeTable) {
		for _, t := range tables {
			for _, g := range t.R16 {
				for r := uint32(g.Lo); r <= uint32(g.Hi); r += uint32(g.Stride) {
					flat[r] = c
				}
			}
			for _, g := range t.R32 {
				for r := g.Lo; r <= g.Hi; r += g.Stride {
					flat[r] = c
				}
			}
		}
	}
	fill(letter, unicode.L, letters16)
	fill(number, unicode.N, numbers16)
	fill(space, unicode.White_Space)
	flat['\r'], flat['\n'] = newline, newline

	t := &classTable{}
	seen := map[[1 << pageBits]class]uint8{}
	for p := range t.page {
		var e [1 << pageBits]class
		copy(e[:], flat[p<<pageBits:])
		n, ok := seen[e]
		if !ok {
			n = uint8(len(t.entries))
			seen[e] = n
			t.entries = append(t.entries, e)
		}
		t.page[p] = n
	}
	return t
})

// letters16 and numbers16 are the code points that Unicode 15.1 and 16 added to \p{L} and \p{N}. Go's tables are those of Unicode 15;
// the engine behind Hugging Face's tokenizers knows Unicode 16, and a class decides where text is split.
var (
	letters16 = &unicode.RangeTable{
		R16: []unicode.Range16{
			{Lo: 0x1c89, Hi: 0x1c8a, Stride: 1}, {Lo: 0xa7cb, Hi: 0xa7cd, Stride: 1}, {Lo: 0xa7da, Hi: 0xa7dc, Stride: 1},
		},
		R32: []unicode.Range32{
			{Lo: 0x105c0, Hi: 0x105f3, Stride: 1}, {Lo: 0x10d4a, Hi: 0x10d65, Stride: 1}, {Lo: 0x10d6f, Hi: 0x10d85, Stride: 1},
			{Lo: 0x10ec2, Hi: 0x10ec4, Stride: 1}, {Lo: 0x11380, Hi: 0x11389, Stride: 1}, {Lo: 0x1138b, Hi: 0x1138b, Stride: 1},
			{Lo: 0x1138e, Hi: 0x1138e, Stride: 1}, {Lo: 0x11390, Hi: 0x113b5, Stride: 1}, {Lo: 0x113b7, Hi: 0x113b7, Stride: 1},
			{Lo: 0x113d1, Hi: 0x113d1, Stride: 1}, {Lo: 0x113d3, Hi: 0x113d3, Stride: 1}, {Lo: 0x11bc0, Hi: 0x11be0, Stride: 1},
			{Lo: 0x13460, Hi: 0x143fa, Stride: 1}, {Lo: 0x16100, Hi: 0x1611d, Stride: 1}, {Lo: 0x16d40, Hi: 0x16d6c, Stride: 1},
			{Lo: 0x18cff, Hi: 0x18cff, Stride: 1}, {Lo: 0x1e5d0, Hi: 0x1e5ed, Stride: 1}, {Lo: 0x1e5f0, Hi: 0x1e5f0, Stride: 1},
			{Lo: 0x2ebf0, Hi: 0x2ee5d, Stride: 1},
		},
	}
	numbers16 = &unicode.RangeTable{
		R32: []unicode.Range32{
			{Lo: 0x10d40, Hi: 0x10d49, Stride: 1}, {Lo: 0x116d0, Hi: 0x116e3, Stride: 1}, {Lo: 0x11bf0, Hi: 0x11bf9, Stride: 1},
			{Lo: 0x16130, Hi: 0x16139, Stride: 1}, {Lo: 0x16d70, Hi: 0x16d79, Stride: 1}, {Lo: 0x1ccf0, Hi: 0x1ccf9, Stride: 1},
			{Lo: 0x1e5f1, Hi: 0x1e5fa, Stride: 1},
		},
	}
)

// asciiClasses keeps the common case in two cache lines.
var asciiClasses = func() (a [utf8.RuneSelf]class) {
	for i := range a {
		switch r := rune(i); {
		case r == '\r' || r == '\n':
			a[i] = newline
		case unicode.IsSpace(r):
			a[i] = space
		case unicode.IsLetter(r):
			a[i] = letter
		case unicode.IsDigit(r):
			a[i] = number
		}
	}
	return a
}()
