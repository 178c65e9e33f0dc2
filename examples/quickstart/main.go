// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command quickstart asks one question over two passages, twice: the second time
// nothing but the question is computed.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/hub"
)

func main() {
	ctx := context.Background()
	path, err := hub.Pull(ctx, "smollm2-135m-instruct", hub.Options{})
	check(err)
	engine, err := graphkv.Open(path)
	check(err)
	defer engine.Close()
	plan, err := engine.Compile(&graphkv.Request{
		Strategy: graphkv.GraphKV,
		Prefix:   graphkv.Text("<|im_start|>user\nAnswer from these documents.\n\n"),
		Segments: []graphkv.Segment{
			{ID: "gehry", Text: "Frank Gehry was an architect. He was born in Toronto in 1929.\n"},
			{ID: "museum", Text: "The Guggenheim Museum Bilbao opened in 1997. Frank Gehry designed it.\n"},
		},
		Query: graphkv.Text("Who designed the museum in Bilbao?<|im_end|>\n<|im_start|>assistant\n"),
	})
	check(err)
	for range 2 {
		result, err := engine.Generate(ctx, plan)
		check(err)
		fmt.Printf("%s\n%d tokens encoded, %d reused\n", result.Text, result.Usage.EncodedTokens, result.Usage.CachedTokens)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
