// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a conversation. Role is a plain word such as
// "system", "user" or "assistant".
type Message struct {
	Role    string
	Content string
}

// Template is a parsed chat template. It is immutable and safe for concurrent
// use.
type Template struct {
	tmpl     *exec.Template
	bos, eos string
}

// RaisedError is the error of a template that called raise_exception, for
// example because the roles do not alternate.
type RaisedError struct{ Message string }

func (e *RaisedError) Error() string {
	return fmt.Sprintf("chat: the template refused the messages: %s", e.Message)
}

// New parses a chat template. bos and eos are the texts of the beginning- and
// end-of-sequence tokens, which the template sees as bos_token and eos_token.
func New(template string, bos, eos string) (t *Template, err error) {
	if err := checkSource(template); err != nil {
		return nil, err
	}
	defer recovered(&err, "parse the template")
	env := environment()
	tmpl, err := exec.NewTemplate(rootName, templateConfig(), source(template), env)
	if err != nil {
		// The outer error of the engine repeats the whole template.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, fmt.Errorf("chat: parse the template: %s", clip(err.Error()))
	}
	c := compiler{filters: env.Filters}
	if err := c.template(tmpl.Root()); err != nil {
		var limit *LimitError
		if errors.As(err, &limit) {
			return nil, err
		}
		return nil, fmt.Errorf("chat: parse the template: %w", err)
	}
	return &Template{tmpl: tmpl, bos: bos, eos: eos}, nil
}

// Render applies the template to the messages. With addGenerationPrompt the
// rendering ends where the assistant's answer begins.
func (t *Template) Render(msgs []Message, addGenerationPrompt bool) (string, error) {
	if err := checkMessages(msgs); err != nil {
		return "", err
	}
	return t.render(msgs, addGenerationPrompt)
}

func (t *Template) render(msgs []Message, addGenerationPrompt bool) (s string, err error) {
	list := make(sequence, len(msgs))
	contents := 0
	for i, m := range msgs {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
		contents += len(m.Role) + len(m.Content)
	}
	b := newBudget(len(msgs), contents)
	out := &output{budget: b}
	defer recovered(&err, "render the template")
	err = t.tmpl.Execute(out, exec.NewContext(map[string]any{
		"messages":              list,
		"add_generation_prompt": addGenerationPrompt,
		"bos_token":             t.bos,
		"eos_token":             t.eos,
		"tools":                 nil,
		"documents":             nil,
		budgetName:              b,
	}))
	if b.err != nil {
		return "", b.err
	}
	if err != nil {
		return "", fmt.Errorf("chat: render the template: %s", clip(err.Error()))
	}
	return out.text.String(), nil
}

// recovered turns a panic of the template engine (a modulo by zero, an index
// it did not check) into an error.
func recovered(err *error, doing string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("chat: %s: the engine failed: %v", doing, r)
	}
}

// checkMessages refuses roles that are not plain words: a role is written into
// the template's own text, where special tokens are parsed.
func checkMessages(msgs []Message) error {
	if len(msgs) == 0 {
		return errors.New("chat: no messages")
	}
	for i, m := range msgs {
		if m.Role == "" {
			return fmt.Errorf("chat: message %d has no role", i)
		}
		if len(m.Role) > maxRole {
			return fmt.Errorf("chat: the role of message %d has %d bytes, limit %d", i, len(m.Role), maxRole)
		}
		for _, c := range m.Role {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
				continue
			}
			return fmt.Errorf("chat: the role %q of message %d is not a plain word", m.Role, i)
		}
	}
	return nil
}

const rootName = "/template"

func source(template string) loaders.Loader {
	return loaders.MustNewMemoryLoader(map[string]string{rootName: template})
}

// templateConfig is the set-up of Hugging Face's transformers.
func templateConfig() *config.Config {
	c := config.New()
	c.TrimBlocks = true
	c.LeftStripBlocks = true
	return c
}

// output collects the rendering and charges every write to the budget.
type output struct {
	text   strings.Builder
	budget *budget
}

func (o *output) Write(p []byte) (int, error) { return o.WriteString(string(p)) }

func (o *output) WriteString(s string) (int, error) {
	if err := o.budget.charge(1, len(s)); err != nil {
		return 0, err
	}
	return o.text.WriteString(s)
}
