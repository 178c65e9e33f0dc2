// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/graphkv/graphkv/bench"
)

const (
	// tolerance bounds how far a contender's numbers may be from ours.
	tolerance = 1e-3
	// A contender that needs this many times the fastest one's time is measured once
	// only, where the cases are about the fastest.
	hopeless = 2
	// settle lets the threads of whoever was measured last fall asleep.
	settle = 200 * time.Millisecond
)

// report gathers what is measured.
type report struct {
	spec    *bench.Spec
	options *options
	peers   []*peer
	rows    []*row
	missing []string // peers that could not be had, contenders that failed
}

// row is a case with so many threads.
type row struct {
	bench.Case
	threads int
	peak    []float64 // of each run: GFLOP/s of fused multiply-adds
	entries []*entry  // in the order in which they first appeared
	diff    map[string]float64
}

// entry is one contender's runs.
type entry struct {
	who     string
	runs    map[int]bench.Result // by number of the run
	compile float64              // seconds, of the first run
}

func (r *row) add(run int, res bench.Result) {
	i := slices.IndexFunc(r.entries, func(e *entry) bool { return e.who == res.Who })
	if i < 0 {
		i = len(r.entries)
		r.entries = append(r.entries, &entry{who: res.Who, runs: map[int]bench.Result{}, compile: res.CompileSeconds})
	}
	r.entries[i].runs[run] = res
}

// measure runs every case that is asked for. When it returns an error, rows holds the
// cases that are through.
func (r *report) measure(ctx context.Context, threads int) error {
	self := bench.NewRunner(r.spec, threads)
	defer self.Close()
	for _, c := range r.spec.Cases {
		if !r.options.wants(c) {
			continue
		}
		row := &row{Case: c, threads: threads, diff: map[string]float64{}}
		if err := r.check(self, row); err != nil {
			return err
		}
		for run := range r.options.runs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.turn(self, row, run); err != nil {
				return err
			}
		}
		r.rows = append(r.rows, row)
		fmt.Fprintln(os.Stderr, row)
	}
	return nil
}

// check compares the contenders' numbers and puts out of the race whose differ.
func (r *report) check(self *bench.Runner, row *row) error {
	for _, p := range r.peers {
		p.excluded = map[string]bool{}
		if !p.knows(row.Case) {
			continue
		}
		replies, err := p.ask("check", row.Case, row.threads, nil)
		if err != nil {
			return err
		}
		if len(replies) == 0 {
			continue
		}
		want, err := self.Check(row.Case)
		if err != nil {
			return err
		}
		for _, x := range replies {
			if x.Error != "" {
				r.miss(p, x.Who, row, x.Error)
				continue
			}
			got, err := x.values()
			if err != nil {
				return err
			}
			d := difference(want, got)
			row.diff[x.Who] = d
			if d > tolerance {
				r.miss(p, x.Who, row, fmt.Sprintf("its numbers differ from ours by %.2g", d))
			}
		}
	}
	return nil
}

func difference(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		x := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(x) {
			return math.Inf(1)
		}
		d = max(d, x)
	}
	return d
}

// miss takes a contender out of the row and says why.
func (r *report) miss(p *peer, who string, row *row, why string) {
	p.excluded[who] = true
	s := fmt.Sprintf("%s, %s, %d threads: %s", who, row.ID, row.threads, why)
	r.missing = append(r.missing, s)
	fmt.Fprintln(os.Stderr, "missing:", s)
}

// turn lets every contender run the case once, ourselves first.
func (r *report) turn(self *bench.Runner, row *row, run int) error {
	time.Sleep(settle)
	peak := bench.FMAPeak(row.threads)
	own, err := self.Measure(row.Case)
	if err != nil {
		return err
	}
	// The better of two: a disturbed probe would flatter us.
	row.peak = append(row.peak, max(peak, bench.FMAPeak(row.threads)))
	for _, x := range own {
		row.add(run, x)
	}
	for _, p := range r.peers {
		if !p.knows(row.Case) {
			continue
		}
		who := r.racing(p, row, run)
		if run > 0 && len(who) == 0 {
			continue
		}
		time.Sleep(settle)
		replies, err := p.ask("measure", row.Case, row.threads, who)
		if err != nil {
			return err
		}
		for _, x := range replies {
			switch {
			case x.Error != "":
				r.miss(p, x.Who, row, x.Error)
			case !p.excluded[x.Who]:
				row.add(run, x.Result)
			}
		}
	}
	return nil
}

// racing returns the peer's contenders for the next run, nil for all of them.
func (r *report) racing(p *peer, row *row, run int) []string {
	if run == 0 {
		return nil
	}
	best := math.Inf(1)
	for _, e := range row.peerEntries() {
		best = min(best, e.runs[0].MinSeconds)
	}
	names := []string{}
	for _, e := range row.peerEntries() {
		slow := e.runs[0].MinSeconds > hopeless*best && row.Unit != "s"
		if !slow && !p.excluded[e.who] {
			names = append(names, e.who)
		}
	}
	return names
}
