// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pairs counts what a layout's rows see, token by token.
func pairs(l Layout) (n int64) {
	for _, s := range l.Segments {
		for row := range s.Rows {
			for _, src := range s.Sources {
				n += int64(l.Segments[src].Tokens)
			}
			n += int64(s.Tokens-s.Rows) + int64(row) + 1
		}
	}
	return n
}

func TestLayouts(t *testing.T) {
	want := []struct {
		tokens, rows int
		pairs        int64
	}{
		{8*256 + 512, 8*256 + 512, 8*256*257/2 + 512*2048 + 512*513/2},
		{4000, 4000, 20*200*201/2 + 2000*2000},
		{8192, 8192, 64*128*129/2 + (0+1+2+3+60*4)*128*128},
		{4096, 4096, 4096 * 4097 / 2},
		{4096, 1, 4096},
	}
	for i, l := range Layouts(1) {
		assert.Equal(t, want[i].tokens, l.Tokens(), l.Name)
		assert.Equal(t, want[i].rows, l.Rows(), l.Name)
		assert.Equal(t, want[i].pairs, l.Pairs(), l.Name)
		assert.Equal(t, pairs(l), l.Pairs(), l.Name)
		for n, s := range l.Segments {
			for _, src := range s.Sources {
				require.Less(t, src, n, l.Name)
			}
		}
	}
}

func TestValues(t *testing.T) {
	x := Values(1<<16, 1)
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	assert.InDelta(t, 0, sum/float64(len(x)), 0.01)
	assert.InDelta(t, 1, squares/float64(len(x)), 0.01)
	// What the peers' own copy of the generator computes.
	assert.Equal(t, []float32{-1.3126276, 1.3730366, -1.4500835}, x[:3])
}
