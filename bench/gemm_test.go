// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The linear layers of a model of 135 million weights, many rows and one.
func BenchmarkGEMM(b *testing.B) {
	for _, size := range [][3]int{{512, 576, 576}, {512, 1536, 576}, {512, 576, 1536}, {2048, 2048, 2048}, {1, 1536, 576}, {1, 49152, 576}} {
		for _, threads := range Threads() {
			b.Run(fmt.Sprintf("size=%dx%dx%d/threads=%d", size[0], size[1], size[2], threads), func(b *testing.B) {
				r := NewRunner(NewSpec(1), threads)
				defer func() { require.NoError(b, r.Close()) }()
				run := r.multiply(size[0], size[1], size[2])
				_, err := run()
				require.NoError(b, err)
				peak := FMAPeak(threads)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := run(); err != nil {
						b.Fatal(err)
					}
				}
				perOp := b.Elapsed().Seconds() / float64(b.N)
				rate := 2 * float64(size[0]) * float64(size[1]) * float64(size[2]) / perOp / 1e9
				b.ReportMetric(rate, "GFLOP/s")
				if peak > 0 {
					b.ReportMetric(rate/peak, "ofpeak")
				}
			})
		}
	}
}
