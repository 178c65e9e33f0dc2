// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/graphkv/graphkv/bench"
)

// write prints the tables and leaves them in the folder of results, with every
// measurement as a line of JSON and the plots.
func (r *report) write() error {
	if err := os.MkdirAll(r.options.out, 0o777); err != nil {
		return err
	}
	plots, err := r.plots()
	if err != nil {
		return err
	}
	var page strings.Builder
	page.WriteString("# Results\n\nWritten by `go run -C bench/compare .`; see [how](../README.md).\n\n")
	page.WriteString(r.conditions() + "\n\n" + r.summary() + "\n")
	if d := r.derived(); d != "" {
		page.WriteString("Of our own cases:\n\n" + d + "\n")
	}
	for _, p := range plots {
		fmt.Fprintf(&page, "![%s](%s.svg)\n\n", p, p)
	}
	page.WriteString("## All contenders\n\n" + r.details())
	if diffs := r.differences(); diffs != "" {
		page.WriteString("\n## Agreement\n\n" + diffs)
	}
	if len(r.missing) > 0 {
		page.WriteString("\n## Missing\n\n")
		for _, m := range r.missing {
			page.WriteString("- " + m + "\n")
		}
	}
	fmt.Printf("%s\n\n%s\n%s\n%s", r.conditions(), r.summary(), r.derived(), r.details())
	if err := r.lines(filepath.Join(r.options.out, "results.jsonl")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.options.out, "README.md"), []byte(page.String()), 0o666)
}

// differences says how far the contenders' numbers were from ours.
func (r *report) differences() string {
	largest := map[string]float64{}
	var names []string
	for _, row := range r.rows {
		for who, d := range row.diff {
			if _, ok := largest[who]; !ok {
				names = append(names, who)
			}
			largest[who] = max(largest[who], d)
		}
	}
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Largest difference from graphkv's numbers before timing (at most %g is accepted):\n\n", tolerance)
	for _, e := range sortedNames(names) {
		fmt.Fprintf(&b, "- %s: %.1e\n", e, largest[e])
	}
	return b.String()
}

// lines writes every measurement.
func (r *report) lines(path string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, row := range r.rows {
		for _, e := range row.entries {
			for run := range r.options.runs {
				res, ok := e.runs[run]
				if !ok {
					continue
				}
				line := struct {
					Run int `json:"run"`
					bench.Result
					Peak float64 `json:"fma_peak_gflops"`
				}{run, res, row.peak[run]}
				if err := enc.Encode(line); err != nil {
					return err
				}
			}
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}
