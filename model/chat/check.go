// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"fmt"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/tokens"
)

// Limits on the text of a template. The longest published chat templates have
// about 20 KiB, 150 tokens in a tag and a nesting of 10.
const (
	maxTemplate   = 128 << 10 // bytes
	maxTagTokens  = 1000      // tokens between {{ and }} or {% and %}
	maxNesting    = 64        // brackets in a tag, blocks in blocks
	maxOperations = 200       // operations on the results of operations
	maxRole       = 64        // bytes
)

// checkSource refuses, before the template is parsed, what could exhaust the
// parser (deep nesting) or the machine (operators that multiply).
func checkSource(template string) (err error) {
	if template == "" {
		return fmt.Errorf("chat: the template is empty")
	}
	if len(template) > maxTemplate {
		return &LimitError{What: "bytes of text", Limit: maxTemplate}
	}
	if !utf8.ValidString(template) {
		return fmt.Errorf("chat: the template is not valid UTF-8")
	}
	defer recovered(&err, "read the template")
	var (
		stream   = tokens.LexAll(template, templateConfig())
		brackets int
		blocks   int
		count    int
		opening  *tokens.Token // the word after {%
	)
	for !stream.End() {
		tok := stream.Next()
		count++
		switch tok.Type {
		case tokens.VariableBegin, tokens.BlockBegin:
			brackets, count, opening = 0, 0, nil
			if tok.Type == tokens.BlockBegin {
				opening = tok
			}
			continue
		case tokens.LeftParenthesis, tokens.LeftBracket, tokens.LeftBrace:
			if brackets++; brackets > maxNesting {
				return &LimitError{What: "nested brackets", Limit: maxNesting, Line: tok.Line}
			}
		case tokens.RightParenthesis, tokens.RightBracket, tokens.RightBrace:
			brackets--
		case tokens.Multiply, tokens.Power:
			return fmt.Errorf("chat: line %d of the template: the operator %s is not supported", tok.Line, tok.Val)
		}
		if count > maxTagTokens {
			return &LimitError{What: "tokens in a tag", Limit: maxTagTokens, Line: tok.Line}
		}
		if opening != nil && opening.Type == tokens.BlockBegin {
			opening = tok
			switch tok.Val {
			case "for", "if":
				if blocks++; blocks > maxNesting {
					return &LimitError{What: "nested blocks", Limit: maxNesting, Line: tok.Line}
				}
			case "endfor", "endif":
				blocks--
			}
		}
	}
	if tok := stream.Current(); stream.IsError() {
		return fmt.Errorf("chat: line %d of the template: %s", tok.Line, tok.Val)
	}
	return nil
}
