// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlanningHasTheGraph(t *testing.T) {
	p := NewPlanning(200, 4, 128)
	m, err := p.Run()
	require.NoError(t, err)
	// A segment is one block: itself, its sources, and one row for the query.
	blocks := 0
	for range m.All() {
		blocks++
	}
	edges := 0
	for _, s := range p.layout.Segments {
		edges += len(s.Sources)
	}
	require.Equal(t, 200+edges+200+1, blocks)
}

func BenchmarkPlanning(b *testing.B) {
	for _, segments := range []int{1250, 10000} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			p := NewPlanning(segments, 4, 128)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(segments)*1e6, "µs/segment")
		})
	}
}
