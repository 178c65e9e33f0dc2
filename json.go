// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// decodeStrict decodes one JSON value into v. Beyond what encoding/json refuses, it
// refuses unknown and repeated names, names in another case, bytes that are not
// UTF-8 and anything after the value: each would otherwise be changed or dropped
// silently.
func decodeStrict(data []byte, v any) error {
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return errors.New("it starts with a byte order mark; save it without")
	}
	if !utf8.Valid(data) {
		return errors.New("it is not valid UTF-8")
	}
	if err := checkNames(data); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return fmt.Errorf("%s does not belong at %q", kind.Value, kind.Field)
		}
		if errors.Is(err, io.EOF) {
			return errors.New("it is empty")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// checkNames walks over the value and refuses a name that an object repeats, or
// that has an upper-case letter: no field's name does, and encoding/json would
// match it anyway. Syntax is left to the decoder.
func checkNames(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		names map[string]bool // nil in an array
		value bool            // the next token of an object is a value
	}
	var open []level
	for {
		t, err := d.Token()
		if err != nil {
			return nil // the end, or a mistake that the decoder names better
		}
		top := len(open) - 1
		if top >= 0 && open[top].names != nil && !open[top].value {
			if name, ok := t.(string); ok {
				if open[top].names[name] {
					return fmt.Errorf("name %q is repeated", name)
				}
				if name != strings.ToLower(name) {
					return fmt.Errorf("unknown field %q", name)
				}
				open[top].names[name], open[top].value = true, true
				continue
			}
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if top = len(open) - 1; top >= 0 {
			open[top].value = false
		}
	}
}

// UnmarshalJSON reads ["source", "target"].
func (e *Edge) UnmarshalJSON(data []byte) error {
	var ends []string
	if err := json.Unmarshal(data, &ends); err != nil || len(ends) != 2 {
		return fmt.Errorf(`edge %s is not ["source", "target"]`, data)
	}
	*e = Edge(ends)
	return nil
}

// wireRequest is a request's JSON form: there, no max_tokens stands for the default
// and 0 for no answer.
type wireRequest struct {
	*plainRequest
	MaxTokens *int `json:"max_tokens,omitempty"`
}

type plainRequest Request // without the methods

// UnmarshalJSON reads the request's JSON form; see [ParseRequest].
func (r *Request) UnmarshalJSON(data []byte) error {
	var q plainRequest
	w := wireRequest{plainRequest: &q}
	if err := decodeStrict(data, &w); err != nil {
		return err
	}
	switch {
	case w.MaxTokens == nil:
		q.MaxTokens = 0
	case *w.MaxTokens == 0:
		q.MaxTokens = NoTokens
	case *w.MaxTokens < 0:
		return fmt.Errorf("max_tokens is %d, want at least 0", *w.MaxTokens)
	default:
		q.MaxTokens = *w.MaxTokens
	}
	*r = Request(q)
	return nil
}

// MarshalJSON writes the request's JSON form.
func (r Request) MarshalJSON() ([]byte, error) {
	q := plainRequest(r)
	w := wireRequest{plainRequest: &q}
	if n := max(r.MaxTokens, 0); r.MaxTokens != 0 {
		w.MaxTokens = &n
	}
	return json.Marshal(w)
}

// UnmarshalJSON accepts a string, {"text": …} or {"tokens": […]}.
func (p *Piece) UnmarshalJSON(data []byte) error {
	*p = Piece{}
	switch {
	case string(data) == "null":
		return nil
	case data[0] == '"':
		return json.Unmarshal(data, &p.Text)
	case data[0] != '{':
		return fmt.Errorf(`a piece is a string, {"text": …} or {"tokens": […]}, not %s`, data)
	}
	var o struct {
		Text   *string  `json:"text"`
		Tokens *[]int32 `json:"tokens"`
	}
	if err := decodeStrict(data, &o); err != nil {
		return err
	}
	switch {
	case o.Text != nil && o.Tokens != nil:
		return errors.New(`a piece has either "text" or "tokens", not both`)
	case o.Text != nil:
		p.Text = *o.Text
	case o.Tokens != nil:
		p.Tokens = *o.Tokens
	default:
		return errors.New(`a piece needs "text" or "tokens"`)
	}
	return nil
}

// MarshalJSON writes a string, or {"tokens": […]}.
func (p Piece) MarshalJSON() ([]byte, error) {
	if p.Tokens == nil {
		return json.Marshal(p.Text)
	}
	return json.Marshal(struct {
		Tokens []int32 `json:"tokens"`
	}{p.Tokens})
}
