// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package metrics counts what a server does, for Prometheus. It is a package of its own so that
// who imports package server does not get client_golang with it.
//
// Names follow Prometheus' conventions: base units, _total for what only grows, and sums over a label that mean
// something. All series of tokens, for example, add up to the tokens that requests consisted of, whether they were encoded,
// found in memory or fetched from a tier below it:
//
//	sum by (source) (rate(graphkv_input_tokens_total[5m]))
//
// Labels take few values whatever clients send: routes are the server's patterns, codes and strategies are the library's
// words, and of namespaces the first [MaxNamespaces] have series of their own.
package metrics
