// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package cpu says which instruction tier the kernels of this module may use.
//
// A tier is a set of instruction-set extensions that are used together, so that a kernel package needs one function per tier and not one
// per extension. Packages ask Current on every call; a test lowers it with Lower and so runs every tier that the machine has.
//
// The environment variable GRAPHKV_CPU, read once when the program starts, lowers the tier to "portable", "avx2" or "avx512"; it never
// raises it above what the CPU and the operating system support, and any other value has no effect. The build tag noasm leaves all
// assembly out, and with it every tier but Portable.
package cpu

import (
	"os"
	"strconv"
	"sync/atomic"
)

// Tier is a set of instruction-set extensions. A higher tier includes the lower ones.
type Tier int32

const (
	Portable Tier = iota // Go code only
	AVX2                 // AVX2, FMA and F16C
	AVX512               // AVX2 tier and AVX-512 F, BW, DQ and VL
)

// String returns the name that GRAPHKV_CPU uses.
func (t Tier) String() string {
	switch t {
	case Portable:
		return "portable"
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	}
	return "Tier(" + strconv.Itoa(int(t)) + ")"
}

var current atomic.Int32

func init() { current.Store(int32(limit(detect(), os.Getenv("GRAPHKV_CPU")))) }

// limit lowers t to the tier that name names.
func limit(t Tier, name string) Tier {
	for l := Portable; l < t; l++ {
		if name == l.String() {
			return l
		}
	}
	return t
}

// Current returns the tier to use.
func Current() Tier { return Tier(current.Load()) }

// Tiers returns Current and every tier below it, highest first: what a test runs a kernel on.
func Tiers() []Tier {
	var ts []Tier
	for t := Current(); t >= Portable; t-- {
		ts = append(ts, t)
	}
	return ts
}

// Lower switches off the tiers above t, for tests, and returns a function that undoes it. It never raises the tier. It acts on the whole
// process: tests that use it must not run in parallel with each other.
func Lower(t Tier) (restore func()) {
	old := current.Load()
	current.Store(min(old, int32(t)))
	return func() { current.Store(old) }
}
