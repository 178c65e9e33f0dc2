// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package cpu

import "golang.org/x/sys/cpu"

// detect reads CPUID; x/sys reports AVX and AVX-512 features only where the operating system saves the registers they need.
func detect() Tier {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasFMA || !x.HasF16C {
		return Portable
	}
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		return AVX2
	}
	return AVX512
}
