// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a long task is: a bar on a terminal, and elsewhere, in a log say, a line now and then. It is safe for concurrent use.
type progress struct {
	w     io.Writer
	what  string
	total int64 // bytes to go through; not positive: unknown
	bar   *progressbar.ProgressBar
	every time.Duration // between lines

	mu       sync.Mutex
	since    time.Time // from when on, and from where, the rate is measured
	from     int64
	measured bool
	shown    time.Time
}

func newProgress(w io.Writer, what string, total int64) *progress {
	now := time.Now()
	p := &progress{w: w, what: what, total: total, every: 10 * time.Second, since: now, shown: now}
	if isTerminal(w) {
		if total <= 0 {
			total = -1
		}
		p.every = 200 * time.Millisecond
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription(what),
			progressbar.OptionSetWidth(20),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionClearOnFinish())
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// measureFrom makes what was done so far, which was quicker than what comes, of no account to the remaining time. Only the first call counts.
func (p *progress) measureFrom(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.measured {
		p.measured, p.since, p.from = true, time.Now(), done
	}
}

// update says that so many bytes are done, and what else there is to say.
func (p *progress) update(done int64, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.shown) < p.every {
		return
	}
	p.shown = now
	var parts []string
	if p.bar == nil && p.total > 0 {
		parts = append(parts, fmt.Sprintf("%d %%", 100*min(done, p.total)/p.total))
	}
	if note != "" {
		parts = append(parts, note)
	}
	if left := p.left(done, now); left > 0 {
		parts = append(parts, fmt.Sprintf("%v left", left))
	}
	text := p.what + ": " + strings.Join(parts, ", ")
	if p.bar == nil {
		fmt.Fprintln(p.w, text)
		return
	}
	p.bar.Describe(text)
	if p.total > 0 {
		done = min(done, p.total-1) // a full bar is finished
	}
	p.bar.Set64(done)
}

// left is the remaining time, 0 if it cannot be told.
func (p *progress) left(done int64, now time.Time) time.Duration {
	if p.total <= done || done <= p.from {
		return 0
	}
	left := float64(now.Sub(p.since)) * float64(p.total-done) / float64(done-p.from)
	return time.Duration(left).Round(time.Second)
}

// say prints a line of its own.
func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Clear()
	}
	fmt.Fprintln(p.w, line)
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
}
