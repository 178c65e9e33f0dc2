// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package chat renders a conversation with the chat template that a model
// carries (GGUF metadata key tokenizer.chat_template) and says which parts of
// the rendering are the template's own words and which are message contents.
//
// # Why a template engine
//
// The template is the only exact statement of the prompt format a model was
// trained on, so it is executed, not guessed. Rendering is done by gonja, a
// Jinja implementation in Go. The alternative, a list of formats recognised by
// their text, is exact only for the files it knows and silently wrong for a
// fine-tune that edits one line. The choice rests on evidence: testdata holds
// the templates of SmolLM2, Llama 3 and Qwen2, further ones that use what
// longer templates use (namespaces, slices, white space control, raising,
// splitting off a train of thought), and what Python's jinja2, set up as
// Hugging Face sets it up (trim_blocks, lstrip_blocks, loop controls, sandbox),
// makes of them; the tests compare byte by byte.
//
// The engine parses templates and runs loops and conditions. Expressions,
// filters and methods are evaluated here: the engine's evaluator costs 2ⁿ for
// a chain of n method calls and cannot be stopped, and it gives some things
// another meaning than Python (indices from the end, reverse, division, a text
// plus something that is none).
//
// # What a template may do
//
// A model file is foreign data, and so is its template. It runs without a
// loader (there is nothing that could open a file), with the statements for,
// if, set, raw, break and continue and with lists of allowed filters, tests
// and methods, on the caller's goroutine and on a budget: every statement,
// round of a loop and node of an expression is charged a step, every text its
// bytes before it is made, and a deadline is checked at each charge. Operators
// that make a large value from a small one (*, **) are refused; the size of a
// template, its nesting and the depth of its expressions are limited. The
// budget grows with the conversation, so a long one is not mistaken for an
// attack. A template that needs more gets a [LimitError] or an error naming
// the construct, never an approximation.
//
// strftime_now is not defined: a prompt that changes every day cannot be
// reused from a cache. Templates that ask (Llama 3.2 does) fall back to the
// date written in them.
//
// # Pieces
//
// A tokenizer must parse "<|im_end|>" as a special token where the template
// wrote it and as plain text where a user did. [Template.Pieces] finds the
// border by rendering twice: once with the contents, once with random words in
// their place, each between white space, which also shows whether the template
// trims. The pieces put together must equal the plain rendering, or the call
// fails with [ErrOpaque].
//
// A template that writes the beginning-of-sequence token does so in the text
// of the first piece; the caller must not add a second one.
package chat
