// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package kvcache

import (
	"sync"
	"sync/atomic"
	"time"
)

// breaker says that a tier is out of use in one direction.
type breaker struct {
	down atomic.Bool
	last atomic.Int64 // when it failed last, in Unix nanoseconds
}

func (b *breaker) failed() { b.last.Store(time.Now().UnixNano()) }

// due reports whether the last failure is so long ago.
func (b *breaker) due(every time.Duration) bool {
	return time.Now().UnixNano()-b.last.Load() >= int64(every)
}

// meter measures the rate of a tier: a moving average of the latest transfers, in which each counts as much as it had bytes.
type meter struct {
	mu      sync.Mutex
	bytes   float64
	seconds float64
	last    time.Time // of the latest measurement, or when one was tried for
}

// keep is how much of what was measured before counts after one more measurement: half of it after six.
const keep = 0.9

func (m *meter) add(bytes int64, took time.Duration) {
	if bytes <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes = m.bytes*keep + float64(bytes)
	m.seconds = m.seconds*keep + took.Seconds()
	m.last = time.Now()
}

// estimate returns how long bytes should take in seconds, 0 if nothing is known.
func (m *meter) estimate(bytes int64) float64 {
	if m.bytes == 0 {
		return 0
	}
	return float64(bytes) * m.seconds / m.bytes
}

// unweighed is how many seconds a transfer may take without being weighed against what it saves: the times of small ones are those of everything but
// the transfer.
const unweighed = 1e-3

// worth reports whether to transfer instead of doing what would take the estimated time. It says yes to one in every interval so that the rate is measured
// again.
func (m *meter) worth(instead Estimate, every time.Duration) bool {
	if instead.Bytes <= 0 || instead.Seconds <= 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.estimate(instead.Bytes) <= max(instead.Seconds, unweighed) {
		return true
	}
	if time.Since(m.last) < every {
		return false
	}
	m.last = time.Now()
	return true
}

// limit returns how long a transfer may take: timeout, and twice what its bytes should take, but no more than the alternative.
func (m *meter) limit(timeout time.Duration, of Estimate) time.Duration {
	if timeout == 0 || of.Bytes <= 0 {
		return timeout
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	seconds := m.estimate(of.Bytes)
	if seconds == 0 {
		const assumed = 100e6 // bytes per second, before anything is measured
		seconds = float64(of.Bytes) / assumed
	}
	seconds *= 2
	if of.Seconds > 0 {
		seconds = min(seconds, of.Seconds)
	}
	return timeout + time.Duration(seconds*float64(time.Second))
}
