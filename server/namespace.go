// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import "context"

type namespaceKey struct{}

// WithNamespace puts a request into a namespace. Whoever authenticates requests calls
// it on the context with which they go on to [Server.Handler]: what clients of one
// namespace register and encode is never seen by another's, and none can keep the
// others waiting for long. Without it, requests are in the namespace "".
func WithNamespace(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, namespaceKey{}, name)
}

// Namespace returns the namespace that [WithNamespace] has set.
func Namespace(ctx context.Context) string {
	name, _ := ctx.Value(namespaceKey{}).(string)
	return name
}
