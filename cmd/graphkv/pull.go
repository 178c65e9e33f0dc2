// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/hub"
)

func newPull() *cobra.Command {
	verify := false
	cmd := &cobra.Command{
		Use:   "pull model",
		Short: "Fetch a model into the user's cache folder",
		Long: `Fetch a model and print its path. A model is ` + strings.Join(hub.Names(), ", ") + `, or
hf:owner/repo/file.gguf from a Hugging Face-style hub (HF_ENDPOINT, HF_TOKEN), or the
path of a file that is there already. An interrupted fetch from a hub goes on where it stopped.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := fetch(cmd.Context(), cmd.ErrOrStderr(), args[0], verify)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare the SHA-256 of a model that is already there")
	return cmd
}

// fetchModel returns the path of a model and fetches it if need be.
func fetchModel(ctx context.Context, w io.Writer, ref string) (string, error) {
	return fetch(ctx, w, ref, false)
}

func fetch(ctx context.Context, w io.Writer, ref string, verify bool) (string, error) {
	var bar *progressbar.ProgressBar
	path, err := hub.Pull(ctx, ref, hub.Options{Verify: verify, Progress: func(done, total int64) {
		if bar == nil {
			bar = progressbar.NewOptions64(total,
				progressbar.OptionSetWriter(w),
				progressbar.OptionSetDescription("fetching "+ref),
				progressbar.OptionShowBytes(true),
				progressbar.OptionShowTotalBytes(true),
				progressbar.OptionThrottle(100e6),
				progressbar.OptionSetWidth(30),
				progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }))
		}
		if total > 0 {
			bar.ChangeMax64(total)
		}
		bar.Set64(done)
	}})
	if bar != nil && err == nil {
		bar.Finish()
	}
	return path, err
}
