// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"runtime"
	"slices"
	"time"
)

// A measurement repeats a case for this long, and within these bounds. Peers do the
// same.
const (
	measureFor = 400 * time.Millisecond
	minReps    = 3
	maxReps    = 200
	longRun    = 2 * time.Second // a warm-up this long is itself the measurement
)

// Timing sums up the repetitions of a case.
type Timing struct {
	Seconds    float64 `json:"seconds"` // median
	MinSeconds float64 `json:"min_seconds"`
	Reps       int     `json:"reps"`
}

func timing(times []time.Duration) Timing {
	slices.Sort(times)
	return Timing{Seconds: times[len(times)/2].Seconds(), MinSeconds: times[0].Seconds(), Reps: len(times)}
}

// measure times run, which returns how long the part that counts took.
func measure(run func() (time.Duration, error)) (Timing, error) {
	runtime.GC()
	begin := time.Now()
	first, err := run() // warms caches and grows buffers
	if err != nil {
		return Timing{}, err
	}
	if time.Since(begin) > longRun {
		return timing([]time.Duration{first}), nil
	}
	var times []time.Duration
	for begin = time.Now(); len(times) < minReps || time.Since(begin) < measureFor && len(times) < maxReps; {
		d, err := run()
		if err != nil {
			return Timing{}, err
		}
		times = append(times, d)
	}
	return timing(times), nil
}

// timed makes a function for measure of one all of which counts.
func timed(f func() error) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		start := time.Now()
		err := f()
		return time.Since(start), err
	}
}
