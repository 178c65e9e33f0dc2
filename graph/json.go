// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// ErrSyntax is wrapped by the errors of the JSON and DOT readers about input
// that has the wrong form, as opposed to a well-formed graph that is wrong.
var ErrSyntax = errors.New("syntax error")

// WriteJSON writes the graph as
//
//	{"segments":[{"id":…,"text":…},{"id":…,"tokens":[…]},…],
//	 "edges":[[source id, target id],…]}
//
// one segment or edge on a line. Edges are grouped by target, in order, so a
// reader sees the same rows of sources. Text that is not valid UTF-8 cannot be
// written in JSON and is an error.
func (g *Graph) WriteJSON(w io.Writer) error {
	j := jsonWriter{w: bufio.NewWriter(w)}
	j.enc = json.NewEncoder(&j.buf)
	j.enc.SetEscapeHTML(false) // texts are full of angle brackets

	j.w.WriteString(`{"segments":[`)
	for i, s := range g.segments {
		j.w.WriteString(separator(i))
		if err := j.segment(s); err != nil {
			return &SegmentError{Index: i, ID: s.ID, Err: err}
		}
	}
	j.w.WriteString("\n],\"edges\":[")

	quoted := make([]string, g.Len()) // every id is quoted once, however many edges it has
	id := func(i int) string {
		if quoted[i] == "" {
			quoted[i] = string(j.quote(g.segments[i].ID))
		}
		return quoted[i]
	}
	n := 0
	for t := range g.segments {
		for _, s := range g.Sources(t) {
			j.w.WriteString(separator(n))
			j.w.WriteByte('[')
			j.w.WriteString(id(int(s)))
			j.w.WriteByte(',')
			j.w.WriteString(id(t))
			j.w.WriteByte(']')
			n++
		}
	}
	j.w.WriteString("\n]}\n")
	return j.w.Flush() // bufio keeps the first error
}

// MarshalJSON is WriteJSON for encoding/json.
func (g *Graph) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	if err := g.WriteJSON(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func separator(i int) string {
	if i == 0 {
		return "\n"
	}
	return ",\n"
}

type jsonWriter struct {
	w   *bufio.Writer
	enc *json.Encoder // writes to buf
	buf bytes.Buffer
}

func (j *jsonWriter) segment(s Segment) error {
	j.w.WriteString(`{"id":`)
	j.w.Write(j.quote(s.ID))
	if s.Text != "" {
		if !utf8.ValidString(s.Text) {
			return fmt.Errorf("%w: text is not valid UTF-8", ErrBadSegment)
		}
		j.w.WriteString(`,"text":`)
		j.w.Write(j.quote(s.Text))
	}
	if len(s.Tokens) > 0 {
		j.w.WriteString(`,"tokens":[`)
		for i, t := range s.Tokens {
			if i > 0 {
				j.w.WriteByte(',')
			}
			j.w.Write(strconv.AppendInt(j.w.AvailableBuffer(), int64(t), 10))
		}
		j.w.WriteByte(']')
	}
	return j.w.WriteByte('}')
}

// quote returns s, which is valid UTF-8, as a JSON string, good until the next call.
func (j *jsonWriter) quote(s string) []byte {
	j.buf.Reset()
	if err := j.enc.Encode(s); err != nil {
		panic(err) // every string has an encoding, and a Buffer takes it
	}
	return bytes.TrimSuffix(j.buf.Bytes(), []byte("\n"))
}
