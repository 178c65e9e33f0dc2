// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer_test

import (
	"fmt"
	"log"

	"github.com/graphkv/graphkv/model/tokenizer"
)

func Example() {
	tok, err := tokenizer.New(tokenizer.Config{
		Tokens: []string{"h", "i", "!", "Ġ", "hi", "Ġhi", "<|end|>"},
		Types: []tokenizer.TokenType{tokenizer.Normal, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal,
			tokenizer.Normal, tokenizer.Control},
		Merges: []string{"h i", "Ġ hi"},
		Pre:    "gpt-2",
		BOS:    tokenizer.NoToken,
		EOS:    6,
	})
	if err != nil {
		log.Fatal(err)
	}
	ids := tok.Encode(nil, "hi hi!<|end|>", true)
	fmt.Println(ids)
	fmt.Println(tok.Decode(ids))
	fmt.Println(tok.IsEOG(ids[len(ids)-1]))

	// Text from outside is never taken for control tokens. (This vocabulary has no tokens for their letters.)
	fmt.Println(tok.Encode(nil, "hi<|end|>", false))
	// Output:
	// [4 5 2 6]
	// hi hi!<|end|>
	// true
	// [4]
}
