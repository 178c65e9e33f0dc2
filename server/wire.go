// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// body reads the request's body, which has to be JSON by its Content-Type too: a web
// page that its user's browser runs can send other types to a server on the same
// machine without asking.
func (x *exchange) body() ([]byte, error) {
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		e := invalid("", "unsupported_media_type", "the Content-Type has to be application/json")
		e.Status = http.StatusUnsupportedMediaType
		return nil, e
	}
	limit := x.limits.BodyBytes
	if x.r.ContentLength > limit {
		return nil, tooLarge("", "body_too_large", "the body has %d bytes, the limit is %d", x.r.ContentLength, limit)
	}
	_ = x.control.SetReadDeadline(time.Now().Add(x.limits.BodyTime))
	data, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	if err == nil { // or else the deadline is for the rest, which is skipped
		_ = x.control.SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge("", "body_too_large", "the body has more than %d bytes, which is the limit", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		e := invalid("", "body_timeout", "the body did not arrive within %v", x.limits.BodyTime)
		e.Status, e.Close = http.StatusRequestTimeout, true
		return nil, e
	case err != nil:
		return nil, invalid("", "body_unreadable", "the body could not be read")
	case !utf8.Valid(data):
		return nil, invalid("", "invalid_json", "the body is not valid UTF-8")
	}
	return data, nil
}

// decode reads the request's body into v. Fields that v does not have are left out.
func (x *exchange) decode(v any) error {
	data, err := x.body()
	if err != nil {
		return err
	}
	return unmarshal(data, v)
}

// embedded takes the names of embedded structs out of a field's.
var embedded = strings.NewReplacer("common.", "", "extension.", "")

func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var (
		kind  *json.UnmarshalTypeError
		known *apiError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &kind):
		if kind.Field == "" {
			return invalid("", "invalid_type", "the body is a JSON %s, want an object", kind.Value)
		}
		field := embedded.Replace(kind.Field)
		return invalid(field, "invalid_type", "%s is a JSON %s, which does not belong there", field, kind.Value)
	}
	return invalid("", "invalid_json", "the body is not the JSON that belongs there: %v", err)
}

// encode returns v as JSON on one line, without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// jsonBody returns the body of a complete response, and sets the header's fields about it.
func jsonBody(h http.Header, v any) ([]byte, error) {
	data, err := encode(v)
	if err != nil {
		return nil, err
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	return append(data, '\n'), nil
}

// write sends a complete response.
func (x *exchange) write(status int, v any) error {
	data, err := jsonBody(x.w.Header(), v)
	if err != nil {
		return err
	}
	x.out.Status = status
	x.w.WriteHeader(status)
	return x.send(data)
}

// send writes and flushes, for as long as the client may take to read.
func (x *exchange) send(data []byte) error {
	_ = x.control.SetWriteDeadline(time.Now().Add(x.limits.WriteTime))
	_, err := x.w.Write(data)
	if err == nil {
		err = x.control.Flush()
	}
	if err == nil { // what comes next may take its time: in HTTP/2 a deadline ends a stream that waits
		err = x.control.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil, errors.Is(err, http.ErrNotSupported): // by a writer that somebody has put around the connection's
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	}
	return errGone
}

// events is a response of server-sent events. Its header is sent with the first one,
// so that what goes wrong before can still have a status of its own.
type events struct {
	*exchange
	begun bool
}

func (x *exchange) events() *events { return &events{exchange: x} }

// emit sends an event.
func (e *events) emit(v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	return e.line(data)
}

func (e *events) line(data []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no") // nginx would keep events back
		e.out.Status, e.out.Stream = http.StatusOK, true
		e.w.WriteHeader(http.StatusOK)
	}
	event := make([]byte, 0, len(data)+8)
	event = append(append(append(event, "data: "...), data...), "\n\n"...)
	return e.send(event)
}

// close ends the stream: with [DONE] if err is nil, or else, once it has begun, with
// the error in the dialect of the endpoint. It returns err.
func (e *events) close(err error) error {
	if err == nil {
		return e.line([]byte("[DONE]"))
	}
	if known := failed(e.ctx, err); e.begun && known.Status != StatusCanceled {
		_ = e.emit(e.dialect(known))
	}
	return err
}
