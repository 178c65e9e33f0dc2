// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
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
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error of Encode's is the client's having gone.
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}})
}
