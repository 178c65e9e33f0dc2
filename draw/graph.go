// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Kind says what a node is, for its colour.
type Kind uint8

const (
	Segment Kind = iota
	Prefix
	Query
	Answer
)

func (k Kind) String() string {
	switch k {
	case Segment:
		return "segment"
	case Prefix:
		return "prefix"
	case Query:
		return "query"
	case Answer:
		return "answer"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MaxNodes and MaxEdges are what a picture of a graph may have.
const (
	MaxNodes = 2000
	MaxEdges = 50_000
)

// Graph is a picture of nodes that read one another.
type Graph struct {
	Title       string
	Description string // for those who cannot see it; empty: how many nodes and edges there are
	Nodes       []Node
	Edges       []Edge
	// Weighted draws edges as wide as their weights. Otherwise they are all alike. A node
	// without any attention, its own included, is one of which nothing is known.
	Weighted bool
}

// Node is a box.
type Node struct {
	Label string
	Note  string // in small letters; may be empty
	Kind  Kind
	// Own is what a reader of a weighted graph kept to itself, from 0 to 1. Its bar shows
	// it next to what it read.
	Own float64
}

// Edge leads from what is read to its reader, both indices of nodes.
type Edge struct {
	From, To int
	Weight   float64 // share of the reader's attention, from 0 to 1
}

func (g *Graph) about() (title, description string) {
	if g.Description != "" {
		return g.Title, g.Description
	}
	return g.Title, fmt.Sprintf("A graph of %d nodes and %d edges.", len(g.Nodes), len(g.Edges))
}

func (g *Graph) check() error {
	switch {
	case len(g.Nodes) == 0:
		return fmt.Errorf("draw: a graph without nodes")
	case len(g.Nodes) > MaxNodes:
		return fmt.Errorf("draw: %d nodes, the limit is %d", len(g.Nodes), MaxNodes)
	case len(g.Edges) > MaxEdges:
		return fmt.Errorf("draw: %d edges, the limit is %d", len(g.Edges), MaxEdges)
	}
	share := func(x float64) bool { return x >= 0 && x <= 1.001 } // not NaN either
	for i, n := range g.Nodes {
		if n.Kind > Answer || !share(n.Own) {
			return fmt.Errorf("draw: node %d (%s): kind %v, own weight %v", i, n.Label, n.Kind, n.Own)
		}
	}
	for i, e := range g.Edges {
		switch {
		case e.From < 0 || e.From >= len(g.Nodes) || e.To < 0 || e.To >= len(g.Nodes) || e.From == e.To:
			return fmt.Errorf("draw: edge %d leads from %d to %d of %d nodes", i, e.From, e.To, len(g.Nodes))
		case !share(e.Weight):
			return fmt.Errorf("draw: edge %d has weight %v, want 0 to 1", i, e.Weight)
		}
	}
	return nil
}

const (
	tallest, lowest = 44.0, 24.0 // heights of nodes, in graphs with few and with many
	widestLabel     = 170.0
	barWidth        = 5.0
	pad             = 9.0    // beside a label
	narrowGap       = 110.0  // between columns, for edges to bend in
	widestGap       = 1000.0 // of all columns together
	thinnest        = 0.6
	plainWidth      = 1.4 // of edges that are not weighted
)

// graphPicture is a graph while it is drawn.
type graphPicture struct {
	*Graph
	*layering
	nodeHeight float64
	lines      int       // of text in a node
	x, width   []float64 // of columns
	top        float64
	explained  []bool // whose attention is known, per node: there is some
}

func (g *Graph) draw(c *canvas) (width, height float64, err error) {
	if err := g.check(); err != nil {
		return 0, 0, err
	}
	p := &graphPicture{Graph: g, nodeHeight: tallest, lines: 2, explained: make([]bool, len(g.Nodes))}
	for i, n := range g.Nodes {
		p.explained[i] = g.Weighted && n.Own > 0
	}
	for _, e := range g.Edges {
		p.explained[e.To] = p.explained[e.To] || g.Weighted && e.Weight > 0
	}
	perColumn := map[int]int{}
	for _, d := range depths(len(g.Nodes), g.Edges) {
		if perColumn[d]++; perColumn[d] > 10 {
			p.nodeHeight, p.lines = lowest, 1
		}
	}
	p.layering = layered(len(g.Nodes), g.Edges, p.nodeHeight, p.thickness)
	p.top = math.Inf(1)
	bottom := math.Inf(-1)
	for v, y := range p.y {
		p.top, bottom = min(p.top, y-p.layering.height[v]/2), max(bottom, y+p.layering.height[v]/2)
	}
	height = bottom - p.top
	width = p.setColumns(max(narrowGap, min(height/5, widestGap/float64(len(p.columns)))))
	p.drawEdges(c)
	for v := range g.Nodes {
		p.drawNode(c, v)
	}
	if g.Weighted {
		height += 30
		width = max(width, p.legend(c, height-6))
	}
	return width, height, nil
}

// thickness is how wide an edge is drawn.
func (p *graphPicture) thickness(e *Edge) float64 {
	if !p.Weighted {
		return plainWidth
	}
	return max(thinnest, min(e.Weight, 1)*p.nodeHeight)
}

// setColumns places the columns and returns the width of all.
func (p *graphPicture) setColumns(gap float64) float64 {
	x := 0.0
	for _, e := range p.Edges {
		if p.column[e.From] == 0 && p.column[e.To] == 0 { // which bulges to the left
			x = max(x, bulge(p.y[e.From]-p.y[e.To])*3/4+p.thickness(&e)/2)
		}
	}
	for _, vs := range p.columns {
		w := 60.0
		for _, v := range vs {
			if v < p.nodes {
				w = max(w, min(p.labelWidth(v), widestLabel)+2*pad+barWidth)
			}
		}
		p.x, p.width = append(p.x, x), append(p.width, w)
		x += w + gap
	}
	return x - gap
}

// bulge is how far to the left the control points of an edge within a column stand,
// of so much height. The edge itself goes three quarters as far.
func bulge(height float64) float64 { return 30 + min(0.4*math.Abs(height), 80) }

func (p *graphPicture) labelWidth(v int) float64 {
	n := p.Nodes[v]
	if p.lines == 1 && n.Note != "" {
		return textWidth(n.Label, fontSize) + 8 + textWidth(n.Note, small)
	}
	return max(textWidth(n.Label, fontSize), textWidth(n.Note, small))
}

// at returns the middle of a vertex.
func (p *graphPicture) at(v int) float64 { return p.y[v] - p.top }

// drawEdges draws edges under the nodes, the thin ones first.
func (p *graphPicture) drawEdges(c *canvas) {
	leave, arrive := p.ends()
	order := make([]int, len(p.Edges))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.Edges[a].Weight, p.Edges[b].Weight) })
	for _, i := range order {
		e := &p.Edges[i]
		c.printf(`<path class="gk-edge" stroke-width="%s" d="%s"><title>%s</title></path>`+"\n",
			num(p.thickness(e)), p.route(i, leave[i], arrive[i]), escape(p.edgeTitle(e)))
	}
}

