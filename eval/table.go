// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is a heading and rows of as many cells; the first column is aligned left.
type table struct {
	title string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table with its columns aligned, as Markdown if that is asked for.
func (t *table) write(w io.Writer, markdown bool) {
	if len(t.rows) < 2 {
		return
	}
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	fmt.Fprintf(w, "%s\n\n", t.title)
	for r, row := range t.rows {
		for i, c := range row {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			switch {
			case markdown && i == 0:
				fmt.Fprintf(w, "| %s%s |", c, gap)
			case markdown:
				fmt.Fprintf(w, " %s%s |", gap, c)
			case i == 0:
				fmt.Fprint(w, c, gap)
			default:
				fmt.Fprint(w, "  ", gap, c)
			}
		}
		fmt.Fprintln(w)
		if markdown && r == 0 {
			fmt.Fprint(w, "| --- |", strings.Repeat(" --: |", len(row)-1), "\n")
		}
	}
	fmt.Fprintln(w)
}

// Write prints the summary as tables, aligned for a terminal or as Markdown.
func (s *Summary) Write(w io.Writer, markdown bool) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s, %s: %s of %d, in %s\n\n", s.Data, s.Model, count(s.Items, "item"), s.Of, count(s.Orders, "order"))
	var tables []*table
	if s.Items > 0 {
		tables = append(tables, s.scores())
		for _, m := range s.measures() {
			tables = append(tables, s.groups(m))
		}
		for _, m := range s.measures() {
			tables = append(tables, s.sensitivities(m))
		}
	}
	for _, t := range append(tables, s.latencies()) {
		t.write(b, markdown)
	}
	for _, v := range s.Variants {
		if v.Failed > 0 {
			fmt.Fprintf(b, "%s: %d answers failed and count as wrong\n", v.Label, v.Failed)
		}
	}
	return b.Flush()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// percent prints a share in per cent.
func percent(x float64) string { return fmt.Sprintf("%.1f", 100*x) }

func interval(x Interval) string {
	return fmt.Sprintf("%s [%s, %s]", percent(x.Mean), percent(x.Low), percent(x.High))
}

// difference is an interval with signs.
func difference(x Interval) string {
	return fmt.Sprintf("%+.1f [%+.1f, %+.1f]", 100*x.Mean, 100*x.Low, 100*x.High)
}

// measures returns those of the summary's tables: choices only if there are any.
func (s *Summary) measures() []Measure {
	if s.Chance > 0 {
		return []Measure{Choice, SubspanEM}
	}
	return []Measure{SubspanEM}
}

// measureNames are those that tables and plots show.
var measureNames = map[Measure]string{Choice: "choice", SubspanEM: "subspan EM"}

func (s *Summary) scores() *table {
	t := &table{title: "Scores in %, with 95 % intervals; differences are paired"}
	head := []string{"strategy"}
	for _, m := range s.measures() {
		head = append(head, measureNames[m])
		if len(s.Variants) > 1 {
			head = append(head, "Δ "+s.Variants[0].Label)
		}
	}
	t.add(append(head, "EM", "F1")...)
	for _, v := range s.Variants {
		row := []string{v.Label}
		for _, m := range s.measures() {
			row = append(row, interval(v.Groups[0].Scores[m]))
			switch {
			case v.Differences != nil:
				row = append(row, difference(v.Differences[m]))
			case len(s.Variants) > 1:
				row = append(row, "")
			}
		}
		t.add(append(row, percent(v.Groups[0].Scores[EM].Mean), percent(v.Groups[0].Scores[F1].Mean))...)
	}
	if s.Chance > 0 {
		row := make([]string, len(t.rows[0]))
		row[0], row[1] = "chance", percent(s.Chance)
		t.add(row...)
	}
	return t
}

// groups has a column for every part of the items.
func (s *Summary) groups(m Measure) *table {
	t := &table{title: fmt.Sprintf("By part of the items: %s in %%", measureNames[m])}
	head := []string{"strategy"}
	for _, g := range s.Variants[0].Groups[1:] {
		head = append(head, fmt.Sprintf("%s (%d)", strings.TrimPrefix(g.Name, "kind "), g.Items))
	}
	if len(head) == 1 {
		return t
	}
	t.add(head...)
	for _, v := range s.Variants {
		row := []string{v.Label}
		for _, g := range v.Groups[1:] {
			cell := "–" // no candidates here
			if x, ok := g.Scores[m]; ok {
				cell = percent(x.Mean)
			}
			row = append(row, cell)
		}
		t.add(row...)
	}
	return t
}

// sensitivities says for a measure how much the order of the documents matters.
func (s *Summary) sensitivities(m Measure) *table {
	t := &table{title: fmt.Sprintf("Order of the documents, %s in %%: in the data's own order and in others; items that do not get the same answer in all, "+
		"pairs of orders that agree; variance of an item's score over orders", measureNames[m])}
	if s.Orders < 2 {
		return t
	}
	t.add("strategy", "own", "others", "changed", "agree", "variance")
	for _, v := range s.Variants {
		x := v.TextOrder
		if m == Choice {
			x = v.ChoiceOrder
		}
		others := 0.0
		for _, y := range v.ByOrder[m][1:] {
			others += y / float64(s.Orders-1)
		}
		t.add(v.Label, percent(v.ByOrder[m][0]), percent(others), percent(x.Changed), percent(x.Agreement), fmt.Sprintf("%.3f", x.Variance))
	}
	return t
}

func (s *Summary) latencies() *table {
	t := &table{title: "Time to the first token in ms, median and 90th percentile; tokens encoded and reused, mean"}
	t.add("strategy", "nothing cached", "tokens", "other order cached", "tokens", "same cached", "tokens", "items")
	for _, v := range s.Variants {
		if v.Timed == 0 {
			continue
		}
		row := []string{v.Label}
		for _, l := range []*Latency{v.Cold, v.Reordered, v.Again} {
			row = append(row, fmt.Sprintf("%.0f, %.0f", l.Median, l.P90), fmt.Sprintf("%.0f + %.0f", l.Encoded, l.Reused))
		}
		t.add(append(row, fmt.Sprint(v.Timed))...)
	}
	return t
}
