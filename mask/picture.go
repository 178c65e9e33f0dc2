// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package mask

import (
	"strings"
	"unicode/utf8"
)

// Picture draws the mask for logs: a line per row of blocks, '#' for a full block, '+' for a partial and '.' for an empty
// one. If there are more than maxWidth columns (at least 1), each character stands for a square of blocks and is '#' or '.'
// only if all of them are. If label is not nil, each line starts with the labels of the nodes whose first token lies in it.
func (m *Mask) Picture(maxWidth int, label func(node int) string) string {
	scale := (m.side-1)/max(maxWidth, 1) + 1
	width := (m.side-1)/scale + 1
	labels := make([]string, width)
	indent := 0
	if label != nil {
		for node := range m.layout.Len() {
			at := m.offsets[node] / m.blockSize / scale
			if labels[at] != "" {
				labels[at] += " "
			}
			labels[at] += label(node)
		}
		for _, s := range labels {
			indent = max(indent, utf8.RuneCountInString(s)+1)
		}
	}
	var out strings.Builder
	full, some := make([]int, width), make([]bool, width) // of the blocks that a character stands for
	for line := range width {
		clear(full)
		clear(some)
		from, to := line*scale, min((line+1)*scale, m.side)
		for i := from; i < to; i++ {
			cols, kinds := m.Row(i)
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
			case full[c] == (to-from)*(min((c+1)*scale, m.side)-c*scale):
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
