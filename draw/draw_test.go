// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// element is a start tag with the text right below it.
type element struct {
	name, text string
	attr       map[string]string
}

// parse reads a picture strictly and returns its elements.
func parse(t require.TestingT, data []byte) []element {
	var all, open []*element
	d := xml.NewDecoder(strings.NewReader(string(data)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local, attr: map[string]string{}}
			for _, a := range x.Attr {
				require.NotContains(t, e.attr, a.Name.Local, "an attribute is repeated")
				e.attr[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(x)
			}
		}
	}
	require.Empty(t, open)
	out := make([]element, len(all))
	for i, e := range all {
		out[i] = *e
	}
	return out
}

// of returns the elements of a name and, if it is not empty, a class.
func of(all []element, name, class string) (out []element) {
	for _, e := range all {
		if e.name == name && (class == "" || strings.Contains(" "+e.attr["class"]+" ", " "+class+" ")) {
			out = append(out, e)
		}
	}
	return out
}

func number(t require.TestingT, e element, name string) float64 {
	if e.attr[name] == "" {
		return 0
	}
	x, err := strconv.ParseFloat(e.attr[name], 64)
	require.NoError(t, err)
	return x
}

func TestGraph(t *testing.T) {
	g := &Graph{
		Title: "What was read", Weighted: true, Description: "query read a 60 %.",
		Nodes: []Node{{Label: "a", Note: "3 tokens"}, {Label: "b", Own: 0.25}, {Label: "query", Kind: Query, Own: 0.4}, {Label: "answer", Kind: Answer, Own: 1}, {Label: "c"}},
		Edges: []Edge{{From: 0, To: 1, Weight: 0.75}, {From: 0, To: 2, Weight: 0.6}, {From: 1, To: 2}, {From: 2, To: 3}, {From: 0, To: 4}},
	}
	data, err := SVG(g)
	require.NoError(t, err)
	all := parse(t, data)
	root := all[0]
	require.Equal(t, "img", root.attr["role"])
	require.Equal(t, "title", all[1].name)
	require.Equal(t, "What was read", all[1].text)
	require.Equal(t, "desc", all[2].name)
	require.Equal(t, "query read a 60 %.", all[2].text)
	require.Equal(t, all[1].attr["id"]+" "+all[2].attr["id"], root.attr["aria-labelledby"])

	edges := of(all, "path", "gk-edge")
	var widths []string
	for _, e := range edges {
		widths = append(widths, e.attr["stroke-width"])
	}
	require.Equal(t, []string{"0.6", "0.6", "0.6", "26.4", "33"}, widths, "the thin ones below")
	nodes := of(all, "rect", "gk-node")
	require.Len(t, nodes, 5)
	for k, x := range map[string]int{"gk-segment": 3, "gk-query": 1, "gk-answer": 1, "gk-prefix": 0} {
		require.Len(t, of(all, "rect", k), x)
	}
	for i := 1; i < 4; i++ {
		require.Greater(t, number(t, nodes[i], "x"), number(t, nodes[i-1], "x"), "readers stand to the right")
	}
	require.Len(t, of(all, "rect", "gk-own"), 3+1, "readers of which something is known, and the legend")
	var titles []string
	for _, e := range of(all, "title", "")[1:] {
		titles = append(titles, e.text)
	}
	require.ElementsMatch(t, []string{
		"b reads a: 75.0 % of its attention", "query reads a: 60.0 % of its attention", "query reads b: 0.0 % of its attention",
		"answer reads query: 0.0 % of its attention", "c reads a", "a, 3 tokens", "c", "b; keeps 25.0 % of its attention to itself",
		"query; keeps 40.0 % of its attention to itself", "answer; keeps 100.0 % of its attention to itself",
	}, titles)
}

