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
//
// A Ranked source has no fixed place. In every layer the reader lays its ranked sources end to end from their common Base on,
// those that matter least to it first, so that those that matter most stand nearest (PINE, Wang et al., 2024). How much a
// source matters is the attention that the reader would pay to it if nothing had a position, per token of the source: with q
// and k before rotation, and softmax over the tokens of all ranked sources of the reader,
//
//	mean over the reader's heads, and tokens, of  Σ_{k in source} softmax(q·k/√d) / length of the source
//
// A node of a group does so once for all of its tokens, any other node (the query) and the answer for every token by
// itself.
type Seen struct {
	Node, Base int32
	Score      int32
	Ranked     bool
}

// Layout is an immutable plan of a request: nodes in encoding order, what each of them attends to, and where everything
// stands. Every node attends to the sources it lists and to itself, causally unless it is bidirectional. Sources come before
// their readers, except among nodes that are encoded together, see [Layout.Group]. The last node is the query. A Layout is
// safe for concurrent use. Its memory is proportional to nodes plus edges.
type Layout struct {
	nodes  []Node
	rowPtr []int // len(nodes)+1 offsets into seen
	seen   []Seen
	groups []span // of two nodes or more, ascending
	scores scores
	tokens int
	end    int
	ranked bool // some source is
}

// span is a range of nodes.
type span struct{ lo, hi int32 }

// Len returns the number of nodes.
func (l *Layout) Len() int { return len(l.nodes) }

// Node returns node i, 0 ≤ i < Len.
func (l *Layout) Node(i int) Node { return l.nodes[i] }

// Sees returns the sources of node i in the order in which they were added. The slice is a view and must not be changed.
func (l *Layout) Sees(i int) []Seen {
	lo, hi := l.rowPtr[i], l.rowPtr[i+1]
	return l.seen[lo:hi:hi]
}

// Group returns the range of nodes [lo, hi) that are encoded together with node i, which may see one another in both
// directions: layer by layer, each reads what the others have computed in the layer before. Most nodes are alone.
func (l *Layout) Group(i int) (lo, hi int) {
	at, found := slices.BinarySearchFunc(l.groups, int32(i), func(g span, i int32) int {
		switch {
		case g.hi <= i:
			return -1
		case g.lo > i:
			return 1
		}
		return 0
	})
	if !found {
		return i, i + 1
	}
	return int(l.groups[at].lo), int(l.groups[at].hi)
}