// route returns the path of an edge that leaves and arrives at these heights.
func (p *graphPicture) route(i int, leave, arrive float64) string {
	e, path := &p.Edges[i], p.paths[i]
	from, to := p.column[e.From], p.column[e.To]
	if from == to { // out to the left and back
		x := p.x[from]
		out := x - bulge(p.y[e.From]-p.y[e.To])
		return fmt.Sprintf("M%s,%s C%s,%[2]s %[3]s,%[4]s %[1]s,%[4]s", num(x), num(leave), num(out), num(arrive))
	}
	x, y := p.x[from]+p.width[from], leave
	d := fmt.Sprintf("M%s,%s", num(x), num(y))
	for _, v := range path[1:] {
		col := p.column[v]
		left, at := p.x[col], arrive
		if v >= p.nodes {
			at = p.at(v)
		}
		mid := (x + left) / 2
		d += fmt.Sprintf(" C%s,%s %[1]s,%[3]s %[4]s,%[3]s", num(mid), num(y), num(at), num(left))
		x, y = left, at
		if v >= p.nodes { // past the nodes of the column
			x += p.width[col]
			d += " H" + num(x)
		}
	}
	return d
}

// ends returns at which heights edges leave what is read, and arrive at their readers.
// There they lie side by side, as much as each weighs; where more leaves a node than
// fits, edges overlap.
func (p *graphPicture) ends() (leave, arrive []float64) {
	leave, arrive = make([]float64, len(p.Edges)), make([]float64, len(p.Edges))
	in, out := make([][]int, p.nodes), make([][]int, p.nodes)
	for i, e := range p.Edges {
		in[e.To], out[e.From] = append(in[e.To], i), append(out[e.From], i)
	}
	by := func(edges []int, next func(path []int) int) {
		slices.SortStableFunc(edges, func(a, b int) int {
			return cmp.Compare(p.at(next(p.paths[a])), p.at(next(p.paths[b])))
		})
	}
	for v := range p.nodes {
		by(in[v], func(path []int) int { return path[len(path)-2] })
		by(out[v], func(path []int) int { return path[1] })
		top := p.at(v) - p.nodeHeight/2
		y := top
		for k, i := range in[v] {
			if !p.Weighted {
				arrive[i] = top + p.nodeHeight*(float64(k)+1)/float64(len(in[v])+1)
				continue
			}
			w := min(p.Edges[i].Weight, 1) * p.nodeHeight
			arrive[i] = y + w/2
			y += w
		}
		total := 0.0
		for _, i := range out[v] {
			total += p.thickness(&p.Edges[i])
		}
		scale := min(1, (p.nodeHeight-4)/total)
		y = p.at(v) - total*scale/2
		for _, i := range out[v] {
			w := p.thickness(&p.Edges[i]) * scale
			leave[i] = y + w/2
			y += w
		}
	}
	return leave, arrive
}

