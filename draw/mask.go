// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graphkv/graphkv/mask"
)

// MaxBlocks is how many blocks along an axis a picture of a mask may have.
const MaxBlocks = 1024

// Mask is a picture of a block mask: a row for every block of readers' tokens, a column
// for every block of what is read.
type Mask struct {
	Title       string
	Description string // empty: what the mask says of itself
	Mask        *mask.Mask
	Label       func(node int) string // of the layout's nodes
}

// BlockSize returns a power of two that cuts so many tokens into blocks which can be
// told apart in a picture.
func BlockSize(tokens int) int {
	n := 1
	for n*160 < tokens && n < mask.MaxBlockSize {
		n *= 2
	}
	return n
}

func (m *Mask) about() (title, description string) {
	if m.Description != "" || m.Mask == nil {
		return m.Title, m.Description
	}
	return m.Title, "A block mask of " + m.Mask.String() + "."
}

const (
	labelPitch = 12.5 // between base lines
	smallest   = 340.0
	mostLabels = 64   // of the longest nodes
	leader     = 14.0 // space for lines from labels to what they name
)

func (m *Mask) draw(c *canvas) (width, height float64, err error) {
	if m.Mask == nil {
		return 0, 0, errors.New("draw: no mask")
	}
	if m.Mask.Side() > MaxBlocks {
		return 0, 0, fmt.Errorf("draw: %d blocks along an axis, the limit is %d", m.Mask.Side(), MaxBlocks)
	}
	nodes := m.Mask.Layout().Len()
	if nodes > MaxNodes {
		return 0, 0, fmt.Errorf("draw: %d nodes, the limit is %d", nodes, MaxNodes)
	}
	named := m.named()
	size := max(smallest, labelPitch*float64(len(named)))
	perToken := size / float64(m.Mask.Tokens())
	labels, wide := make([]string, len(named)), 0.0
	wish, even, apart := make([]float64, len(named)), make([]float64, len(named)), make([]float64, len(named))
	for i, node := range named {
		if m.Label != nil {
			labels[i] = shorten(m.Label(node), small, 120)
		}
		wide = max(wide, textWidth(labels[i], small))
		from, to := m.Mask.Span(node)
		wish[i], even[i], apart[i] = float64(from+to)/2*perToken, 1, labelPitch
	}
	place := spread(wish, even, apart)
	end := max(size, place[len(place)-1])
	const slope = 0.77 // sine and cosine of 50°, about
	left, top := wide+leader+4, wide*slope+leader+8
	c.printf(`<g transform="translate(%s %s)">`+"\n", num(left), num(top))
	c.printf(`<rect class="gk-empty" width="%s" height="%[1]s"/>`+"\n", num(size))
	m.blocks(c, perToken)
	m.grid(c, size, perToken)
	for i, s := range labels {
		c.printf(`<path class="gk-grid" d="M-1,%s L-%s,%s M%[1]s,-1 L%[3]s,-%[2]s"/>`, num(wish[i]), num(leader), num(place[i]))
		c.text(-leader-3, place[i]+3.8, "gk-small", s, `text-anchor="end"`)
		c.text(0, 0, "gk-small", s, fmt.Sprintf(`transform="translate(%s -%s) rotate(-50)"`, num(place[i]+3), num(leader+3)))
	}
	c.printf("</g>\n")
	height = top + end + 5 + 24
	m.legend(c, left, height-4)
	width = left + end + wide*(1-slope) + 20
	return max(width, left+legendWidth), height, nil
}

// named returns the nodes that get a label, in order: all, or the longest.
func (m *Mask) named() []int {
	l := m.Mask.Layout()
	nodes := make([]int, l.Len())
	for i := range nodes {
		nodes[i] = i
	}
	if len(nodes) > mostLabels {
		slices.SortStableFunc(nodes, func(a, b int) int { return cmp.Compare(l.Node(b).Len, l.Node(a).Len) })
		nodes = nodes[:mostLabels]
		slices.Sort(nodes)
	}
	return nodes
}

