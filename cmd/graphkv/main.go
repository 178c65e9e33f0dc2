// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command graphkv asks questions over passages through graph-structured attention.
//
//	graphkv ask            answer a question over files, a JSON request or the demo
//	graphkv plan           show what a request will compute, without computing it
//	graphkv pull           fetch a model into the user's cache folder
//	graphkv tokenize       turn text into token ids and back
//	graphkv inspect        describe a GGUF file
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "graphkv:", trimName(err.Error()))
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "graphkv",
		Short:         "Graph-structured attention over cached passages",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAsk(), newPlan(), newPull(), newTokenize(), newInspect())
	return root
}

// trimName drops the library's own "graphkv: " so that it is not printed twice.
func trimName(s string) string {
	const name = "graphkv: "
	if len(s) > len(name) && s[:len(name)] == name {
		return s[len(name):]
	}
	return s
}
