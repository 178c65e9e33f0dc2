// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// Limits of a graph. Layouts number nodes with int32, and rows are addressed
// with uint32.
const (
	MaxSegments = math.MaxInt32
	MaxEdges    = math.MaxUint32
)

// Option changes what a [Builder] accepts.
type Option func(*Builder)

// SelfEdges allows edges from a segment to itself. Such a graph has no levels;
// it is meant for [Graph.Unroll].
func SelfEdges() Option {
	return func(b *Builder) { b.allowSelf = true }
}

// Builder collects segments and edges. A segment must be added before the first
// edge that names it. Every method returns the first error met; after it the
// builder takes nothing more and Build returns the same error, so a caller may
// check once at the end.
//
// A Builder is not safe for concurrent use.
type Builder struct {
	allowSelf      bool
	segments       []Segment
	index          map[string]uint32
	source, target []uint32 // edges in order of insertion
	self           bool
	err            error
}

// NewBuilder returns an empty builder.
func NewBuilder(opts ...Option) *Builder {
	b := &Builder{index: make(map[string]uint32)}
	for _, o := range opts {
		o(b)
	}
	return b
}

// Grow makes room for more segments and edges, to spare copies while a graph of
// known size is built. It is a hint: negative numbers are ignored.
func (b *Builder) Grow(segments, edges int) {
	if segments > 0 {
		b.segments = append(make([]Segment, 0, len(b.segments)+segments), b.segments...)
		if len(b.index) == 0 {
			b.index = make(map[string]uint32, segments)
		}
	}
	if edges > 0 {
		b.source = append(make([]uint32, 0, len(b.source)+edges), b.source...)
		b.target = append(make([]uint32, 0, len(b.target)+edges), b.target...)
	}
}

// Len returns the number of segments added so far.
func (b *Builder) Len() int { return len(b.segments) }

// AddSegment adds a segment and returns its dense index. The id must be new, not
// empty and valid UTF-8; Text and Tokens must not both be set; token ids must not
// be negative. Tokens is kept, not copied.
func (b *Builder) AddSegment(s Segment) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	i := len(b.segments)
	if err := b.checkSegment(s); err != nil {
		b.err = &SegmentError{Index: i, ID: s.ID, Err: err}
		return 0, b.err
	}
	b.index[s.ID] = uint32(i)
	b.segments = append(b.segments, s)
	return i, nil
}

func (b *Builder) checkSegment(s Segment) error {
	switch {
	case len(b.segments) >= MaxSegments:
		return fmt.Errorf("%w: the limit is %d segments", ErrTooLarge, MaxSegments)
	case s.ID == "":
		return fmt.Errorf("%w: empty", ErrBadID)
	case !utf8.ValidString(s.ID):
		return fmt.Errorf("%w: not valid UTF-8", ErrBadID)
	case s.Text != "" && len(s.Tokens) != 0:
		return fmt.Errorf("%w: both text and tokens", ErrBadSegment)
	}
	for i, t := range s.Tokens {
		if t < 0 {
			return fmt.Errorf("%w: token %d is negative (%d)", ErrBadSegment, i, t)
		}
	}
	if first, ok := b.index[s.ID]; ok {
		return fmt.Errorf("%w (first is segment %d)", ErrDuplicateSegment, first)
	}
	return nil
}

// AddEdge adds the edge source → target by id.
func (b *Builder) AddEdge(source, target string) error {
	if b.err != nil {
		return b.err
	}
	s, ok := b.index[source]
	if !ok {
		return b.failEdge(source, target, fmt.Errorf("%w %s", ErrUnknownSource, quote(source)))
	}
	t, ok := b.index[target]
	if !ok {
		return b.failEdge(source, target, fmt.Errorf("%w %s", ErrUnknownTarget, quote(target)))
	}
	return b.add(s, t)
}