// HasRanked reports whether any node has ranked sources, whose places are known only while the layout runs.
func (l *Layout) HasRanked() bool { return l.ranked }

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
	for i := range l.nodes {
		end := l.reach(i)
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

// Len returns the number of nodes so far, which is the index that the next one will have.
func (b *LayoutBuilder) Len() int { return len(b.l.nodes) }

// Add appends a node with the sources it attends to and returns its index. Sources must have been added before, each at
// most once per reader; a node's causal attention to itself is implied and not listed. The order of the sources is kept.
// Bases are at least 0, and one for all ranked sources of a node. After the query nothing can be added. On an error the
// builder is unchanged.
func (b *LayoutBuilder) Add(n Node, sees ...Seen) (int, error) {
	before, i := b.l, len(b.l.nodes)
	err := b.node(n)
	if err == nil {
		err = b.edges(i, i, i+1, sees)
	}
	if err != nil {
		b.undo(before)
		return 0, err
	}
	return i, nil
}

// AddGroup appends nodes that are encoded together and returns the index of the first. sees lists the sources of each; they
// may be nodes added before and all nodes of the group, which have the indices from [LayoutBuilder.Len] on. The query
// cannot be one of them. Everything else is as in Add.
func (b *LayoutBuilder) AddGroup(nodes []Node, sees [][]Seen) (int, error) {
	if len(nodes) == 0 || len(sees) != len(nodes) {
		return 0, fmt.Errorf("posenc: a group of %d nodes with lists of sources for %d", len(nodes), len(sees))
	}
	before, lo := b.l, len(b.l.nodes)
	var err error
	for _, n := range nodes {
		switch {
		case n.Kind == QueryNode && len(nodes) > 1:
			err = b.fail(len(b.l.nodes), n, "the query cannot be encoded together with others")
		case !n.Repair.IsZero() && len(nodes) > 1:
			err = b.fail(len(b.l.nodes), n, "a repair cannot be encoded together with others")
		default:
			err = b.node(n)
		}
		if err != nil {
			break
		}
	}
	for k := 0; err == nil && k < len(nodes); k++ {
		err = b.edges(lo+k, lo, lo+len(nodes), sees[k])
	}
	if err != nil {
		b.undo(before)
		return 0, err
	}
	if len(nodes) > 1 {
		b.l.groups = append(b.l.groups, span{int32(lo), int32(lo + len(nodes))})
	}
	return lo, nil
}

func (b *LayoutBuilder) fail(i int, n Node, format string, args ...any) error {
	return fmt.Errorf("posenc: node %d (%s): "+format, append([]any{i, n}, args...)...)
}

// undo forgets what was added after before.
func (b *LayoutBuilder) undo(before Layout) {
	n := len(before.nodes)
	b.readers = b.readers[:n]
	for i, r := range b.readers { // errors are rare
		if int(r) > n {
			b.readers[i] = 0 // the index is used again
		}
	}
	b.l = before
	b.done = n > 0 && before.nodes[n-1].Kind == QueryNode
}

// node appends a node without its sources.
func (b *LayoutBuilder) node(n Node) error {
	i := len(b.l.nodes)
	fail := func(format string, args ...any) error { return b.fail(i, n, format, args...) }
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
	b.l.nodes = append(b.l.nodes, n)
	b.l.tokens += n.Len
	b.readers = append(b.readers, 0)
	b.done = n.Kind == QueryNode
	return nil
}

// edges appends the sources of node i, one of the group of nodes [lo, hi).
func (b *LayoutBuilder) edges(i, lo, hi int, sees []Seen) error {
	nodes, orInGroup := b.l.nodes, ""
	if hi-lo > 1 {
		orInGroup = " and is no other node of the group"
	}
	fail := func(format string, args ...any) error { return b.fail(i, nodes[i], format, args...) }
	ranked := -1 // base of the ranked sources
	for _, s := range sees {
		switch {
		case s.Node < 0 || int(s.Node) >= hi || int(s.Node) == i:
			return fail("source %d does not come earlier%s", s.Node, orInGroup)
		case b.readers[s.Node] == int32(i)+1:
			return fail("source %d (%s) is listed twice", s.Node, nodes[s.Node])
		case s.Score < 0 || int(s.Score) > len(b.scores.table):
			return fail("source %d (%s): unknown score %d", s.Node, nodes[s.Node], s.Score)
		case s.Base < 0:
			return fail("source %d (%s): base %d, want at least 0", s.Node, nodes[s.Node], s.Base)
		case int(s.Base) > MaxPosition-nodes[s.Node].Len:
			return fail("source %d (%s): base %d and length %d reach beyond position %d",
				s.Node, nodes[s.Node], s.Base, nodes[s.Node].Len, MaxPosition)
		case s.Ranked && ranked >= 0 && ranked != int(s.Base):
			return fail("source %d (%s): base %d, other ranked sources have %d", s.Node, nodes[s.Node], s.Base, ranked)
		}
		if s.Ranked {
			ranked, b.l.ranked = int(s.Base), true
		}
		b.readers[s.Node] = int32(i) + 1
	}
	b.l.seen = append(b.l.seen, sees...)
	b.l.rowPtr = append(b.l.rowPtr, len(b.l.seen))
	end := b.l.reach(i)
	if end > MaxPosition+1 {
		return fail("its ranked sources reach beyond position %d", MaxPosition)
	}
	b.l.end = max(b.l.end, end)
	return nil
}

// reach returns one more than the largest position that a node and its sources take up.
func (l *Layout) reach(i int) int {
	end, ranked := l.nodes[i].Base+l.nodes[i].Len, 0
	for _, s := range l.Sees(i) {
		n := l.nodes[s.Node].Len
		if s.Ranked {
			ranked += n
			n = ranked // they stand end to end
		}
		end = max(end, int(s.Base)+n)
	}
	return end
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