// Any text is safe, and any graph and mask make a well-formed picture that is inside its
// own frame and the same every time.
func TestPictures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		l := drawLayout(t)
		m, err := mask.New(l, rapid.IntRange(1, 5).Draw(t, "block"))
		require.NoError(t, err)
		label := rapid.String().Draw(t, "label")
		figures := []Figure{g, &Mask{Title: label, Mask: m, Label: func(int) string { return label }}}
		data, err := SVG(figures...)
		require.NoError(t, err)
		all := parse(t, data)
		require.Len(t, of(all, "rect", "gk-node"), len(g.Nodes))
		require.Len(t, of(all, "path", "gk-edge"), len(g.Edges))
		require.Len(t, of(all, "rect", "gk-row"), l.Len())
		width, height := number(t, all[0], "width"), number(t, all[0], "height")
		for _, e := range of(all, "rect", "gk-node") {
			x, y := number(t, e, "x"), number(t, e, "y")
			require.GreaterOrEqual(t, x, 0.0)
			require.GreaterOrEqual(t, y, 0.0)
			require.LessOrEqual(t, x+number(t, e, "width")+margin, width)
			require.LessOrEqual(t, y+number(t, e, "height")+margin+caption, height)
		}
		for _, e := range of(all, "path", "gk-edge") {
			require.NotContains(t, e.attr["d"], "N", "a number that is none")
		}
		again, err := SVG(figures...)
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
	})
}

// drawGraph draws any graph, circles included.
func drawGraph(t *rapid.T) *Graph {
	g := &Graph{Title: rapid.String().Draw(t, "title"), Weighted: rapid.Bool().Draw(t, "weighted")}
	n := rapid.IntRange(1, 14).Draw(t, "nodes")
	for range n {
		g.Nodes = append(g.Nodes, Node{
			Label: rapid.String().Draw(t, "label"), Note: rapid.String().Draw(t, "note"),
			Kind: Kind(rapid.IntRange(0, int(Answer)).Draw(t, "kind")), Own: rapid.Float64Range(0, 1).Draw(t, "own"),
		})
	}
	for range rapid.IntRange(0, 3*n).Draw(t, "edges") {
		e := Edge{From: rapid.IntRange(0, n-1).Draw(t, "from"), To: rapid.IntRange(0, n-1).Draw(t, "to"), Weight: rapid.Float64Range(0, 1).Draw(t, "weight")}
		if e.From != e.To {
			g.Edges = append(g.Edges, e)
		}
	}
	return g
}

func drawLayout(t *rapid.T) *posenc.Layout {
	b := posenc.NewLayoutBuilder()
	n := rapid.IntRange(1, 6).Draw(t, "segments")
	for i := range n + 1 {
		x := posenc.Node{Segment: i, Len: rapid.IntRange(1, 7).Draw(t, "length"), Bidirectional: rapid.Bool().Draw(t, "both ways")}
		if i == n {
			x.Kind, x.Segment = posenc.QueryNode, -1
		}
		var sees []posenc.Seen
		for j := range i {
			if rapid.Bool().Draw(t, "sees") {
				sees = append(sees, posenc.Seen{Node: int32(j)})
			}
		}
		_, err := b.Add(x, sees...)
		require.NoError(t, err)
	}
	l, err := b.Layout()
	require.NoError(t, err)
	return l
}

// A reader stands to the right of what it reads, unless that reads it as well; no two
// vertices of a column overlap.
func TestLayers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		n := len(g.Nodes)
		reaches := make([][]bool, n) // by Warshall
		for i := range reaches {
			reaches[i] = make([]bool, n)
		}
		for _, e := range g.Edges {
			reaches[e.From][e.To] = true
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reaches[i][j] = reaches[i][j] || reaches[i][k] && reaches[k][j]
				}
			}
		}
		l := layered(n, g.Edges, 20, func(e *Edge) float64 { return 10 * e.Weight })
		for i, e := range g.Edges {
			from, to := l.column[e.From], l.column[e.To]
			if reaches[e.To][e.From] {
				require.Equal(t, from, to)
				require.Len(t, l.paths[i], 2)
				continue
			}
			require.Less(t, from, to)
			require.Len(t, l.paths[i], to-from+1)
		}
		seen := 0
		for c, vs := range l.columns {
			require.NotEmpty(t, vs)
			seen += len(vs)
			for i, v := range vs {
				require.Equal(t, c, l.column[v])
				if i > 0 {
					u := vs[i-1]
					require.GreaterOrEqual(t, l.y[v]-l.y[u]+1e-6, (l.height[u]+l.height[v])/2+bendGap)
				}
			}
		}
		require.Equal(t, len(l.column), seen)
	})
}

