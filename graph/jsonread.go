// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// ReadJSON reads a graph in the form that [Graph.WriteJSON] writes. Both members
// are optional and may come in either order. Everything else is an error that
// says where: unknown, repeated or differently spelled members (case counts), a
// segment with both text and tokens, an edge that is not two strings, null,
// invalid UTF-8, data after the graph. Memory grows with the input read, never
// with a number written in it. Self edges need [SelfEdges].
func ReadJSON(r io.Reader, opts ...Option) (*Graph, error) {
	d := jsonReader{dec: json.NewDecoder(&utf8Reader{r: r}), b: NewBuilder(opts...)}
	d.dec.UseNumber()
	if err := d.graph(); err != nil {
		return nil, err
	}
	return d.b.Build()
}

// UnmarshalJSON is ReadJSON, without options, for encoding/json. It replaces the
// graph; it must not be called on a Graph that is in use.
func (g *Graph) UnmarshalJSON(data []byte) error {
	read, err := ReadJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	*g = *read
	return nil
}

// jsonReader works on tokens: decoding into structs would ignore case, drop the
// third element of an edge, take null for a string, and let the last of two equal
// members win, all silently.
type jsonReader struct {
	dec   *json.Decoder
	b     *Builder
	raw   json.RawMessage
	early []Edge // edges met before the segments
	ready bool   // segments are complete
}

func (d *jsonReader) graph() error {
	seen := make(map[string]bool)
	err := d.object("graph", func(key string) error {
		if seen[key] {
			return d.fail("member %q given twice", key)
		}
		seen[key] = true
		switch key {
		case "segments":
			if err := d.array("segments", d.segment); err != nil {
				return err
			}
			return d.complete()
		case "edges":
			return d.array("edges", d.edge)
		}
		return d.fail("unknown field %q in the graph", key)
	})
	if err != nil {
		return err
	}
	if err := d.complete(); err != nil {
		return err
	}
	if t, err := d.dec.Token(); err != io.EOF {
		if err != nil {
			return d.wrap(err)
		}
		return d.fail("%v after the graph", t)
	}
	return nil
}

// complete marks that all segments are known and adds the edges that waited.
func (d *jsonReader) complete() error {
	d.ready = true
	for _, e := range d.early {
		if err := d.b.AddEdge(e.Source, e.Target); err != nil {
			return err
		}
	}
	d.early = nil
	return nil
}

