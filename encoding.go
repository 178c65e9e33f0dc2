// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"fmt"
	"runtime"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/kvcache"
)

// arithmeticVersion is part of every key. It is to be bumped with every change after
// which a node's keys and values may have other bits than before: another order of
// summation, another polynomial, another block size, in packages attention, posenc,
// model, internal/gemm and internal/vec. What older versions have stored is then not
// found any more, and evicted in time.
//
// KVs outlive the process that encoded them and are read by builds and machines of
// other kinds. Mixing theirs with one's own would make an answer depend on who
// encoded what. So besides the version the key has what else decides about bits:
//
//   - whether products are fused into sums, as the assembly does (AVX2 and AVX-512
//     agree to the last bit), or rounded before, as portable kernels do;
//   - the architecture, and whether the compiler fuses what it may (as it does for
//     arm64, or with GOAMD64=v3): it decides about the last bits of functions of
//     package math, of which the tables of rotary embeddings are made.
const arithmeticVersion = 1

// encoding returns the form that KVs are stored in, for [kvcache.ScopeConfig].
func encoding(f attention.Format) string {
	kernels := "fused"
	if cpu.Current() == cpu.Portable {
		kernels = "portable"
	}
	compiler := "rounding"
	if mulAdd(1+0x1p-52, 1+0x1p-52, -1-0x1p-51) != 0 {
		compiler = "fusing"
	}
	return fmt.Sprintf("%v arithmetic %d %s %s %s", f, arithmeticVersion, kernels, runtime.GOARCH, compiler)
}

// mulAdd is x·y + z, as the compiler sees fit. (1+ε)² is 1+2ε+ε², of which rounding
// drops ε².
//
//go:noinline
func mulAdd(x, y, z float64) float64 { return x*y + z }

// shape returns the shape of the KVs that nodes have.
func (e *Engine) shape() kvcache.Shape {
	s := e.model.Config().KVShape()
	s.Format = e.settings.format
	return s
}
