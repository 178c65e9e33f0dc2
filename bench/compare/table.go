// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/graphkv/graphkv/bench"
)

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	n := len(x)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return x[n/2]
	}
	return (x[n/2-1] + x[n/2]) / 2
}

// value returns the median over the runs, in the case's unit.
func (e *entry) value() float64 {
	var x []float64
	for _, r := range e.runs {
		x = append(x, r.Value)
	}
	return median(x)
}

func (e *entry) own() bool { return e.who == bench.Self || strings.HasPrefix(e.who, bench.Self+" ") }

func (r *row) peerEntries() (list []*entry) {
	for _, e := range r.entries {
		if !e.own() {
			list = append(list, e)
		}
	}
	return list
}

// self returns our entry that is compared with the peers: the first.
func (r *row) self() *entry {
	i := slices.IndexFunc(r.entries, (*entry).own)
	return r.entries[i]
}

// better reports whether value a is better than b.
func (r *row) better(a, b float64) bool {
	if r.Work == 0 {
		return a < b
	}
	return a > b
}

// fastest returns the peer with the best median, or nil.
func (r *row) fastest() *entry {
	var best *entry
	for _, e := range r.peerEntries() {
		if best == nil || r.better(e.value(), best.value()) {
			best = e
		}
	}
	return best
}

// ratio returns how many times as fast a is as b: the median over the runs that both
// took part in.
func ratio(a, b *entry) float64 {
	var x []float64
	for run, ra := range a.runs {
		if rb, ok := b.runs[run]; ok {
			x = append(x, rb.Seconds/ra.Seconds)
		}
	}
	return median(x)
}

// least returns the shortest time that a contender has shown, in the case's unit.
func (r *row) least(e *entry) float64 {
	t := math.Inf(1)
	for _, res := range e.runs {
		t = min(t, res.MinSeconds)
	}
	return r.Rate(t)
}

// bestRatio compares the shortest times: where other programs share the machine it says
// more than medians do.
func (r *row) bestRatio(a, b *entry) float64 {
	x, y := r.least(a), r.least(b)
	if r.Work == 0 {
		x, y = y, x
	}
	return x / y
}

// fraction returns our part of the FMA peak, 0 where it says nothing.
func (r *row) fraction(e *entry) float64 {
	var x []float64
	for run, res := range e.runs {
		if r.Unit == "GFLOP/s" && run < len(r.peak) && r.peak[run] > 0 {
			x = append(x, res.Value/r.peak[run])
		}
	}
	return median(x)
}

func (r *row) format(v float64) string {
	switch {
	case r.Work == 0 && v < 0.01:
		return fmt.Sprintf("%.2f ms", v*1000)
	case r.Work == 0 && v < 1:
		return fmt.Sprintf("%.1f ms", v*1000)
	case r.Work == 0:
		return fmt.Sprintf("%.2f s", v)
	}
	return fmt.Sprintf("%.4g %s", v, r.Unit)
}

// String is the line that is shown as soon as a case is through.
func (r *row) String() string {
	self := r.self()
	s := fmt.Sprintf("%-22s %d threads  %-16s", r.ID, r.threads, r.format(self.value()))
	if f := r.fraction(self); f > 0 {
		s += fmt.Sprintf("  %3.0f %% of peak", 100*f)
	}
	if best := r.fastest(); best != nil {
		s += fmt.Sprintf("  %.2f × %s (%s)", ratio(self, best), best.who, r.format(best.value()))
	}
	return s
}

// summary is a table with one line for each case: ourselves and the fastest peer.
func (r *report) summary() string {
	var b strings.Builder
	b.WriteString("| case | threads | graphkv | of FMA peak | fastest peer | | ratio | ratio of best times |\n|---|--:|--:|--:|---|--:|--:|--:|\n")
	for _, row := range r.rows {
		self, best := row.self(), row.fastest()
		fraction, name, value, times, least := "", "", "", "", ""
		if f := row.fraction(self); f > 0 {
			fraction = fmt.Sprintf("%.0f %%", 100*f)
		}
		if best != nil {
			name, value = best.who, row.format(best.value())
			times, least = fmt.Sprintf("%.2f", ratio(self, best)), fmt.Sprintf("%.2f", row.bestRatio(self, best))
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s |\n", row.ID, row.threads, row.format(self.value()), fraction, name, value, times, least)
	}
	return b.String()
}

// details is a table of all contenders.
func (r *report) details() string {
	var b strings.Builder
	b.WriteString("| case | threads | contender | median | runs from | to | best time | runs | graphkv is faster by | by best times |\n|---|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.rows {
		for _, e := range row.entries {
			var x []float64
			for _, res := range e.runs {
				x = append(x, res.Value)
			}
			times, least := "", ""
			if e != row.self() {
				times, least = fmt.Sprintf("%.2f", ratio(row.self(), e)), fmt.Sprintf("%.2f", row.bestRatio(row.self(), e))
			}
			who := e.who
			if e.compile > 0 {
				who += fmt.Sprintf(" (compiled in %.1f s)", e.compile)
			}
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %d | %s | %s |\n", row.ID, row.threads, who, row.format(e.value()),
				row.format(slices.Min(x)), row.format(slices.Max(x)), row.format(row.least(e)), len(x), times, least)
		}
	}
	return b.String()
}

// conditions says where and with what.
func (r *report) conditions() string {
	m := r.spec.Machine
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s, tier %s, %s.", m.CPU, m.Cores, m.OS, m.Tier, m.Go)
	for _, p := range r.peers {
		for _, name := range slices.Sorted(maps.Keys(p.versions)) {
			fmt.Fprintf(&b, " %s %s.", name, p.versions[name])
		}
	}
	fmt.Fprintf(&b, " Medians of %d alternating runs.", r.options.runs)
	if r.options.scale != 1 {
		fmt.Fprintf(&b, " All lengths divided by %d.", r.options.scale)
	}
	if r.options.note != "" {
		b.WriteString(" " + r.options.note)
	}
	return b.String()
}
