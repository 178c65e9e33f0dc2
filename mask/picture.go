// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"strings"
	"unicode/utf8"
)

// Rows is a square matrix of blocks, as [Mask] is.
type Rows interface {
	Side() int // blocks along an axis
	Row(i int) (cols []int32, kinds []Kind)
}

// Picture draws blocks for logs: a line per row of blocks, '#' for a full block, '+' for a partial and '.' for an empty
// one. If there are more than maxWidth columns (at least 1), each character stands for a square of blocks and is '#' or '.'
// only if all of them are. If label is not nil, the line of the row of blocks i starts with the labels of i and of all rows
// that share the line.
func Picture(b Rows, maxWidth int, label func(row int) []string) string {
	side := b.Side()
	scale := (side-1)/max(maxWidth, 1) + 1
	width := (side-1)/scale + 1
	labels := make([]string, width)
	indent := 0
	if label != nil {
		for line := range width {
			var all []string
			for i := line * scale; i < min((line+1)*scale, side); i++ {
				all = append(all, label(i)...)
			}
			labels[line] = strings.Join(all, " ")
			indent = max(indent, utf8.RuneCountInString(labels[line])+1)
		}
	}
	var out strings.Builder
	full, some := make([]int, width), make([]bool, width) // of the blocks that a character stands for
	for line := range width {
		clear(full)
		clear(some)
		from, to := line*scale, min((line+1)*scale, side)
		for i := from; i < to; i++ {
			cols, kinds := b.Row(i)
			for at, col := range cols {
				some[int(col)/scale] = true
				if kinds[at] == Full {
					full[int(col)/scale]++
				}
			}
		}
		if indent > 0 {
			out.WriteString(labels[line])
			out.WriteString(strings.Repeat(" ", indent-utf8.RuneCountInString(labels[line])))
		}
		for c := range width {
			switch {
			case full[c] == (to-from)*(min((c+1)*scale, side)-c*scale):
				out.WriteByte('#')
			case some[c]:
				out.WriteByte('+')
			default:
				out.WriteByte('.')
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// Picture draws the mask, see [Picture]. If label is not nil, each line starts with the labels of the nodes whose first token
// lies in it.
func (m *Mask) Picture(maxWidth int, label func(node int) string) string {
	if label == nil {
		return Picture(m, maxWidth, nil)
	}
	node := 0
	return Picture(m, maxWidth, func(row int) []string {
		var labels []string
		for ; node < m.layout.Len() && m.offsets[node] < (row+1)*m.blockSize; node++ {
			labels = append(labels, label(node))
		}
		return labels
	})
}
