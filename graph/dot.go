// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"strconv"
	"strings"

	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/encoding"
	"gonum.org/v1/gonum/graph/encoding/dot"
)

// MaxDOTNesting is the deepest nesting of blocks that [ParseDOT] reads.
const MaxDOTNesting = 64

// MaxDOTChain is the longest chain a -> b -> … in one statement, in edges, that
// [ParseDOT] reads. The number of edges of a graph is not limited by it.
const MaxDOTChain = 10000

// DOTID returns the segment id as a quoted DOT string. With it and Attributes,
// gonum's encoding/dot writes a Graph by itself.
func (n Node) DOTID() string { return quoteDOT(n.g.segments[n.i].ID) }

// Attributes returns the DOT attributes of the segment: text or tokens, or none.
func (n Node) Attributes() []encoding.Attribute {
	s := n.Segment()
	switch {
	case s.Text != "":
		return []encoding.Attribute{{Key: "text", Value: quoteDOT(s.Text)}}
	case len(s.Tokens) > 0:
		var b strings.Builder
		for i, t := range s.Tokens {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strconv.Itoa(int(t)))
		}
		return []encoding.Attribute{{Key: "tokens", Value: quoteDOT(b.String())}}
	}
	return nil
}

// MarshalDOT returns the graph in the Graphviz DOT language, through gonum's
// encoding/dot: node ids are segment ids, the content is in the attributes text
// or tokens (decimal numbers and spaces). name may be empty. Strings use Go's
// escapes, as gonum's do. DOT is meant for pictures and exchange with tools: it
// does not keep the order of sources, which come back in ascending order of
// index. JSON keeps it.
func (g *Graph) MarshalDOT(name string) ([]byte, error) {
	if name != "" {
		name = quoteDOT(name)
	}
	return dot.Marshal(g, name, "", "\t")
}

// ParseDOT reads one directed graph in the DOT language, through gonum's
// encoding/dot. Segments come in the order in which the input first names them.
// The attributes text and tokens of a node are its content; all other attributes,
// ports and the grouping by subgraphs are presentation and are ignored. The
// input may use Go's escapes in quoted strings, as gonum writes them; a string
// that is not valid in Go is taken as Graphviz does.
//
// Errors: an undirected graph or edge, a subgraph as the end of an edge, an edge
// given twice (even in a strict graph), a self edge without [SelfEdges], nesting
// and chains beyond [MaxDOTNesting] and [MaxDOTChain].
func ParseDOT(data []byte, opts ...Option) (*Graph, error) {
	clean, err := cleanDOT(data)
	if err != nil {
		return nil, err
	}
	r := &dotReader{b: NewBuilder(opts...), index: make(map[string]*dotNode)}
	if err := dot.Unmarshal(clean, r); err != nil {
		return nil, fmt.Errorf("graph: DOT: %w: %w", ErrSyntax, err)
	}
	for _, n := range r.nodes {
		s, err := n.segment(r.b.Len())
		if err != nil {
			return nil, err
		}
		if _, err := r.b.AddSegment(s); err != nil {
			return nil, err
		}
	}
	for _, e := range r.edges {
		if err := r.b.AddEdgeAt(e[0].index, e[1].index); err != nil {
			return nil, err
		}
	}
	return r.b.Build()
}

// dotReader collects what gonum's decoder finds. The decoder compares ids as they
// are spelled, so a and "a" arrive as two nodes; index makes them one.
type dotReader struct {
	Graph // the graph.Graph that encoding.Builder asks for; stays empty
	b     *Builder
	index map[string]*dotNode
	nodes []*dotNode
	edges [][2]*dotNode
}

type dotNode struct {
	id           string
	index        int
	text, tokens *string
	same         *dotNode // the node that had this id first
}

type dotEdge struct{ from, to *dotNode }

func (r *dotReader) NewNode() gonum.Node { return new(dotNode) }

func (r *dotReader) AddNode(n gonum.Node) {
	node := n.(*dotNode)
	if first, ok := r.index[node.id]; ok {
		node.same = first
		return
	}
	node.index = len(r.nodes)
	r.index[node.id] = node
	r.nodes = append(r.nodes, node)
}

func (r *dotReader) NewEdge(from, to gonum.Node) gonum.Edge {
	return dotEdge{from.(*dotNode).first(), to.(*dotNode).first()}
}

func (r *dotReader) SetEdge(e gonum.Edge) {
	edge := e.(dotEdge)
	r.edges = append(r.edges, [2]*dotNode{edge.from, edge.to})
}

func (e dotEdge) From() gonum.Node         { return e.from }
func (e dotEdge) To() gonum.Node           { return e.to }
func (e dotEdge) ReversedEdge() gonum.Edge { return dotEdge{e.to, e.from} }

func (n *dotNode) ID() int64          { return int64(n.index) }
func (n *dotNode) SetDOTID(id string) { n.id = id }

func (n *dotNode) first() *dotNode {
	if n.same != nil {
		return n.same
	}
	return n
}

// SetAttribute keeps the content. As in Graphviz, the last value wins.
func (n *dotNode) SetAttribute(a encoding.Attribute) error {
	n = n.first()
	switch a.Key {
	case "text":
		n.text = &a.Value
	case "tokens":
		n.tokens = &a.Value
	}
	return nil
}

func (n *dotNode) segment(i int) (Segment, error) {
	s := Segment{ID: n.id}
	if n.text != nil {
		s.Text = *n.text
	}
	if n.tokens == nil {
		return s, nil
	}
	if n.text != nil {
		return s, &SegmentError{Index: i, ID: n.id, Err: fmt.Errorf("%w: both text and tokens", ErrBadSegment)}
	}
	for f := range strings.FieldsSeq(*n.tokens) {
		t, err := strconv.ParseInt(f, 10, 32)
		if err != nil || t < 0 {
			return s, &SegmentError{Index: i, ID: n.id, Err: fmt.Errorf("%w: %q is not a token id (0 to 2147483647)", ErrBadSegment, cut(f))}
		}
		s.Tokens = append(s.Tokens, int32(t))
	}
	return s, nil
}

// quoteDOT quotes s so that gonum's decoder gives back exactly s. Go's quoting
// does, but for two things: the lexer refuses U+FFFD, and "<…>" would be taken
// for an HTML string and keep its quotes.
func quoteDOT(s string) string {
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q, "\uFFFD", `\ufffd`)
	if strings.HasPrefix(q, `"<`) {
		q = `"\x3c` + q[len(`"<`):]
	}
	return q
}
