// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package difftest compares graphkv with other implementations. It is a module
// of its own so that what it needs does not become a dependency of graphkv.
package difftest
