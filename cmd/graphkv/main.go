// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command graphkv asks questions over passages through graph-structured attention.
//
//	graphkv ask            answer a question over files, a JSON request or the demo
//	graphkv serve          answer questions over HTTP
//	graphkv plan           show what a request will compute, without computing it
//	graphkv mask           write a request's mask for other tools, and show masks
//	graphkv explain        show what the answer and every target have read
//	graphkv eval           measure how well and how soon presets answer
//	graphkv cache          encode a corpus ahead of time, and look after what is stored
//	graphkv pull           fetch a model into the user's cache folder
//	graphkv tokenize       turn text into token ids and back
//	graphkv inspect        describe a GGUF file
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/model/gguf"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := newRoot().ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "graphkv: interrupted")
			os.Exit(interrupted)
		}
		fmt.Fprintln(os.Stderr, "graphkv:", trimName(err.Error()))
		os.Exit(1)
	}
}

// interrupted is a shell's exit status for a command that SIGINT has ended.
const interrupted = 130

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "graphkv",
		Short:         "Graph-structured attention over cached passages",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAsk(), newServe(), newPlan(), newMask(), newExplain(), newEval(), newCache(), newPull(), newTokenize(), newInspect())
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

// version returns the module version the command was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// readAll reads r until its end or until ctx ends, whichever comes first.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type read struct {
		data []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		data, err := io.ReadAll(r)
		done <- read{data, err}
	}()
	select {
	case d := <-done:
		return d.data, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openModel fetches a model if need be and opens its file.
func openModel(cmd *cobra.Command, ref string) (*gguf.File, string, error) {
	path, err := fetchModel(cmd.Context(), cmd.ErrOrStderr(), ref)
	if err != nil {
		return nil, "", err
	}
	f, err := gguf.Open(path)
	return f, path, err
}
