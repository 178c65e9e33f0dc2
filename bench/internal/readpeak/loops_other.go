// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package readpeak

import "github.com/graphkv/graphkv/internal/cpu"

func loopFor(cpu.Tier) func(b []byte) { return func(b []byte) { readPortable(b) } }
