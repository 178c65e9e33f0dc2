// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Openai asks a graphkv server with OpenAI's own client. Documents and how they attend
// to one another are extra fields of the request; all else is as with any other server:
//
//	graphkv serve &
//	go run . -url http://127.0.0.1:8080/v1
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// Document is a passage. Links are the documents that it cites.
type Document struct {
	ID    string   `json:"id"`
	Title string   `json:"title,omitempty"`
	Text  string   `json:"text"`
	Links []string `json:"links,omitempty"`
}

func main() {
	url := flag.String("url", "http://127.0.0.1:8080/v1", "base of the server's API")
	key := flag.String("key", os.Getenv("OPENAI_API_KEY"), "API key, if the server wants one")
	flag.Parse()
	client := openai.NewClient(option.WithBaseURL(*url), option.WithAPIKey(*key))
	documents := []Document{
		{ID: "gehry", Title: "Frank Gehry", Text: "Frank Gehry was an architect. He was born in Toronto in 1929."},
		{ID: "museum", Title: "Guggenheim Museum Bilbao", Text: "The museum opened in 1997. Frank Gehry designed it.", Links: []string{"gehry"}},
	}
	for range 2 { // the second time, only the question is encoded
		if err := ask(context.Background(), client, os.Stdout, documents, "Who designed the museum in Bilbao?"); err != nil {
			log.Fatal(err)
		}
	}
}

// ask streams an answer to w.
func ask(ctx context.Context, client openai.Client, w io.Writer, documents []Document, question string) error {
	models, err := client.Models.List(ctx)
	if err != nil {
		return err
	}
	stream := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model: models.Data[0].ID,
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.SystemMessage("Answer from these documents."),
			openai.UserMessage(question),
		},
		Temperature:   openai.Float(0),
		MaxTokens:     openai.Int(64),
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	}, option.WithJSONSet("documents", documents), option.WithJSONSet("graphkv", map[string]any{"strategy": "dag"}))
	defer stream.Close()
	var answer openai.ChatCompletionAccumulator
	for stream.Next() {
		chunk := stream.Current()
		answer.AddChunk(chunk)
		if len(chunk.Choices) > 0 {
			fmt.Fprint(w, chunk.Choices[0].Delta.Content)
		}
		if extra, ok := chunk.JSON.ExtraFields["graphkv"]; ok { // what the server says besides
			var details struct {
				Timings struct {
					FirstToken float64 `json:"first_token"`
				} `json:"timings_ms"`
			}
			if err := json.Unmarshal([]byte(extra.Raw()), &details); err != nil {
				return err
			}
			defer fmt.Fprintf(w, ", first token after %.0f ms\n", details.Timings.FirstToken)
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	u := answer.Usage
	fmt.Fprintf(w, "\n%d tokens read, %d of them from the cache", u.PromptTokens, u.PromptTokensDetails.CachedTokens)
	return nil
}
