// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import "fmt"

// TokenError reports a token id that the model's vocabulary does not have.
type TokenError struct {
	Node  string
	Token int32
	Vocab int
}

func (e *TokenError) Error() string {
	return fmt.Sprintf("graphkv: %s: token %d is not in the vocabulary of %d", e.Node, e.Token, e.Vocab)
}
