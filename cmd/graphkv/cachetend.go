// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/kvcache/disk"
)

func newVerify() *cobra.Command {
	f := &folder{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read every file and compare it with its checksums",
		Long: `Read every file and compare it with its checksums. A damaged file is moved to the
quarantine in the folder and named; it will be encoded again when it is asked for. The
exit status is 1 if there was any, or one that could not be read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			defer s.Close()
			p := newProgress(cmd.ErrOrStderr(), "verifying", s.Metrics().Bytes)
			var entries, damaged, failed int
			var bytes int64
			err = s.Verify(cmd.Context(), func(e disk.Entry, err error) {
				entries++
				bytes += e.Bytes
				switch {
				case isDamaged(err):
					damaged++
				case err != nil:
					failed++
				}
				if err != nil {
					p.say(err.Error())
				}
				p.update(bytes, fmt.Sprintf("%d entries", entries))
			})
			p.end()
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries verified, %v: %d damaged, %d could not be read\n", entries, size(bytes), damaged, failed)
			switch {
			case err != nil:
				return err
			case damaged > 0:
				return fmt.Errorf("%d damaged files are in quarantine, in %s", damaged, f.dir)
			case failed > 0:
				return fmt.Errorf("%d files could not be read", failed)
			}
			return nil
		},
	}
	f.flags(cmd)
	return cmd
}

func newCollect() *cobra.Command {
	f := &folder{}
	var to size
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Evict until the folder keeps a budget",
		Long: `Evict entries until the folder takes no more than --budget, for once, or than the budget
it was given ("stat" shows it): first those used longest ago and cheapest to encode
again for their size, as a store that is full does. What processes that died were
writing is removed too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			before := s.Metrics()
			if err := s.Close(); err != nil {
				return err
			}
			if to == 0 {
				to = f.budget
			}
			if s, err = disk.Open(f.dir, disk.Options{Budget: int64(to)}); err != nil {
				return err
			}
			after := s.Metrics()
			if err := s.Close(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries evicted, %v; %d entries are left, %v\n",
				after.Evictions, size(max(0, before.Bytes-after.Bytes)), after.Entries, size(after.Bytes))
			if after.Bytes > int64(to) {
				return fmt.Errorf("%s still takes %v: %d entries could not be removed", f.dir, size(after.Bytes), after.Failures)
			}
			return nil
		},
	}
	f.flags(cmd)
	sizeFlag(cmd, &to, "budget", "what the folder may take, such as 5GiB (default: its own budget)")
	return cmd
}

func newRemove() *cobra.Command {
	f := &folder{}
	var model string
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "rm [key...]",
		Short: "Remove entries",
		Long: `Remove the entries whose keys begin with the given digits, at least 8 of them, or all of
a model, or, with --all --yes, everything. A process that has an entry in memory may go on using it.`,
		Example: `  graphkv cache rm 51b70de4
  graphkv cache rm --model smollm2-135m-instruct
  graphkv cache rm --all --yes`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			if err := checkRemove(keys, model, all, yes); err != nil {
				return err
			}
			ofModel, err := modelFilter(cmd.Context(), model)
			if err != nil {
				return err
			}
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			defer s.Close()
			n, bytes, err := s.DeleteFunc(cmd.Context(), func(e disk.Entry) bool {
				return ofModel(e) && (len(keys) == 0 || slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(e.Key.String(), k) }))
			})
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries removed, %v\n", n, size(bytes))
			if err == nil && n == 0 && !all {
				err = errors.New("nothing matches")
			}
			return err
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&model, "model", "", modelFilterHelp)
	cmd.Flags().BoolVar(&all, "all", false, "remove everything; needs --yes")
	cmd.Flags().BoolVar(&yes, "yes", false, "I mean it")
	return cmd
}

func checkRemove(keys []string, model string, all, yes bool) error {
	switch {
	case all && (len(keys) > 0 || model != ""):
		return errors.New("--all removes everything; give neither keys nor --model with it")
	case all && !yes:
		return errors.New("--all removes everything; add --yes if you mean it")
	case !all && len(keys) == 0 && model == "":
		return errors.New("give the first digits of keys, --model, or --all --yes")
	}
	for _, k := range keys {
		if !isDigits(k) || len(k) < leastDigits {
			return fmt.Errorf("key %q: give at least %d of its digits 0-9 and a-f", k, leastDigits)
		}
	}
	return nil
}
