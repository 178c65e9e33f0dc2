// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Command _generate writes the micro-kernels of package gemm for float32 panels, with -quant those for packed panels, with -tables the Go
// tables of the latter, and with -peak the loops of package fmapeak. It is a module of its own so that the library does not depend on the
// generator.
//
// Labels are words: one named g would be taken for the goroutine register, and jumping to it crashes. Kernels that write YMM or ZMM
// registers end with VZEROUPPER, without which SSE code that follows runs slowly.
package main

import (
	"flag"
	"log"
	"math/bits"
	"os"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"
)

const panel = 16

// isa is what differs between the two tiers.
type isa struct {
	name   string
	lanes  int   // float32 per register
	rows   int   // tallest tile
	panels []int // [rows+1] widest tile for each height, in panels
	unroll int   // steps of k per turn of the loop, a power of two
	reg    func() VecVirtual
	zero   func(r VecVirtual)
}

var avx2 = isa{
	name: "AVX2", lanes: 8, rows: 6, unroll: 4,
	panels: []int{0, 4, 2, 2, 1, 1, 1},
	reg:    YMM,
	zero:   func(r VecVirtual) { VXORPS(r, r, r) },
}

var avx512 = isa{
	name: "AVX512", lanes: 16, rows: 14, unroll: 4,
	panels: []int{0, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2},
	reg:    ZMM,
	zero:   func(r VecVirtual) { VPXORD(r, r, r) },
}

func main() {
	probe := flag.Bool("peak", false, "write the FMA peak loops in place of the kernels")
	packed := flag.Bool("quant", false, "write the kernels for packed panels")
	table := flag.String("tables", "", "write the Go tables of the kernels for packed panels to this file")
	flag.Parse()
	if *table != "" {
		if err := os.WriteFile(*table, tables(), 0o666); err != nil {
			log.Fatal(err)
		}
		return
	}
	ConstraintExpr("!noasm")
	if *packed {
		consts = newConstants()
	}
	for _, t := range []isa{avx2, avx512} {
		switch {
		case *probe:
			peak(t)
			continue
		case *packed:
			quants(t)
			continue
		}
		for h := 1; h <= t.rows; h++ {
			for w := 1; w <= t.panels[h]; w *= 2 {
				tile(t, h, w)
			}
		}
	}
	if !*probe && !*packed {
		pack4()
	}
	Generate()
}

func log2(n int) int { return bits.TrailingZeros(uint(n)) }
