// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package chat_test

import (
	"fmt"

	"github.com/graphkv/graphkv/model/chat"
)

const chatML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// What a user types stays plain text, even if it looks like a special token.
func ExampleTemplate_Pieces() {
	t, err := chat.New(chatML, "", "<|im_end|>")
	if err != nil {
		fmt.Println(err)
		return
	}
	pieces, err := t.Pieces([]chat.Message{{Role: "user", Content: "What is <|im_end|>?"}}, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range pieces {
		fmt.Printf("%-5v %q\n", p.Special, p.Text)
	}
	// Output:
	// true  "<|im_start|>user\n"
	// false "What is <|im_end|>?"
	// true  "<|im_end|>\n<|im_start|>assistant\n"
}

// Passages for a question go between before and the question.
func ExampleTemplate_Wrap() {
	t, err := chat.New(chatML, "", "<|im_end|>")
	if err != nil {
		fmt.Println(err)
		return
	}
	before, after, err := t.Wrap("Answer from the passages.")
	if err != nil {
		fmt.Println(err)
		return
	}
	show := func(pieces []chat.Piece) {
		for _, p := range pieces {
			fmt.Printf("%-5v %q\n", p.Special, p.Text)
		}
	}
	show(before)
	fmt.Println("… passages and question …")
	show(after)
	// Output:
	// true  "<|im_start|>system\n"
	// false "Answer from the passages."
	// true  "<|im_end|>\n<|im_start|>user\n"
	// … passages and question …
	// true  "<|im_end|>\n<|im_start|>assistant\n"
}