func (d *jsonReader) segment() error {
	var s Segment
	var id, text, tokens bool
	err := d.object("segment", func(key string) (err error) {
		var twice bool
		switch key {
		case "id":
			twice, id = id, true
			s.ID, err = d.str("id")
		case "text":
			twice, text = text, true
			s.Text, err = d.str("text")
		case "tokens":
			twice, tokens = tokens, true
			err = d.array("tokens", func() error {
				t, err := d.token()
				s.Tokens = append(s.Tokens, t)
				return err
			})
		default:
			return d.fail("unknown field %q in segment %d", key, d.b.Len())
		}
		if err == nil && twice {
			return d.fail("%q given twice in segment %d", key, d.b.Len())
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !id:
		return d.fail("segment %d has no id", d.b.Len())
	case text && tokens:
		return &SegmentError{Index: d.b.Len(), ID: s.ID, Err: fmt.Errorf("%w: both text and tokens", ErrBadSegment)}
	}
	_, err = d.b.AddSegment(s)
	return err
}

func (d *jsonReader) edge() error {
	var ends [2]string
	n := 0
	err := d.array("an edge", func() (err error) {
		if n == len(ends) {
			return d.fail("an edge is [source, target]; this one has more")
		}
		ends[n], err = d.str("end of an edge")
		n++
		return err
	})
	switch {
	case err != nil:
		return err
	case n < len(ends):
		return d.fail("an edge is [source, target]; this one has %d", n)
	case d.ready:
		return d.b.AddEdge(ends[0], ends[1])
	}
	d.early = append(d.early, Edge{ends[0], ends[1]})
	return nil
}

// object reads an object and calls member after each key.
func (d *jsonReader) object(what string, member func(key string) error) error {
	if err := d.open(what, '{', "an object"); err != nil {
		return err
	}
	for d.dec.More() {
		t, err := d.dec.Token()
		if err != nil {
			return d.wrap(err)
		}
		if err := member(t.(string)); err != nil { // the decoder takes only strings for keys
			return err
		}
	}
	return d.next()
}

// array reads an array and calls element before each element.
func (d *jsonReader) array(what string, element func() error) error {
	if err := d.open(what, '[', "an array"); err != nil {
		return err
	}
	for d.dec.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return d.next()
}

func (d *jsonReader) open(what string, delim json.Delim, kind string) error {
	t, err := d.dec.Token()
	if err != nil {
		return d.wrap(err)
	}
	if t != delim {
		return d.fail("%s: want %s, got %s", what, kind, describe(t))
	}
	return nil
}

// next reads a closing delimiter; the decoder has checked that it matches.
func (d *jsonReader) next() error {
	if _, err := d.dec.Token(); err != nil {
		return d.wrap(err)
	}
	return nil
}

// str reads a string value. It looks at the raw value because the decoder would
// turn half a surrogate pair into U+FFFD.
func (d *jsonReader) str(what string) (string, error) {
	raw, err := d.value()
	if err != nil {
		return "", err
	}
	if raw[0] != '"' {
		return "", d.fail("%s: want a string, got %s", what, cut(string(raw)))
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	if loneSurrogate(raw) {
		return "", d.fail("%s: half a surrogate pair", what)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", d.wrap(err)
	}
	return s, nil
}

func (d *jsonReader) token() (int32, error) {
	raw, err := d.value()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseInt(string(raw), 10, 32)
	if err != nil || i < 0 {
		return 0, d.fail("tokens: %s is not a token id (0 to 2147483647)", cut(string(raw)))
	}
	return int32(i), nil
}

// value reads one value as it is written; it is good until the next call.
func (d *jsonReader) value() (json.RawMessage, error) {
	d.raw = d.raw[:0]
	if err := d.dec.Decode(&d.raw); err != nil {
		return nil, d.wrap(err)
	}
	return d.raw, nil
}

// loneSurrogate reports whether a JSON string, of correct syntax, escapes half a
// surrogate pair.
func loneSurrogate(raw []byte) bool {
	high := false // the escape just before was a high surrogate
	for i := 0; i < len(raw); i++ {
		c := rune(-1)
		if raw[i] == '\\' {
			i++
			if raw[i] == 'u' {
				n, _ := strconv.ParseUint(string(raw[i+1:i+5]), 16, 16)
				c = rune(n)
				i += 4
			}
		}
		if low := 0xDC00 <= c && c < 0xE000; low != high {
			return true
		}
		high = 0xD800 <= c && c < 0xDC00
	}
	return false
}

func (d *jsonReader) fail(format string, args ...any) error {
	return fmt.Errorf("graph: JSON, byte %d: %w: %s", d.dec.InputOffset(), ErrSyntax, fmt.Sprintf(format, args...))
}

// wrap reports an error of the decoder. Errors of the reader below pass through
// it, so they stay visible to errors.Is.
func (d *jsonReader) wrap(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, ErrSyntax): // from utf8Reader, which knows the place
		return err
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
		fallthrough
	case errors.As(err, &syntax), err == io.ErrUnexpectedEOF:
		return fmt.Errorf("graph: JSON, byte %d: %w: %w", d.dec.InputOffset(), ErrSyntax, err)
	}
	return fmt.Errorf("graph: JSON, byte %d: %w", d.dec.InputOffset(), err)
}

func describe(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		return "the string " + quote(t)
	case json.Number:
		return "the number " + cut(t.String())
	}
	return fmt.Sprint(t)
}

// cut shortens a number that would fill the message.
func cut(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// utf8Reader passes bytes through and fails at the first that is not UTF-8, where
// encoding/json would put U+FFFD and go on.
type utf8Reader struct {
	r    io.Reader
	tail [utf8.UTFMax]byte // start of a rune cut off by the end of the last read
	n    int
	off  int64
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		if u.n > 0 { // complete the rune that is open
			u.tail[u.n] = b[0]
			u.n++
			b = b[1:]
			if !utf8.FullRune(u.tail[:u.n]) {
				continue
			}
			if r, size := utf8.DecodeRune(u.tail[:u.n]); r == utf8.RuneError && size == 1 {
				return 0, u.invalid()
			}
			u.off += int64(u.n)
			u.n = 0
			continue
		}
		for len(b) > 0 {
			if b[0] < utf8.RuneSelf {
				b = b[1:]
				u.off++
				continue
			}
			if !utf8.FullRune(b) {
				u.n = copy(u.tail[:], b)
				b = nil
				break
			}
			r, size := utf8.DecodeRune(b)
			if r == utf8.RuneError && size == 1 {
				return 0, u.invalid()
			}
			b = b[size:]
			u.off += int64(size)
		}
	}
	if err == io.EOF && u.n > 0 {
		return 0, u.invalid()
	}
	return n, err
}

func (u *utf8Reader) invalid() error {
	return fmt.Errorf("graph: JSON, byte %d: %w: invalid UTF-8", u.off, ErrSyntax)
}