// blocks draws the blocks that are not empty as two shapes: stretches of one kind in
// rows, of which equal ones below one another are one rectangle.
func (m *Mask) blocks(c *canvas, perToken float64) {
	size := m.Mask.BlockSize()
	edge := func(block int) float64 { return float64(min(block*size, m.Mask.Tokens())) * perToken }
	type stretch struct {
		from, to int
		kind     mask.Kind
	}
	var shapes [3]strings.Builder
	close := func(s stretch, top, bottom int) {
		x, y := edge(s.from), edge(top)
		fmt.Fprintf(&shapes[s.kind], "M%s,%sh%sv%sh-%[3]sz", num(x), num(y), num(edge(s.to)-x), num(edge(bottom)-y))
	}
	open, order := map[stretch]int{}, []stretch(nil) // where those of the row before begin
	for i := range m.Mask.Side() + 1 {
		var row []stretch
		if i < m.Mask.Side() {
			cols, kinds := m.Mask.Row(i)
			for k, col := range cols {
				if n := len(row) - 1; n >= 0 && row[n].to == int(col) && row[n].kind == kinds[k] {
					row[n].to++
				} else {
					row = append(row, stretch{int(col), int(col) + 1, kinds[k]})
				}
			}
		}
		now := make(map[stretch]int, len(row))
		for _, s := range row {
			now[s] = i
			if top, ok := open[s]; ok {
				now[s] = top
			}
		}
		for _, s := range order {
			if _, ok := now[s]; !ok {
				close(s, open[s], i)
			}
		}
		open, order = now, row
	}
	for _, k := range []mask.Kind{mask.Full, mask.Partial} {
		if shapes[k].Len() > 0 {
			c.printf(`<path class="gk-%v" d="%s"/>`+"\n", k, shapes[k].String())
		}
	}
}

// grid draws where nodes begin, and rows to point at.
func (m *Mask) grid(c *canvas, size, perToken float64) {
	l := m.Mask.Layout()
	var d strings.Builder
	for i := 1; i < l.Len(); i++ {
		from, _ := m.Mask.Span(i)
		at := num(float64(from) * perToken)
		fmt.Fprintf(&d, "M%s,0V%sM0,%[1]sH%[2]s", at, num(size))
	}
	c.printf(`<path class="gk-grid" d="%s"/>`+"\n", d.String())
	if m.Label == nil {
		return
	}
	for i := range l.Len() {
		from, to := m.Mask.Span(i)
		var reads []string
		for _, s := range l.Sees(i) {
			reads = append(reads, m.Label(int(s.Node)))
		}
		title := m.Label(i) + " reads "
		const most = 8
		if len(reads) > most {
			reads = append(reads[:most], fmt.Sprintf("%d others", len(reads)-most))
		}
		title += strings.Join(append(reads, "itself"), ", ")
		c.printf(`<rect class="gk-row" y="%s" width="%s" height="%s"><title>%s</title></rect>`+"\n",
			num(float64(from)*perToken), num(size), num(math.Max(float64(to-from)*perToken, 0.1)), escape(title))
	}
}

const legendWidth = 350.0

// legend explains the colours, from x on, on a base line.
func (m *Mask) legend(c *canvas, x, y float64) {
	empty := m.Mask.Side()*m.Mask.Side() - m.Mask.NumFull() - m.Mask.NumPartial()
	for _, part := range []struct {
		kind mask.Kind
		n    int
	}{{mask.Full, m.Mask.NumFull()}, {mask.Partial, m.Mask.NumPartial()}, {mask.Empty, empty}} {
		c.printf(`<rect class="gk-%v" x="%s" y="%s" width="10" height="10"/>`, part.kind, num(x), num(y-9))
		s := fmt.Sprintf("%d %v", part.n, part.kind)
		c.text(x+14, y, "gk-small", s)
		x += 14 + textWidth(s, small) + 14
	}
	c.text(x+4, y, "gk-small", fmt.Sprintf("blocks of %d × %[1]d tokens", m.Mask.BlockSize()))
}
