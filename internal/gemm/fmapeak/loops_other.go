// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package fmapeak

import "github.com/graphkv/graphkv/internal/cpu"

func loopFor(cpu.Tier) (loop func(turns int), lanes int) { return nil, 0 }
