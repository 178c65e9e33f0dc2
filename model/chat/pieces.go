// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// Piece is a part of a rendering. In a Special piece, written by the template,
// special tokens are parsed; in the others, contents of messages, they are
// plain text.
type Piece struct {
	Text    string
	Special bool
	Message int // whose content it is: its place among the messages, from 1; 0 if Special
}

// ErrOpaque reports a template that does more with contents than place or trim
// them, so that template text and contents cannot be told apart.
var ErrOpaque = errors.New("chat: the template's own text and the messages cannot be told apart")

// Pieces renders like [Template.Render] and splits the result. The texts of
// the pieces put together are exactly the rendering; none is empty and no two
// neighbours are both Special.
func (t *Template) Pieces(msgs []Message, addGenerationPrompt bool) ([]Piece, error) {
	plain, err := t.Render(msgs, addGenerationPrompt)
	if err != nil {
		return nil, err
	}
	marked := make([]Message, len(msgs))
	marks := make(map[string]int, len(msgs)) // mark → place of the message, from 1
	for i, m := range msgs {
		marked[i] = m
		// Empty contents stay: templates branch on them, and they leave no piece.
		if m.Content != "" {
			mark := newMark()
			marks[mark] = i + 1
			marked[i].Content = pad + mark + pad
		}
	}
	text, err := t.render(marked, addGenerationPrompt)
	if err != nil {
		return nil, err
	}
	pieces := split(text, msgs, marks)
	var whole strings.Builder
	for _, p := range pieces {
		whole.WriteString(p.Text)
	}
	if whole.String() != plain {
		return nil, ErrOpaque
	}
	return pieces, nil
}

// Wrap gives what stands before and after the content X of a user message, so
// that other text (retrieved passages) can be placed around the question:
// rendering [system, user X] with the generation prompt gives the texts of
// before, X and the texts of after. An empty system means no system message.
// If the template trims contents, X has to be trimmed already.
func (t *Template) Wrap(system string) (before, after []Piece, err error) {
	mark := newMark()
	msgs := []Message{{Role: "user", Content: mark}}
	if system != "" {
		msgs = []Message{{Role: "system", Content: system}, {Role: "user", Content: mark}}
	}
	pieces, err := t.Pieces(msgs, true)
	if err != nil {
		return nil, nil, err
	}
	at := -1
	for i, p := range pieces {
		if p.Special || p.Text != mark {
			continue
		}
		if at >= 0 {
			return nil, nil, fmt.Errorf("%w: the user's content is written twice", ErrOpaque)
		}
		at = i
	}
	if at < 0 {
		return nil, nil, fmt.Errorf("%w: the user's content is not written", ErrOpaque)
	}
	return pieces[:at:at], pieces[at+1:], nil
}

// A mark stands for a content. Templates cannot guess it, and it has no white
// space, so that the pad around it shows what the template trims.
const (
	markStart = "mark"
	markLen   = len(markStart) + 26
	pad       = " \n"
)

func newMark() string { return markStart + rand.Text() }

// split cuts a rendering at its marks and puts the contents in their place,
// trimmed where the template has trimmed the pad.
func split(text string, msgs []Message, marks map[string]int) []Piece {
	var (
		pieces []Piece
		own    string // template text not yet in a piece
	)
	flush := func() {
		if own != "" {
			pieces = append(pieces, Piece{Text: own, Special: true})
			own = ""
		}
	}
	for {
		i := strings.Index(text, markStart)
		if i < 0 {
			own += text
			flush()
			return pieces
		}
		if len(text) < i+markLen {
			own += text
			flush()
			return pieces
		}
		which := marks[text[i:i+markLen]]
		if which == 0 {
			own += text[:i+len(markStart)]
			text = text[i+len(markStart):]
			continue
		}
		content, lead, rest := msgs[which-1].Content, text[:i], text[i+markLen:]
		if cut, ok := strings.CutSuffix(lead, pad); ok {
			lead = cut
		} else {
			content = strings.TrimLeftFunc(content, isSpace)
		}
		if cut, ok := strings.CutPrefix(rest, pad); ok {
			rest = cut
		} else {
			content = strings.TrimRightFunc(content, isSpace)
		}
		own += lead
		if content != "" {
			flush()
			pieces = append(pieces, Piece{Text: content, Message: which})
		}
		text = rest
	}
}
