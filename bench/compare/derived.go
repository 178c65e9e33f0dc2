// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/bench"
)

// find returns one contender's entry of a case, or nil.
func (r *report) find(id string, threads int, who string) *entry {
	for _, row := range r.rows {
		if row.ID != id || row.threads != threads {
			continue
		}
		if i := slices.IndexFunc(row.entries, func(e *entry) bool { return e.who == who }); i >= 0 {
			return row.entries[i]
		}
	}
	return nil
}

// times returns how many times as long a takes as b, run by run and per unit of work.
func times(a, b *entry, workA, workB float64) float64 {
	return ratio(b, a) * workB / workA
}

// derived compares our own cases with one another.
func (r *report) derived() string {
	var b strings.Builder
	strategy := func(s graphkv.Strategy) string { return bench.Self + " " + string(s) }
	for _, threads := range r.options.threads {
		one, eight := r.find("attention/L3/A", threads, bench.Self), r.find("attention/L3x8/A", threads, bench.Self)
		if one != nil && eight != nil {
			x, _ := r.spec.Case("attention/L3x8/A")
			y, _ := r.spec.Case("attention/L3/A")
			fmt.Fprintf(&b, "- %d threads: eight times L3's segments take %.2f × the time per pair of tokens (1 is linear).\n", threads, times(eight, one, x.Work, y.Work))
		}
		for _, c := range []struct {
			text, a, whoA, b, whoB string
		}{
			{"cached passages in a new order take %.2f × the time to first token of the old order", "ttft/new-order", strategy(graphkv.Block), "ttft/same-order", strategy(graphkv.Block)},
			{"cold `graphkv` (two rounds) takes %.2f × cold `sequential`", "ttft/cold", strategy(graphkv.GraphKV), "ttft/cold", strategy(graphkv.Sequential)},
			{"cold `block` takes %.2f × cold `sequential`", "ttft/cold", strategy(graphkv.Block), "ttft/cold", strategy(graphkv.Sequential)},
		} {
			if x, y := r.find(c.a, threads, c.whoA), r.find(c.b, threads, c.whoB); x != nil && y != nil {
				fmt.Fprintf(&b, "- %d threads: "+c.text+".\n", threads, times(x, y, 1, 1))
			}
		}
	}
	return b.String()
}
