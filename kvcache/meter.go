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

// meter measures a tier: moving averages over the latest transfers, in which each counts as much as it had bytes. Transfers that are under way together
// share a line. So it measures how long each takes, for time-outs, and how long the line is busy, which is what a transfer costs.
type meter struct {
	mu      sync.Mutex
	bytes   float64
	seconds float64   // sum over the transfers
	busy    float64   // seconds in which there was at least one
	last    time.Time // of the latest measurement, or when one was tried for

	active  int
	since   time.Time     // when a transfer began or ended last
	pending time.Duration // busy, and not counted yet
}

// keep is how much of what was measured before counts after one more measurement: half of it after six.
const keep = 0.9

// begin is called before a transfer, and end after it.
func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	m.active++
}

// end counts bytes that took so long; 0 bytes if the transfer says nothing about the rate.
func (m *meter) end(bytes int64, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	m.active--
	if bytes > 0 {
		m.bytes = m.bytes*keep + float64(bytes)
		m.seconds = m.seconds*keep + took.Seconds()
		m.busy = m.busy*keep + m.pending.Seconds()
		m.pending, m.last = 0, m.since
	}
	if m.active == 0 {
		m.pending = 0
	}
}

// pass counts the time since a transfer began or ended last. It needs m.mu.
func (m *meter) pass() {
	now := time.Now()
	if m.active > 0 {
		m.pending += now.Sub(m.since)
	}
	m.since = now
}

// unweighed is how many seconds a transfer may take without being weighed against what it saves: the times of small ones are those of everything but
// the transfer.
const unweighed = 1e-3

// worth reports whether to transfer instead of doing what would take the estimated time. It says yes to one in every interval so that the rate is measured
// again, which is a trial.
func (m *meter) worth(instead Estimate, every time.Duration) (worth, trial bool) {
	if instead.Bytes <= 0 || instead.Seconds <= 0 {
		return true, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bytes == 0 || float64(instead.Bytes)*m.busy/m.bytes <= max(instead.Seconds, unweighed) {
		return true, false
	}
	if time.Since(m.last) < every {
		return false, false
	}
	m.last = time.Now()
	return true, true
}

// limit returns how long a transfer may take: timeout, and twice what its bytes should take, but no more than the alternative. The latter is multiplied by
// the number of transfers that may share the line.
func (m *meter) limit(timeout time.Duration, of Estimate, sharing float64) time.Duration {
	if timeout == 0 || of.Bytes <= 0 {
		return timeout
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	const assumed = 100e6 // bytes per second, before anything is measured
	seconds := float64(of.Bytes) / assumed
	if m.bytes > 0 {
		seconds = float64(of.Bytes) * m.seconds / m.bytes
	}
	seconds *= 2
	if of.Seconds > 0 {
		seconds = min(seconds, of.Seconds)
	}
	return timeout + time.Duration(sharing*seconds*float64(time.Second))
}
