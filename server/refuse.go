// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"time"
)

// Refuse answers a request with an error in the form that OpenAI's clients read, for handlers in front of [Server.Handler]. With a retry
// of more than 0 the client is told to come again after it.
func Refuse(w http.ResponseWriter, status int, code, message string, retry time.Duration) {
	kind := typeInvalid
	switch {
	case status == http.StatusTooManyRequests:
		kind = typeLimited
	case status >= 500:
		kind = typeInternal
	}
	e := &apiError{Status: status, Message: message, Type: kind, Code: code, Retry: retry}
	e.header(w.Header())
	data, err := jsonBody(w.Header(), openAIError(e))
	if err != nil {
		panic(err) // it is made of strings
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // or the client has gone
}
