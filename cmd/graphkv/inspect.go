// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
)

func newInspect() *cobra.Command {
	var tensors bool
	cmd := &cobra.Command{
		Use:   "inspect [model.gguf]",
		Short: "Describe a GGUF file: metadata, weight types, and whether it can be run",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := defaultModel
			if len(args) > 0 {
				ref = args[0]
			}
			f, path, err := openModel(cmd, ref)
			if err != nil {
				return err
			}
			defer f.Close()
			return inspect(cmd.OutOrStdout(), path, f, tensors)
		},
	}
	cmd.Flags().BoolVar(&tensors, "tensors", false, "list every tensor")
	return cmd
}

func inspect(w io.Writer, path string, f *gguf.File, tensors bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "file\t%s\nversion\tGGUF %d\n", path, f.Version())
	for _, k := range f.Keys() {
		v, _ := f.Value(k)
		fmt.Fprintf(t, "%s\t%s\n", k, shorten(v.String()))
	}
	count, bytes := map[string]int{}, map[string]int{}
	for _, x := range f.Tensors() {
		count[x.Type.String()]++
		bytes[x.Type.String()] += len(x.Data)
		if tensors {
			fmt.Fprintf(t, "%s\t%s %v\n", x.Name, x.Type, x.Shape)
		}
	}
	types := make([]string, 0, len(count))
	for name := range count {
		types = append(types, name)
	}
	slices.Sort(types)
	for _, name := range types {
		fmt.Fprintf(t, "%s tensors\t%d, %.1f MiB\n", name, count[name], float64(bytes[name])/(1<<20))
	}
	fingerprint := f.Fingerprint()
	fmt.Fprintf(t, "fingerprint\t%x\n", fingerprint)
	if c, err := model.ReadConfig(f); err != nil {
		fmt.Fprintf(t, "runs\tno: %v\n", err)
	} else {
		fmt.Fprintf(t, "runs\tyes: %.1f million weights, %d layers, %d query and %d KV heads of %d\n",
			float64(c.Parameters())/1e6, c.Layers, c.Heads, c.KVHeads, c.HeadDim)
	}
	return t.Flush()
}

// shorten keeps a value on one line of a terminal.
func shorten(s string) string {
	const width = 100
	r := []rune(s)
	if len(r) > width {
		return string(r[:width]) + "…"
	}
	return string(r)
}
