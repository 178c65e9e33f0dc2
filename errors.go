// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"errors"
	"fmt"
)

var (
	// ErrRepairUnknown is wrapped by what needs to know which tokens of a node are
	// encoded again, where that is found out when the node is encoded; see
	// [Engine.Repaired].
	ErrRepairUnknown = errors.New("which tokens it encodes again is known when it is encoded")
	// ErrClosed is returned by the methods of an engine that has been closed.
	ErrClosed = errors.New("graphkv: the engine is closed")

	errNilRequest = errors.New("graphkv: the request is nil")
	errNoPlan     = errors.New("graphkv: the plan is nil or empty")
	errGaveUp     = errors.New("graphkv: the request that encoded it has ended")
)

// TokenError reports a token id that the model's vocabulary does not have.
type TokenError struct {
	Node  string
	Token int32
	Vocab int
}

func (e *TokenError) Error() string {
	return fmt.Sprintf("graphkv: %s: token %d is not in the vocabulary of %d", e.Node, e.Token, e.Vocab)
}

// ExplainError reports that a plan, or its answer, cannot be explained as asked for.
type ExplainError struct{ Err error }

func (e *ExplainError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ExplainError) Unwrap() error { return e.Err }

// PromptError reports a plan that would encode more tokens than allowed.
type PromptError struct {
	Tokens, Limit int
}

func (e *PromptError) Error() string {
	return fmt.Sprintf("graphkv: the plan's nodes have %d tokens together, the limit is %d", e.Tokens, e.Limit)
}