func (p *graphPicture) edgeTitle(e *Edge) string {
	s := p.Nodes[e.To].Label + " reads " + p.Nodes[e.From].Label
	if p.explained[e.To] {
		s += ": " + percent(e.Weight) + " of its attention"
	}
	return s
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

// drawNode draws a box and, for a reader, its bar.
func (p *graphPicture) drawNode(c *canvas, v int) {
	n := &p.Nodes[v]
	col := p.column[v]
	x, y, w := p.x[col], p.at(v)-p.nodeHeight/2, p.width[col]
	title := n.Label
	if n.Note != "" {
		title += ", " + n.Note
	}
	if p.explained[v] {
		title += "; keeps " + percent(n.Own) + " of its attention to itself"
	}
	c.printf("<g><title>%s</title>", escape(title))
	if p.explained[v] {
		own := min(n.Own, 1) * p.nodeHeight
		c.printf(`<rect class="gk-read" x="%s" y="%s" width="%s" height="%s"/>`, num(x), num(y), num(barWidth), num(p.nodeHeight-own))
		c.printf(`<rect class="gk-own" x="%s" y="%s" width="%s" height="%s"/>`, num(x), num(y+p.nodeHeight-own), num(barWidth), num(own))
		x, w = x+barWidth, w-barWidth
	}
	c.printf(`<rect class="gk-node gk-%s" x="%s" y="%s" width="%s" height="%s" rx="4"/>`+"\n", n.Kind, num(x), num(y), num(w), num(p.nodeHeight))
	fits := w - 2*pad + 1 // widths are sums that rounding may leave a little short
	switch {
	case n.Note == "":
		c.text(x+w/2, y+p.nodeHeight/2+4.5, "", shorten(n.Label, fontSize, fits), `text-anchor="middle"`)
	case p.lines == 1:
		note := shorten(n.Note, small, fits/2)
		c.text(x+pad, y+p.nodeHeight/2+4.5, "", shorten(n.Label, fontSize, fits-textWidth(note, small)-8))
		c.text(x+w-pad, y+p.nodeHeight/2+4.5, "gk-small", note, `text-anchor="end"`)
	default:
		c.text(x+w/2, y+p.nodeHeight/2-3, "", shorten(n.Label, fontSize, fits), `text-anchor="middle"`)
		c.text(x+w/2, y+p.nodeHeight/2+13, "gk-small", shorten(n.Note, small, fits), `text-anchor="middle"`)
	}
	c.printf("</g>\n")
}

// legend explains the widths, on a base line, and returns how far it reaches.
func (p *graphPicture) legend(c *canvas, y float64) (x float64) {
	for _, part := range []struct{ class, text string }{
		{"", "An edge is as wide as its share of its reader’s attention, the bar:"},
		{"gk-read", "read of others"},
		{"gk-own", "of itself"},
	} {
		if part.class != "" {
			c.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="11"/>`, part.class, num(x), num(y-9.5), num(barWidth))
			x += barWidth + 5
		}
		c.text(x, y, "gk-small", part.text)
		x += textWidth(part.text, small) + 14
	}
	return x
}
