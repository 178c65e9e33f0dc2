// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package fmapeak

import "github.com/graphkv/graphkv/internal/cpu"

func loopFor(t cpu.Tier) (loop func(turns int), lanes int) {
	switch t {
	case cpu.AVX512:
		return loopAVX512, 16
	case cpu.AVX2:
		return loopAVX2, 8
	}
	return nil, 0
}
