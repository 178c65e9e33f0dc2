// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/graphkv/graphkv"
)

// printExplanation prints an answer, and what was read for it: of each reader, the top
// sources that got most.
func printExplanation(w io.Writer, x *graphkv.Explanation, order *graphkv.OrderSensitivity, top int) error {
	if x.Answer != nil {
		fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(x.Answer.Text))
	}
	if err := printMasses(w, x, top); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printResiduals(w, x); err != nil {
		return err
	}
	if order != nil {
		fmt.Fprintln(w)
		printOrder(w, order)
	}
	return nil
}

// thirds returns where the lower, middle and upper layers end.
func thirds(layers int) []int {
	return slices.Compact([]int{(layers + 2) / 3, (2*layers + 2) / 3, layers})
}

func printMasses(w io.Writer, x *graphkv.Explanation, top int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	ends := thirds(x.Layers)
	fmt.Fprint(t, "reader\tsource\ttokens\tattention\t")
	first := 0
	for _, end := range ends {
		fmt.Fprintf(t, "%s\t", layerRange(first, end))
		first = end
	}
	fmt.Fprintln(t, "most, in layer.head\t")
	for _, r := range x.Readers {
		reads := slices.Clone(r.Reads)
		slices.SortStableFunc(reads, func(a, b graphkv.Read) int { return cmp.Compare(b.Mass, a.Mass) })
		var rest []graphkv.Read
		if top > 0 && len(reads) > top+1 { // one more would take no more room than saying so
			reads, rest = reads[:top], reads[top:]
		}
		name := r.ID
		for _, s := range reads {
			source := s.ID
			if s.Node == r.Node {
				source = "itself"
			}
			layer, head := s.Top()
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t", name, source, s.Tokens, percent(s.Mass))
			first := 0
			for _, end := range ends {
				fmt.Fprintf(t, "%s\t", percent(s.Within(first, end)))
				first = end
			}
			fmt.Fprintf(t, "%s in %d.%d\t\n", percent(float64(s.Heads[layer][head])), layer+1, head+1)
			name = ""
		}
		if len(rest) > 0 {
			printRest(t, rest, ends)
		}
	}
	return t.Flush()
}

// printRest sums up the sources that are not listed.
func printRest(w io.Writer, rest []graphkv.Read, ends []int) {
	tokens, mass, within := 0, 0.0, make([]float64, len(ends))
	for _, s := range rest {
		tokens += s.Tokens
		mass += s.Mass
		first := 0
		for i, end := range ends {
			within[i] += s.Within(first, end)
			first = end
		}
	}
	fmt.Fprintf(w, "\t%d others\t%d\t%s\t", len(rest), tokens, percent(mass))
	for _, x := range within {
		fmt.Fprintf(w, "%s\t", percent(x))
	}
	fmt.Fprintln(w, "\t")
}

func layerRange(first, end int) string {
	if end-first == 1 {
		return fmt.Sprintf("layer %d", end)
	}
	return fmt.Sprintf("layers %d–%d", first+1, end)
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

// printResiduals prints how far the tokens of each reader are from being all the same,
// at a few layers.
func printResiduals(w io.Writer, x *graphkv.Explanation) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	shown := []int{0}
	for i := 1; i <= 6; i++ {
		shown = append(shown, x.Layers*i/6)
	}
	shown = slices.Compact(shown)
	fmt.Fprint(t, "distance from rank one\t")
	for _, l := range shown {
		if l == 0 {
			fmt.Fprint(t, "embedding\t")
		} else {
			fmt.Fprintf(t, "layer %d\t", l)
		}
	}
	fmt.Fprintln(t)
	for _, r := range x.Readers {
		if r.Residual == nil {
			continue
		}
		fmt.Fprintf(t, "%s\t", r.ID)
		for _, l := range shown {
			fmt.Fprintf(t, "%.3f\t", r.Residual[l])
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// printOrder says how much the order of the passages matters.
func printOrder(w io.Writer, s *graphkv.OrderSensitivity) {
	fmt.Fprintf(w, "%d orders of the passages: logits vary by %.3g (variance) and at most %.3g, first tokens diverge by %.3g nats,\n",
		s.Permutations, s.LogitVariance, s.MaxDifference, s.Divergence)
	fmt.Fprintf(w, "the likeliest first token is the same in %.0f %%", 100*s.TopAgreement)
	if len(s.Answers) == 0 {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, ", the answer in %.0f %%\n", 100*s.AnswerAgreement)
	for _, a := range s.Answers {
		fmt.Fprintf(w, "%4d × %s\n", a.Count, strings.Join(strings.Fields(a.Text), " "))
	}
}
