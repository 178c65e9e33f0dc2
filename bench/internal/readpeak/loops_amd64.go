// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package readpeak

//go:generate go -C _generate run . -out ../readpeak_amd64.s -stubs ../readpeak_amd64.go -pkg readpeak

import "github.com/graphkv/graphkv/internal/cpu"

func loopFor(t cpu.Tier) func(b []byte) {
	switch t {
	case cpu.AVX512:
		return func(b []byte) { readAVX512(&b[0], len(b)/streams) }
	case cpu.AVX2:
		return func(b []byte) { readAVX2(&b[0], len(b)/streams) }
	}
	return func(b []byte) { readPortable(b) }
}