// What reads the same, and is read by the same, keeps the order in which it was given.
func TestOrderIsKept(t *testing.T) {
	g := &Graph{}
	const n = 9
	for v := n; v < 2*n; v++ {
		for u := range n {
			g.Edges = append(g.Edges, Edge{From: u, To: v, Weight: float64((u*v)%7) / 7})
		}
	}
	l := layered(2*n, g.Edges, 20, func(*Edge) float64 { return 1 })
	for i := range n {
		require.Equal(t, []int{i, n + i}, []int{l.columns[0][i], l.columns[1][i]})
	}
}

// Nothing that keeps its distance is nearer to what is wished.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		numbers := func(lo, hi float64, label string) []float64 {
			return rapid.SliceOfN(rapid.Float64Range(lo, hi), n, n).Draw(t, label)
		}
		wish, weight, apart := numbers(-50, 50, "wish"), numbers(0.1, 5, "weight"), numbers(0, 20, "apart")
		got := spread(wish, weight, apart)
		cost := func(x []float64) (sum float64) {
			for i := range x {
				sum += weight[i] * (x[i] - wish[i]) * (x[i] - wish[i])
			}
			return sum
		}
		fits := func(x []float64) bool {
			for i := 1; i < n; i++ {
				if x[i]-x[i-1] < apart[i-1]-1e-9 {
					return false
				}
			}
			return true
		}
		require.True(t, fits(got))
		if fits(wish) {
			require.InDeltaSlice(t, wish, got, 1e-9)
		}
		// The problem is convex: a better place would show in its direction at once.
		for range 20 {
			other := numbers(-60, 60, "other")
			for i := 1; i < n; i++ {
				other[i] = math.Max(other[i], other[i-1]+apart[i-1])
			}
			for _, step := range []float64{1, 0.1, 1e-3} {
				near := make([]float64, n)
				for i := range near {
					near[i] = got[i] + step*(other[i]-got[i])
				}
				require.GreaterOrEqual(t, cost(near), cost(got)-1e-6)
			}
		}
	})
}

// The two shapes cover exactly the blocks of their kind.
func TestMaskShapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		size := rapid.IntRange(1, 5).Draw(t, "block")
		m, err := mask.New(l, size)
		require.NoError(t, err)
		figure := &Mask{Mask: m, Title: "mask"}
		data, err := SVG(figure)
		require.NoError(t, err)
		all := parse(t, data)
		frame := of(all, "rect", "gk-empty")[0]
		perToken := number(t, frame, "width") / float64(m.Tokens())
		covered := map[[2]int]mask.Kind{}
		for _, kind := range []mask.Kind{mask.Full, mask.Partial} {
			for _, e := range of(all, "path", "gk-"+kind.String()) {
				for _, s := range strings.Split(strings.TrimSuffix(e.attr["d"], "z"), "z") {
					x, y, w, h := rectangle(t, s)
					// The middles of blocks are inside or not, whatever was rounded.
					for i := range m.Side() {
						for j := range m.Side() {
							cx := middle(j, size, m.Tokens()) * perToken
							cy := middle(i, size, m.Tokens()) * perToken
							if cx > x && cx < x+w && cy > y && cy < y+h {
								require.NotContains(t, covered, [2]int{i, j})
								covered[[2]int{i, j}] = kind
							}
						}
					}
				}
			}
		}
		for i := range m.Side() {
			for j := range m.Side() {
				require.Equal(t, m.Block(i, j), covered[[2]int{i, j}], "block %d, %d", i, j)
			}
		}
	})
}

func middle(block, size, tokens int) float64 {
	return float64(block*size+min((block+1)*size, tokens)) / 2
}

// rectangle reads "Mx,yhwvhh-w".
func rectangle(t require.TestingT, s string) (x, y, w, h float64) {
	f := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("M,hv", r) })
	require.Len(t, f, 5, s)
	var out [5]float64
	for i, s := range f {
		v, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		out[i] = v
	}
	require.InDelta(t, out[2], -out[4], 1e-9)
	return out[0], out[1], out[2], out[3]
}

