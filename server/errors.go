// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/model/chat"
	"github.com/graphkv/graphkv/posenc"
)

// apiError is an error as a client gets it.
type apiError struct {
	Status  int
	Message string
	Type    string
	Param   string // the field at fault
	Code    string
	// Retry says after how long the client may try again; 0: not by itself.
	Retry time.Duration
	// Close asks the client to open another connection, which may lead elsewhere.
	Close bool
}

func (e *apiError) Error() string { return e.Message }

// header sets what a response with the error says in its header.
func (e *apiError) header(h http.Header) {
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.Retry+time.Second-1)/time.Second)))
	}
	if e.Close {
		h.Set("Connection", "close")
	}
}

const (
	typeInvalid  = "invalid_request_error"
	typeLimited  = "rate_limit_error"
	typeInternal = "server_error"
)

// invalid is an error of the client's: a field that cannot be used.
func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Type: typeInvalid, Param: param, Code: code}
}

// unsupported is an error about a field of OpenAI's that this server does not honour
// and that changes what the client gets.
func unsupported(param, format string, args ...any) *apiError {
	return invalid(param, "unsupported_value", format, args...)
}

// tooLarge is an error about a limit of sizes and numbers.
func tooLarge(param, code, format string, args ...any) *apiError {
	e := invalid(param, code, format, args...)
	e.Status = http.StatusRequestEntityTooLarge
	return e
}

// refused turns what the library says about a request into a client's error.
func refused(param string, err error) *apiError {
	var (
		tokens  *graphkv.PromptError
		context *posenc.ContextError
		raised  *chat.RaisedError
		limit   *chat.LimitError
		known   *apiError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tokens):
		return invalid(param, "prompt_too_long", "%v", err)
	case errors.As(err, &context):
		return invalid(param, "context_length_exceeded", "%v", err)
	case errors.As(err, &raised), errors.As(err, &limit), errors.Is(err, chat.ErrOpaque):
		return invalid("messages", "chat_template", "%v", err)
	}
	return invalid(param, "invalid_value", "%v", err)
}

// Errors that end requests from outside.
var (
	errDraining = &apiError{Status: http.StatusServiceUnavailable, Message: "the server is shutting down", Type: typeInternal, Code: "server_draining", Retry: time.Second, Close: true}
	errGone     = &apiError{Status: StatusCanceled, Message: "the client has gone", Type: typeInvalid, Code: "canceled"}
	errSlow     = &apiError{Status: StatusCanceled, Message: "the client does not read", Type: typeInvalid, Code: "client_too_slow"}
	errTimeout  = &apiError{Status: http.StatusRequestTimeout, Message: "the answer took longer than requests may here", Type: typeInvalid, Code: "request_timeout"}
)

// failed turns what went wrong while a request ran into what its client gets.
// Everything that is not known to be about the request is an internal error, whose
// text goes to the log alone.
func failed(ctx context.Context, err error) *apiError {
	var (
		known *apiError
		asked *graphkv.ExplainError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &asked):
		return invalid("", "not_explainable", "%v", err)
	case errors.As(context.Cause(ctx), &known): // an end that the server has set
		return known
	case ctx.Err() != nil:
		return errGone
	case errors.Is(err, graphkv.ErrClosed):
		return errDraining
	}
	return &apiError{Status: http.StatusInternalServerError, Message: "an internal error, which the server's log describes", Type: typeInternal, Code: "internal_error"}
}
