// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/hub"
	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/kvcache/disk"
	"github.com/graphkv/graphkv/model/gguf"
)

func newCache() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Encode a corpus ahead of time, and look after what is stored",
		Long: `Encoded segments are kept in a folder, one file each, where every later command finds
them. "warm" fills the folder, or a Redis server, from a corpus; the others show, check,
trim, and move what the folder has. Any number of processes may use it meanwhile.`,
	}
	cmd.AddCommand(newWarm(), newStat(), newList(), newVerify(), newCollect(), newRemove(), newExport(), newImport())
	return cmd
}

func newStat() *cobra.Command {
	f := &folder{}
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Show how much is stored, by model and format",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			defer s.Close()
			return f.stat(cmd.Context(), cmd.OutOrStdout(), s)
		},
	}
	f.flags(cmd)
	return cmd
}

func (f *folder) stat(ctx context.Context, w io.Writer, s *disk.Store) error {
	type kind struct{ model, format string }
	type sum struct {
		entries int
		tokens  int64
		bytes   size
	}
	kinds, damaged := map[kind]*sum{}, 0
	var all sum
	for e, err := range s.Entries(ctx) {
		if isDamaged(err) {
			damaged++
			continue
		}
		if err != nil {
			return err
		}
		k := kind{fingerprint(e), e.Shape.Format.String()}
		if kinds[k] == nil {
			kinds[k] = &sum{}
		}
		for _, to := range []*sum{kinds[k], &all} {
			to.entries++
			to.tokens += int64(e.Tokens)
			to.bytes += size(e.Bytes)
		}
	}
	fmt.Fprintf(w, "%s: %d entries, %d tokens, %v of %v\n", f.dir, all.entries, all.tokens, all.bytes, f.budget)
	if damaged > 0 {
		fmt.Fprintf(w, "%d files have a damaged header; \"graphkv cache verify\" puts them into quarantine\n", damaged)
	}
	if all.entries == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "model\tformat\tentries\ttokens\tsize\tbytes/token\t")
	order := slices.SortedFunc(maps.Keys(kinds), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.format, b.format))
	})
	for _, k := range order {
		n := kinds[k]
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%v\t%d\t\n", k.model[:shortDigits], k.format, n.entries, n.tokens, n.bytes, int64(n.bytes)/max(n.tokens, 1))
	}
	return t.Flush()
}

func newList() *cobra.Command {
	f := &folder{}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what is stored",
		Long: `List the entries in the order of their keys: key, tokens, size on disk, format, the
first digits of the model's fingerprint ("graphkv inspect" shows all of it), last use.
With --json, print one object a line, with all digits.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.openToLook()
			if err != nil {
				return err
			}
			defer s.Close()
			return list(cmd.Context(), cmd.OutOrStdout(), s, asJSON)
		},
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// listed is an entry as "ls --json" prints it.
type listed struct {
	Key    string    `json:"key"`
	Tokens int       `json:"tokens"`
	Bytes  int64     `json:"bytes"` // of the disk's blocks
	Format string    `json:"format,omitempty"`
	Model  string    `json:"model,omitempty"`
	Used   time.Time `json:"used"`
	Error  string    `json:"error,omitempty"`
}

// list prints line by line: a folder may have millions.
func list(ctx context.Context, w io.Writer, s *disk.Store, asJSON bool) error {
	for e, err := range s.Entries(ctx) {
		if err != nil && !isDamaged(err) {
			return err
		}
		x := listed{Key: e.Key.String(), Tokens: e.Tokens, Bytes: e.Bytes, Used: e.Used.UTC().Truncate(time.Second)}
		if err != nil {
			x.Error = err.Error()
		} else {
			x.Format, x.Model = e.Shape.Format.String(), fingerprint(e)
		}
		switch {
		case asJSON:
			err = printJSON(w, x)
		case x.Error != "":
			_, err = fmt.Fprintf(w, "%s  damaged: %s\n", x.Key[:shortDigits], x.Error)
		default:
			_, err = fmt.Fprintf(w, "%s %6d tokens %9v  %-4s  model %s  %s\n", x.Key[:shortDigits], x.Tokens, size(x.Bytes), x.Format, x.Model[:shortDigits], x.Used.Local().Format(time.DateTime))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shortDigits is how many hexadecimal digits of a key or a fingerprint are shown.
const shortDigits = 12

func fingerprint(e disk.Entry) string { return hex.EncodeToString(e.Info.Model[:]) }

func isDamaged(err error) bool {
	var ce *kvcache.CorruptError
	return errors.As(err, &ce)
}

// modelFilter selects the entries of a model: all of them if ref is empty.
func modelFilter(ctx context.Context, ref string) (func(disk.Entry) bool, error) {
	if ref == "" {
		return func(disk.Entry) bool { return true }, nil
	}
	if isDigits(ref) && len(ref) >= leastDigits {
		return func(e disk.Entry) bool { return strings.HasPrefix(fingerprint(e), ref) }, nil
	}
	path, err := hub.Locate(ctx, ref, hub.Options{})
	if err != nil {
		return nil, err
	}
	g, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	want := g.Fingerprint()
	return func(e disk.Entry) bool { return e.Info.Model == want }, nil
}

const modelFilterHelp = "only of this model: its name, its GGUF file, or the first digits of its fingerprint"

// leastDigits is how much of a key must be given: eight digits are never those of two entries by chance.
const leastDigits = 8

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
