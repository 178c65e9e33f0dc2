// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package server answers HTTP requests with a graphkv engine.
package server