func TestBlockSize(t *testing.T) {
	for tokens, want := range map[int]int{1: 1, 160: 1, 161: 2, 384: 4, 1 << 30: mask.MaxBlockSize} {
		require.Equal(t, want, BlockSize(tokens), tokens)
	}
}

func TestRefusals(t *testing.T) {
	one := []Node{{Label: "a"}}
	two := []Node{{Label: "a"}, {Label: "b"}}
	l, err := posenc.Block(1, []int{2000}, 1)
	require.NoError(t, err)
	m, err := mask.New(l, 1)
	require.NoError(t, err)
	for want, f := range map[string][]Figure{
		"no figure":               nil,
		"a graph without nodes":   {&Graph{}},
		"2001 nodes":              {&Graph{Nodes: make([]Node, MaxNodes+1)}},
		"50001 edges":             {&Graph{Nodes: two, Edges: make([]Edge, MaxEdges+1)}},
		"leads from 0 to 1 of 1":  {&Graph{Nodes: one, Edges: []Edge{{From: 0, To: 1}}}},
		"leads from 0 to 0":       {&Graph{Nodes: one, Edges: []Edge{{From: 0, To: 0}}}},
		"leads from -1 to 0":      {&Graph{Nodes: one, Edges: []Edge{{From: -1, To: 0}}}},
		"edge 0 has weight NaN":   {&Graph{Nodes: two, Edges: []Edge{{From: 0, To: 1, Weight: math.NaN()}}}},
		"edge 0 has weight 2":     {&Graph{Nodes: two, Edges: []Edge{{From: 0, To: 1, Weight: 2}}}},
		"node 0 (a): kind":        {&Graph{Nodes: []Node{{Label: "a", Own: -1}}}},
		"kind Kind(9)":            {&Graph{Nodes: []Node{{Label: "a", Kind: 9}}}},
		"no mask":                 {&Mask{}},
		"2002 blocks along an ax": {&Mask{Mask: m}},
	} {
		_, err := SVG(f...)
		require.ErrorContains(t, err, want)
	}
}

// Beyond a number of bends long edges go straight.
func TestManyLongEdges(t *testing.T) {
	g := &Graph{}
	for i := range 400 {
		g.Nodes = append(g.Nodes, Node{Label: "n"})
		if i > 0 {
			g.Edges = append(g.Edges, Edge{From: i - 1, To: i})
		}
		for j := range min(i, 2) {
			g.Edges = append(g.Edges, Edge{From: j, To: i})
		}
	}
	g.Edges = g.Edges[:len(g.Edges)-1]
	data, err := SVG(g)
	require.NoError(t, err)
	require.Len(t, of(parse(t, data), "path", "gk-edge"), len(g.Edges))
}

// A picture of many nodes names the longest of them and stays of a size.
func TestMaskOfManyNodes(t *testing.T) {
	lengths := make([]int, 1500)
	for i := range lengths {
		lengths[i] = 1 + i%100
	}
	l, err := posenc.Block(1, lengths, 1)
	require.NoError(t, err)
	m, err := mask.New(l, BlockSize(l.Tokens()))
	require.NoError(t, err)
	data, err := SVG(&Mask{Title: "many", Mask: m, Label: func(i int) string { return strconv.Itoa(l.Node(i).Len) }})
	require.NoError(t, err)
	all := parse(t, data)
	require.Less(t, number(t, all[0], "width"), 2000.0)
	names := map[string]int{}
	for _, e := range of(all, "text", "gk-small") {
		names[e.text]++
	}
	require.Equal(t, 2*15, names["100"])
	require.Zero(t, names["95"])
	require.Zero(t, names["2"])
}

func TestShorten(t *testing.T) {
	require.Equal(t, "short", shorten("short", 10, 100))
	require.Equal(t, "a…z", shorten("abcdefghijklmnopqrstuvwxyz", 10, 25))
	require.Equal(t, "日…語", shorten("日本のながい語", 10, 30))
	require.Equal(t, "iiiii…iiiii", shorten(strings.Repeat("i", 1<<20), 10, 49), "at once")
}
