// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/attention"
)

// A bitmap behaves like a matrix of bools.
func TestBitmapModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := rapid.IntRange(1, 4).Draw(t, "rows"), rapid.IntRange(1, 200).Draw(t, "cols")
		b, model := attention.NewBitmap(rows, cols), map[[2]int]bool{}
		require.Equal(t, [2]int{rows, cols}, [2]int{b.Rows(), b.Cols()})
		for range rapid.IntRange(0, 12).Draw(t, "changes") {
			i, j := rapid.IntRange(0, rows-1).Draw(t, "i"), rapid.IntRange(0, cols-1).Draw(t, "j")
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				b.Set(i, j)
				model[[2]int{i, j}] = true
			case 1:
				b.Clear(i, j)
				delete(model, [2]int{i, j})
			case 2:
				hi := rapid.IntRange(j, cols).Draw(t, "hi")
				b.SetRange(i, j, hi)
				for ; j < hi; j++ {
					model[[2]int{i, j}] = true
				}
			}
		}
		require.Equal(t, len(model), b.Count())
		for i := range rows {
			for j := range cols {
				require.Equal(t, model[[2]int{i, j}], b.Get(i, j), "%d, %d", i, j)
			}
		}
	})
}

func TestBitmapPanics(t *testing.T) {
	b := attention.NewBitmap(2, 70)
	for name, f := range map[string]func(){
		"negative size":    func() { attention.NewBitmap(-1, 3) },
		"row":              func() { b.Set(2, 0) },
		"negative row":     func() { b.Get(-1, 0) },
		"column":           func() { b.Get(0, 70) }, // inside the last word
		"negative column":  func() { b.Clear(0, -1) },
		"range beyond":     func() { b.SetRange(0, 60, 71) },
		"range backwards":  func() { b.SetRange(0, 5, 4) },
		"no row, no range": func() { b.SetRange(2, 0, 0) },
	} {
		assert.Panics(t, f, name)
	}
	b.SetRange(1, 70, 70)
	assert.Zero(t, b.Count())
}
