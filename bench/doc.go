// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package bench says what is measured, and measures it.
//
// A [Spec] lists the cases: attention over five layouts in the head shapes of two
// model sizes, and a real model's prefill, decode and time to first token. It is
// plain data, so that the peers in bench/peers, which are other programs in another
// language, read the same one and run the same work on the same numbers. [Runner]
// runs the cases with this library; every contender answers with [Result] lines, and
// bench/compare lets them take turns and draws the tables.
//
// The suites of go test -bench in this folder print the same quantities, with the
// machine's own limits beside them: fused multiply-adds per second and read
// bandwidth, measured in the same process.
package bench
