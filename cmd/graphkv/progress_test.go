// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In a log there are lines: not too many, with what is left by the rate since the work got slow.
func TestProgressLines(t *testing.T) {
	var log bytes.Buffer
	p := newProgress(&log, "warming", 1000)
	p.update(100, "too soon")
	require.Empty(t, log.String())
	p.every = 0
	p.update(200, "")
	require.Regexp(t, `^warming: 20 %\n$`, log.String()) // in no time, so nothing is left
	p.measureFrom(200)
	p.measureFrom(900) // only the first call counts
	p.since = time.Now().Add(-10 * time.Second)
	log.Reset()
	p.update(400, "7 segments") // 200 bytes in 10 s, and 600 are left
	require.Equal(t, "warming: 40 %, 7 segments, 30s left\n", log.String())
	log.Reset()
	p.say("hello")
	p.update(1000, "8 segments")
	p.end()
	require.Equal(t, "hello\nwarming: 100 %, 8 segments\n", log.String())

	log.Reset()
	p = newProgress(&log, "warming", 0) // standard input
	p.every = 0
	p.update(400, "7 segments")
	require.Equal(t, "warming: 7 segments\n", log.String())
}
