// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// MaxPosition is the largest position a layout may use. Positions are exact in float64 far beyond it; the limit keeps bases
// and lengths in 32 bits.
const MaxPosition = math.MaxInt32 - 1

// Kind says what a node of a layout holds.
type Kind uint8

const (
	// SegmentNode is a segment in one round of message passing.
	SegmentNode Kind = iota
	// PrefixNode is the text that every answer starts from, typically the system prompt.
	PrefixNode
	// QueryNode is the question; it is the last node, and the answer continues after it.
	QueryNode
)

func (k Kind) String() string {
	switch k {
	case SegmentNode:
		return "segment"
	case PrefixNode:
		return "prefix"
	case QueryNode:
		return "query"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Node is a run of tokens that is encoded in one piece.
type Node struct {
	Kind    Kind
	Segment int // index of the segment; −1 for the prefix and the query
	Round   int // round of message passing, 0 first; 0 for the prefix and the query
	Base    int // position of the node's first token while it is encoded
	Len     int // tokens, at least 1
	// Bidirectional lets every token of the node see all of them, as in an encoder, and not only those up to itself.
	Bidirectional bool
	Repair        Repair // none: all of the node's tokens are encoded
}

func (n Node) String() string {
	switch {
	case n.Kind != SegmentNode:
		return n.Kind.String()
	case n.Round > 0:
		return fmt.Sprintf("segment %d round %d", n.Segment, n.Round)
	}
	return fmt.Sprintf("segment %d", n.Segment)
}

// Seen is a source as one reader sees it: the index of the node that holds it, and the position at which its first token
// stands for this reader. A reader at base b therefore works with the shift b − Seen.Base. Score is the number that the
// layout or its builder gave to the edge's [Score]; 0 is the neutral one.
type Seen struct {
	Node, Base int32
	Score      int32
}

// Layout is an immutable plan of a request: nodes in encoding order, what each of them attends to, and where everything
// stands. Every node attends to the sources it lists and to itself, causally unless it is bidirectional. The last node is the
// query. A Layout is safe for concurrent use. Its memory is proportional to nodes plus edges.
type Layout struct {
	nodes  []Node
	rowPtr []int // len(nodes)+1 offsets into seen
	seen   []Seen
	scores scores
	tokens int
	end    int
}

// Len returns the number of nodes.
func (l *Layout) Len() int { return len(l.nodes) }

// Node returns node i, 0 ≤ i < Len.
func (l *Layout) Node(i int) Node { return l.nodes[i] }

// Sees returns the sources of node i in the order in which they were added. The slice is a view and must not be changed.
func (l *Layout) Sees(i int) []Seen {
	lo, hi := l.rowPtr[i], l.rowPtr[i+1]
	return l.seen[lo:hi:hi]
}

// Tokens returns the number of tokens of all nodes together. When nothing is cached that many are to be encoded, less those
// that repairs leave as they are; see Encodes.
func (l *Layout) Tokens() int { return l.tokens }

// Query returns the index of the query, which is the last node.
func (l *Layout) Query() int { return len(l.nodes) - 1 }

// NumEdges returns the number of (reader, source) pairs.
func (l *Layout) NumEdges() int { return len(l.seen) }

// End returns one more than the largest position that any node or any seen source takes up.
func (l *Layout) End() int { return l.end }

// ContextError reports that a layout needs positions the model was not made for.
type ContextError struct {
	Node  int    // index of the first offending node
	Name  string // its name
	End   int    // one more than the largest position the node needs, for itself or for a source it sees
	Limit int    // positions allowed
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("posenc: %s needs %d positions, the limit is %d", e.Name, e.End, e.Limit)
}

// CheckContext returns a *ContextError when a node, or a source as a node sees it, reaches position limit or beyond. The
// error names the first such node in encoding order with the given function; nil stands for names like "segment 3 round 1".
func (l *Layout) CheckContext(limit int, name func(node int) string) error {
	if l.end <= limit {
		return nil
	}
	for i, n := range l.nodes {
		end := n.Base + n.Len
		for _, s := range l.Sees(i) {
			end = max(end, int(s.Base)+l.nodes[s.Node].Len)
		}
		if end <= limit {
			continue
		}
		if name == nil {
			name = func(node int) string { return l.nodes[node].String() }
		}
		return &ContextError{Node: i, Name: name(i), End: end, Limit: limit}
	}
	return nil
}

// LayoutBuilder puts a layout together, node by node in encoding order. The zero value is not usable; call
// NewLayoutBuilder. It is not safe for concurrent use.
type LayoutBuilder struct {
	l       Layout
	scores  interner
	readers []int32 // for every node, 1 + the last node that listed it: finds duplicates in O(1)
	done    bool    // the query has been added
}

// NewLayoutBuilder returns an empty builder.
func NewLayoutBuilder() *LayoutBuilder {
	return &LayoutBuilder{l: Layout{rowPtr: []int{0}}}
}

// newLayoutBuilder returns a builder with room for the given numbers of nodes and edges.
func newLayoutBuilder(nodes, edges int) *LayoutBuilder {
	return &LayoutBuilder{
		l: Layout{
			nodes:  make([]Node, 0, nodes),
			rowPtr: append(make([]int, 0, nodes+1), 0),
			seen:   make([]Seen, 0, edges),
		},
		readers: make([]int32, 0, nodes),
	}
}

// Score returns the number under which edges of the layout refer to s. Equal scores have one number. Biases must all be for
// the same number of heads.
func (b *LayoutBuilder) Score(s Score) (int32, error) {
	i, err := b.scores.add(s)
	if err != nil {
		return 0, fmt.Errorf("posenc: %w", err)
	}
	return i, nil
}

// Add appends a node with the sources it attends to and returns its index. Sources must have been added before, each at
// most once per reader; a node's causal attention to itself is implied and not listed. The order of the sources is kept.
// Bases are at least 0. After the query nothing can be added. On an error the builder is unchanged.
func (b *LayoutBuilder) Add(n Node, sees ...Seen) (int, error) {
	i := len(b.l.nodes)
	fail := func(format string, args ...any) (int, error) {
		return 0, fmt.Errorf("posenc: node %d (%s): "+format, append([]any{i, n}, args...)...)
	}
	switch {
	case b.done:
		return fail("the query must be the last node")
	case i >= MaxPosition:
		return fail("more than %d nodes", MaxPosition)
	case n.Kind > QueryNode:
		return fail("unknown kind")
	case n.Kind == SegmentNode && n.Segment < 0:
		return fail("segment index %d", n.Segment)
	case n.Kind == SegmentNode && n.Round < 0:
		return fail("round %d", n.Round)
	case n.Kind != SegmentNode && (n.Segment != -1 || n.Round != 0):
		return fail("segment index %d and round %d, want -1 and 0", n.Segment, n.Round)
	case n.Len < 1:
		return fail("length %d, want at least 1", n.Len)
	case n.Base < 0:
		return fail("base %d, want at least 0", n.Base)
	case n.Len > MaxPosition || n.Base > MaxPosition-n.Len:
		return fail("base %d and length %d reach beyond position %d", n.Base, n.Len, MaxPosition)
	case b.l.tokens > math.MaxInt-n.Len:
		return fail("too many tokens")
	}
	if err := b.checkRepair(n); err != nil {
		return fail("%w", err)
	}
	end := max(b.l.end, n.Base+n.Len)
	for k, s := range sees {
		var err error
		switch {
		case s.Node < 0 || int(s.Node) >= i:
			_, err = fail("source %d does not come earlier", s.Node)
		case b.readers[s.Node] == int32(i)+1:
			_, err = fail("source %d (%s) is listed twice", s.Node, b.l.nodes[s.Node])
		case s.Score < 0 || int(s.Score) > len(b.scores.table):
			_, err = fail("source %d (%s): unknown score %d", s.Node, b.l.nodes[s.Node], s.Score)
		case s.Base < 0:
			_, err = fail("source %d (%s): base %d, want at least 0", s.Node, b.l.nodes[s.Node], s.Base)
		case int(s.Base) > MaxPosition-b.l.nodes[s.Node].Len:
			_, err = fail("source %d (%s): base %d and length %d reach beyond position %d",
				s.Node, b.l.nodes[s.Node], s.Base, b.l.nodes[s.Node].Len, MaxPosition)
		}
		if err != nil {
			for _, s := range sees[:k] { // forget this attempt: the index is used again
				b.readers[s.Node] = 0
			}
			return 0, err
		}
		b.readers[s.Node] = int32(i) + 1
		end = max(end, int(s.Base)+b.l.nodes[s.Node].Len)
	}
	b.l.nodes = append(b.l.nodes, n)
	b.l.seen = append(b.l.seen, sees...)
	b.l.rowPtr = append(b.l.rowPtr, len(b.l.seen))
	b.l.tokens += n.Len
	b.l.end = end
	b.readers = append(b.readers, 0)
	b.done = n.Kind == QueryNode
	return i, nil
}

// Layout returns the layout. The last node added must be the query.
func (b *LayoutBuilder) Layout() (*Layout, error) {
	if !b.done {
		return nil, errors.New("posenc: the layout has no query")
	}
	l := b.l // nothing can be added after the query, so the slices are not written to any more
	l.scores = b.scores.scores
	l.scores.table = slices.Clone(l.scores.table)
	return &l, nil
}
