// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf

import (
	"fmt"
	"strconv"
	"strings"
)

// take returns the next n bytes.
func (p *parser) take(n int) (string, error) {
	if left := len(p.buf) - p.pos; n > left {
		return "", p.corrupt(p.pos, "needs %d bytes, the file has %d left", n, left)
	}
	s := p.buf[p.pos : p.pos+n]
	p.pos += n
	return s, nil
}

func (p *parser) u32() (uint32, error) {
	s, err := p.take(4)
	if err != nil {
		return 0, err
	}
	return le32(s), nil
}

func (p *parser) u64() (uint64, error) {
	s, err := p.take(8)
	if err != nil {
		return 0, err
	}
	return le64(s), nil
}

// text returns the next length-prefixed string.
func (p *parser) text() (string, error) {
	n, err := p.u64()
	if err != nil {
		return "", err
	}
	if left := len(p.buf) - p.pos; n > uint64(left) {
		return "", p.corrupt(p.pos-8, "string of %d bytes, the file has %d left", n, left)
	}
	s := p.buf[p.pos : p.pos+int(n)]
	p.pos += int(n)
	return s, nil
}

// id returns the next string as the name of the i-th key or tensor, and names
// it in the errors that follow.
func (p *parser) id(what string, i, limit int) (string, error) {
	p.what, p.name = what, "#"+strconv.Itoa(i)
	at := p.pos
	s, err := p.text()
	if err != nil {
		return "", err
	}
	if len(s) > limit {
		return "", p.corrupt(at, "name of %d bytes, at most %d allowed", len(s), limit)
	}
	p.name = s
	return s, nil
}

// fits refuses a count, read just before, of items of at least each bytes that
// the bytes left cannot hold.
func (p *parser) fits(n uint64, each int) error {
	if left := len(p.buf) - p.pos; n > uint64(left/each) {
		return p.corrupt(p.pos-8, "count of %d, but the %d bytes left have room for %d at most", n, left, left/each)
	}
	return nil
}

func (p *parser) corrupt(at int, format string, args ...any) error {
	return corrupt(at, p.what, p.name, format, args...)
}

func corrupt(at int, what, name, format string, args ...any) error {
	if name != "" {
		// A name may be as long as the format allows and need not be text.
		what += " " + strconv.Quote(shorten(name, 96))
	}
	return &CorruptError{Offset: int64(at), Name: what, Reason: fmt.Sprintf(format, args...)}
}

// shorten cuts s to about n bytes for use in a message.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func le16(s string) uint16 { return uint16(s[0]) | uint16(s[1])<<8 }

func le32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func le64(s string) uint64 { return uint64(le32(s)) | uint64(le32(s[4:]))<<32 }
