// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// printTimings prints one line of figures per answer. from names the tiers that reused tokens may come from besides memory, if there are any.
func printTimings(w io.Writer, from string, all []answered) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "strategy\ttokens encoded\treused\t")
	if from != "" {
		fmt.Fprintf(t, "from %s\t", from)
	}
	fmt.Fprintln(t, "first token\ttokens/s\tanswer tokens\tended by\t")
	for _, a := range all {
		if a.Result == nil {
			continue
		}
		strategy := string(a.Strategy)
		if strategy == "" {
			strategy = "plan"
		}
		rate := "–"
		if r := a.DecodeRate(); r > 0 {
			rate = fmt.Sprintf("%.1f", r)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t", strategy, a.Usage.EncodedTokens, a.Usage.CachedTokens)
		if from != "" {
			fmt.Fprintf(t, "%d\t", a.Usage.FetchedTokens)
		}
		fmt.Fprintf(t, "%.0f ms\t%s\t%d\t%s\t\n", a.Timings.FirstToken, rate, a.Usage.CompletionTokens, a.FinishReason)
	}
	t.Flush()
}