// AddEdgeAt adds the edge source → target by dense index. It is the fast way to
// add many edges.
func (b *Builder) AddEdgeAt(source, target int) error {
	if b.err != nil {
		return b.err
	}
	if n := len(b.segments); uint(source) >= uint(n) || uint(target) >= uint(n) {
		end, i := ErrUnknownSource, source
		if uint(source) < uint(n) {
			end, i = ErrUnknownTarget, target
		}
		return b.failEdge(b.name(source), b.name(target), fmt.Errorf("%w: index %d of %d segments", end, i, n))
	}
	return b.add(uint32(source), uint32(target))
}

func (b *Builder) add(s, t uint32) error {
	if s == t {
		if !b.allowSelf {
			return b.failEdge(b.segments[s].ID, b.segments[t].ID, fmt.Errorf("%w: not allowed without SelfEdges", ErrSelfEdge))
		}
		b.self = true
	}
	if uint64(len(b.source)) >= MaxEdges {
		return b.failEdge(b.segments[s].ID, b.segments[t].ID, fmt.Errorf("%w: the limit is %d edges", ErrTooLarge, uint64(MaxEdges)))
	}
	b.source = append(b.source, s)
	b.target = append(b.target, t)
	return nil
}

func (b *Builder) failEdge(source, target string, err error) error {
	b.err = &EdgeError{Source: source, Target: target, Err: err}
	return b.err
}

// name names an end given as an index, which may be outside the graph.
func (b *Builder) name(i int) string {
	if uint(i) < uint(len(b.segments)) {
		return b.segments[i].ID
	}
	return fmt.Sprintf("#%d", i)
}

// Build returns the graph and leaves the builder empty, with the same options.
// It takes time linear in segments and edges. Duplicate edges are found here.
func (b *Builder) Build() (*Graph, error) {
	if b.err != nil {
		return nil, b.err
	}
	n := len(b.segments)
	g := &Graph{segments: b.segments, index: b.index, self: b.self}

	// Two counting sorts. The first is stable by target, so every row of sources
	// keeps the order of insertion; the second visits targets in ascending order,
	// so every row of targets comes out sorted.
	g.inStart = starts(n, b.target)
	g.in = make([]uint32, len(b.target))
	scratch := make([]uint32, n)
	copy(scratch, g.inStart)
	for e, t := range b.target {
		g.in[scratch[t]] = b.source[e]
		scratch[t]++
	}
	if err := g.checkDuplicates(scratch); err != nil {
		b.err = err
		return nil, err
	}
	*b = Builder{allowSelf: b.allowSelf, index: make(map[string]uint32)} // frees the edge list before the second sort

	g.outStart = starts(n, g.in)
	g.out = make([]uint32, len(g.in))
	copy(scratch, g.outStart)
	for t := range n {
		for _, s := range g.Sources(t) {
			g.out[scratch[s]] = uint32(t)
			scratch[s]++
		}
	}
	return g, nil
}

// starts returns the n+1 row offsets of a CSR whose entries belong to the given rows.
func starts(n int, rows []uint32) []uint32 {
	s := make([]uint32, n+1)
	for _, r := range rows {
		s[r+1]++
	}
	for i := range n {
		s[i+1] += s[i]
	}
	return s
}

// checkDuplicates looks for a source that stands twice in one row. seen is
// scratch space of Len entries.
func (g *Graph) checkDuplicates(seen []uint32) error {
	clear(seen)
	for t := range g.segments {
		for _, s := range g.Sources(t) {
			if seen[s] == uint32(t)+1 {
				return &EdgeError{Source: g.ID(int(s)), Target: g.ID(t), Err: ErrDuplicateEdge}
			}
			seen[s] = uint32(t) + 1
		}
	}
	return nil
}

// addSegments adds all segments in order.
func (b *Builder) addSegments(segments []Segment) error {
	b.Grow(len(segments), 0)
	for _, s := range segments {
		if _, err := b.AddSegment(s); err != nil {
			return err
		}
	}
	return nil
}

// reserve refuses a topology whose edges cannot be counted before anything of
// that size is allocated.
func (b *Builder) reserve(edges uint64) error {
	if edges > MaxEdges {
		return fmt.Errorf("graph: %w: %d segments need %d edges, the limit is %d", ErrTooLarge, len(b.segments), edges, uint64(MaxEdges))
	}
	b.Grow(0, int(edges))
	return nil
}
