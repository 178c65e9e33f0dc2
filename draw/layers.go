// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

import (
	"cmp"
	"slices"
)

// maxBends bounds the points by which long edges are led around nodes. Beyond it they
// go straight.
const maxBends = 6000

// layering is a graph in columns.
type layering struct {
	nodes   int     // the first vertices are nodes, the others points of edges
	columns [][]int // vertices, from top to bottom
	column  []int   // of each vertex
	order   []int   // place of each vertex in its column
	y       []float64
	height  []float64 // of each vertex
	links   []link    // between vertices of neighbouring columns
	before  [][]int   // per vertex: links from the left
	after   [][]int   // and to the right
	paths   [][]int   // per edge: its vertices from source to reader
}

type link struct {
	from, to int
	weight   float64
}

// The least space above and below nodes; points of edges need less between them.
const (
	nodeGap = 12.0
	bendGap = 3.0
)

// layered arranges a graph whose first vertices are its nodes, of the given height.
// bends have the height of their edges.
func layered(nodes int, edges []Edge, height float64, thickness func(e *Edge) float64) *layering {
	l := &layering{nodes: nodes, column: depths(nodes, edges)}
	for range nodes {
		l.height = append(l.height, height)
	}
	bends := 0
	for _, e := range edges {
		bends += max(0, l.column[e.To]-l.column[e.From]-1)
	}
	for i := range edges {
		e := &edges[i]
		path := []int{e.From}
		for c := l.column[e.From] + 1; c < l.column[e.To] && bends <= maxBends; c++ {
			path = append(path, len(l.column))
			l.column, l.height = append(l.column, c), append(l.height, thickness(e))
		}
		path = append(path, e.To)
		if bends <= maxBends && l.column[e.From] < l.column[e.To] {
			for k := 1; k < len(path); k++ {
				l.links = append(l.links, link{path[k-1], path[k], e.Weight + 0.02})
			}
		}
		l.paths = append(l.paths, path)
	}
	l.before, l.after = make([][]int, len(l.column)), make([][]int, len(l.column))
	for i, k := range l.links {
		l.before[k.to], l.after[k.from] = append(l.before[k.to], i), append(l.after[k.from], i)
	}
	l.columns = make([][]int, slices.Max(l.column)+1)
	for v, c := range l.column {
		l.columns[c] = append(l.columns[c], v)
	}
	l.arrange()
	l.align()
	return l
}

// depths returns the column of each node: one more than the deepest of what it reads,
// and the same for nodes that read one another, directly or not.
func depths(nodes int, edges []Edge) []int {
	reads := make([][]int, nodes)
	for _, e := range edges {
		reads[e.To] = append(reads[e.To], e.From)
	}
	s := &components{reads: reads, index: make([]int, nodes), low: make([]int, nodes), of: make([]int, nodes)}
	for v := range nodes {
		if s.index[v] == 0 {
			s.visit(v)
		}
	}
	depth := make([]int, s.count) // what a component reads has a lower number
	byComponent := make([][]int, s.count)
	for v, c := range s.of {
		byComponent[c] = append(byComponent[c], v)
	}
	for c, members := range byComponent {
		for _, v := range members {
			for _, u := range reads[v] {
				if s.of[u] != c {
					depth[c] = max(depth[c], depth[s.of[u]]+1)
				}
			}
		}
	}
	out := make([]int, nodes)
	for v, c := range s.of {
		out[v] = depth[c]
	}
	return out
}

// components finds strongly connected components (Tarjan, 1972), those that are read
// before those that read them.
type components struct {
	reads          [][]int
	index, low, of []int
	stack          []int
	next, count    int
}

func (s *components) visit(v int) {
	s.next++
	s.index[v], s.low[v], s.of[v] = s.next, s.next, -1
	s.stack = append(s.stack, v)
	for _, u := range s.reads[v] {
		if s.index[u] == 0 {
			s.visit(u)
			s.low[v] = min(s.low[v], s.low[u])
		} else if s.of[u] < 0 {
			s.low[v] = min(s.low[v], s.index[u])
		}
	}
	if s.low[v] < s.index[v] {
		return
	}
	for {
		u := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		s.of[u] = s.count
		if u == v {
			break
		}
	}
	s.count++
}

// sweeps is how often columns are arranged after their neighbours, to and fro.
const sweeps = 12

// arrange orders the columns so that few edges cross: every vertex goes to the mean
// place of its neighbours, those on the left and those on the right in turn. All links
// count alike, so that what reads the same stays in the order in which it was given.
func (l *layering) arrange() {
	l.order = make([]int, len(l.column))
	for _, vs := range l.columns {
		for i, v := range vs {
			l.order[v] = i
		}
	}
	mean := make([]float64, len(l.column))
	for s := range sweeps {
		for c := range l.columns {
			links, of := l.before, func(k link) int { return k.from }
			if s%2 == 1 {
				c = len(l.columns) - 1 - c
				links, of = l.after, func(k link) int { return k.to }
			}
			vs := l.columns[c]
			for _, v := range vs {
				sum, count := 0.0, 0.0
				for _, i := range links[v] {
					u := of(l.links[i])
					sum += float64(l.order[u]) / float64(len(l.columns[l.column[u]]))
					count++
				}
				mean[v] = float64(l.order[v]) / float64(len(vs)) // nothing there: it stays
				if count > 0 {
					mean[v] = sum / count
				}
			}
			slices.SortStableFunc(vs, func(a, b int) int { return cmp.Compare(mean[a], mean[b]) })
			for i, v := range vs {
				l.order[v] = i
			}
		}
	}
}

// align gives every vertex a height on the page: near its neighbours, and apart from
// those of its column.
func (l *layering) align() {
	l.y = make([]float64, len(l.column))
	apart := func(a, b int) float64 {
		gap := bendGap
		if a < l.nodes || b < l.nodes {
			gap = nodeGap
		}
		return (l.height[a]+l.height[b])/2 + gap
	}
	for _, vs := range l.columns {
		y := 0.0
		for i, v := range vs {
			if i > 0 {
				y += apart(vs[i-1], v)
			}
			l.y[v] = y
		}
		for _, v := range vs {
			l.y[v] -= y / 2
		}
	}
	for s := range sweeps {
		for c := range l.columns {
			if s%2 == 1 {
				c = len(l.columns) - 1 - c
			}
			vs := l.columns[c]
			wish, weight, between := make([]float64, len(vs)), make([]float64, len(vs)), make([]float64, max(0, len(vs)-1))
			for i, v := range vs {
				sum, total := 0.0, 0.0
				for _, k := range l.before[v] {
					sum += l.links[k].weight * l.y[l.links[k].from]
					total += l.links[k].weight
				}
				for _, k := range l.after[v] {
					sum += l.links[k].weight * l.y[l.links[k].to]
					total += l.links[k].weight
				}
				wish[i], weight[i] = l.y[v], 0.01
				if total > 0 {
					wish[i], weight[i] = sum/total, total
				}
				if i > 0 {
					between[i-1] = apart(vs[i-1], v)
				}
			}
			for i, y := range spread(wish, weight, between) {
				l.y[vs[i]] = y
			}
		}
	}
}
