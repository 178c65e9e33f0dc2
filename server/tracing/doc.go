// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package tracing sends a server's requests to an OpenTelemetry collector, as spans over OTLP and HTTP. It is a package
// of its own so that who imports package server does not get the SDK with it.
//
// A request is one span, named like its route, whose children say where its time went: queue (waiting to begin),
// prepare (encoding what no tier of the cache had, and the question) and decode (the answer). A request that comes with a W3C traceparent is part of its
// caller's trace. Attributes are numbers of tokens and words of the library; no span holds text that a client sent.
//
// The SDK heeds the standard OTEL_ variables: the sampler, the limits of a batch, headers for the collector, the service's name.
// A collector that does not answer costs requests nothing: spans are dropped.
package tracing
