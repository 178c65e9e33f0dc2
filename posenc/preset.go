// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"math"
	"slices"
)

// MaxEdges is the largest number of (reader, source) pairs that a preset builds. It keeps the presets whose edges grow with
// the square of the number of segments from exhausting memory.
const MaxEdges = 1 << 27

// pieces are the lengths that every preset starts from.
type pieces struct {
	prefix   int // 0: no prefix node
	segments []int
	query    int
	sum      int // of all segments
	longest  int // segment
}

func newPieces(prefix int, segments []int, query int) (pieces, error) {
	p := pieces{prefix: prefix, segments: segments, query: query}
	if prefix < 0 || prefix > MaxPosition {
		return p, fmt.Errorf("posenc: prefix of %d tokens, want 0 to %d", prefix, MaxPosition)
	}
	if query < 1 || query > MaxPosition {
		return p, fmt.Errorf("posenc: query of %d tokens, want 1 to %d", query, MaxPosition)
	}
	if len(segments) > MaxPosition {
		return p, fmt.Errorf("posenc: %d segments, the limit is %d", len(segments), MaxPosition)
	}
	for i, n := range segments {
		if n < 1 || n > MaxPosition {
			return p, fmt.Errorf("posenc: segment %d of %d tokens, want 1 to %d", i, n, MaxPosition)
		}
		p.sum += n
		p.longest = max(p.longest, n)
	}
	return p, nil
}

// check refuses a layout that would reach beyond MaxPosition or have more than MaxEdges edges, before it is built.
func (p pieces) check(end, edges int) error {
	if end > MaxPosition {
		return fmt.Errorf("posenc: the layout needs %d positions, the limit is %d", end, MaxPosition)
	}
	if edges > MaxEdges {
		return fmt.Errorf("posenc: the layout of %d segments needs %d edges, the limit is %d", len(p.segments), edges, MaxEdges)
	}
	return nil
}

// preset is a layout under construction together with what the query sees of it. The first error sticks.
type preset struct {
	pieces
	b     *LayoutBuilder
	query []Seen
	err   error
}

func (p pieces) begin(nodes, edges int) *preset {
	return &preset{pieces: p, b: newLayoutBuilder(nodes, edges), query: make([]Seen, 0, nodes)}
}

func (p *preset) add(n Node, sees ...Seen) int {
	if p.err != nil {
		return 0
	}
	var i int
	i, p.err = p.b.Add(n, sees...)
	return i
}

// segment adds segment s and lets nobody see it yet.
func (p *preset) segment(s, round, base int, sees ...Seen) int {
	return p.add(Node{Kind: SegmentNode, Segment: s, Round: round, Base: base, Len: p.segments[s]}, sees...)
}

// addPrefix adds the prefix, if there is one, and shows it to the query in front of everything else.
func (p *preset) addPrefix() {
	if p.prefix == 0 {
		return
	}
	i := p.add(Node{Kind: PrefixNode, Segment: -1, Len: p.prefix})
	p.query = append([]Seen{{Node: int32(i)}}, p.query...)
}

// show lets the query see a node at the given base.
func (p *preset) show(node, base int) {
	p.query = append(p.query, Seen{Node: int32(node), Base: int32(base)})
}

// finish adds the query.
func (p *preset) finish(base int) (*Layout, error) {
	p.add(Node{Kind: QueryNode, Segment: -1, Base: base, Len: p.pieces.query}, p.query...)
	if p.err != nil {
		return nil, p.err
	}
	return p.b.Layout()
}

// Sequential lays out one text: prefix, segments and query stand one after the other, and each sees all before it. It has
// n(n+1)/2 edges or more for n segments. A prefix of length 0 means no prefix.
func Sequential(prefix int, segments []int, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	edges := (n + 1) * (n + 2) / 2
	if err := in.check(prefix+in.sum+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(n+2, edges)
	p.addPrefix()
	base := prefix
	for s, length := range segments {
		i := p.segment(s, 0, base, p.query...)
		p.show(i, base)
		base += length
	}
	return p.finish(base)
}

// Block encodes every segment alone, at base 0, and shows them to the query laid end to end after the prefix, segment i from
// P + Σ{L_k : k < i} on (Block-Attention, Ma et al., 2024).
func Block(prefix int, segments []int, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	if err := in.check(prefix+in.sum+query, n+1); err != nil {
		return nil, err
	}
	p := in.begin(n+2, n+1)
	p.addPrefix()
	base := prefix
	for s, length := range segments {
		p.show(p.segment(s, 0, 0), base)
		base += length
	}
	return p.finish(base)
}

// PCW encodes every segment alone and lets all of them share the positions that start after the prefix, [P, P+L_i); the query
// stands after the longest, at P + max L (Parallel Context Windows, Ratner et al., 2023).
func PCW(prefix int, segments []int, query int) (*Layout, error) {
	return APE(prefix, segments, APEOptions{Temperature: 1, Scale: 1}, query)
}

// APEOptions are the choices of the APE preset.
type APEOptions struct {
	// Temperature divides the query's scores against the segments, Scale multiplies the log-sum-exp of all of them
	// together, after the temperature has. Both are above 0; the published defaults are 0.9.
	Temperature, Scale float64
	// SharedPrefix lets the segments attend to the prefix, as published. Their keys and values then depend on it.
	SharedPrefix bool
}

// APE is PCW with softer edges from the segments to the query (Adaptive Parallel Encoding, Yang et al., 2025). With the
// scores s_j of the query against the keys of all segments, these weigh together
//
//	exp( Scale·T · log Σ_j exp(s_j / T) )
//
// against the prefix and the query itself, and share that among themselves as softmax(s_j / T).
func APE(prefix int, segments []int, opts APEOptions, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		name  string
		value float64
	}{{"temperature", opts.Temperature}, {"scale", opts.Scale}} {
		if !(x.value > 0) || math.IsInf(x.value, 0) {
			return nil, fmt.Errorf("posenc: APE's %s is %v, want a finite number above 0", x.name, x.value)
		}
	}
	n := len(segments)
	edges := n + 1
	if opts.SharedPrefix {
		edges += n
	}
	if err := in.check(prefix+in.longest+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(n+2, edges)
	p.addPrefix()
	var shared []Seen
	if opts.SharedPrefix {
		shared = slices.Clone(p.query)
	}
	score := Score{Scale: float32(1 / opts.Temperature), Power: float32(opts.Scale * opts.Temperature)}
	if score.Scale == 0 || score.Power == 0 { // which would stand for 1
		return nil, fmt.Errorf("posenc: APE's temperature is %v and its scale %v, which float32 has no numbers for", opts.Temperature, opts.Scale)
	}
	number, err := p.b.Score(score)
	if err != nil {
		return nil, err
	}
	for s := range segments {
		i := p.segment(s, 0, prefix, shared...)
		p.query = append(p.query, Seen{Node: int32(i), Base: int32(prefix), Score: number})
	}
	return p.finish(prefix + in.longest)
}

// GraphKV is the full Graph-KV layout for retrieved passages (Wang et al., 2025): round 0 encodes every segment alone; round
// 1 encodes every segment again, attending to round 0 of all of them, its own included, laid end to end from 0, and standing
// at ΣL itself. The query sees the prefix, round 0 of all and round 1 of all, end to end, and stands at P + 2ΣL. It has n²+2n
// edges or one more for n segments.
func GraphKV(prefix int, segments []int, query int) (*Layout, error) {
	return twoRounds(prefix, segments, query, len(segments))
}

// GraphKVTopK is GraphKV with a round 1 that attends to round 0 of the last k segments only (Wang et al., 2025); the segments
// are expected in ascending order of relevance. k is at least 1; with k at or above the number of segments the layout is GraphKV's.
func GraphKVTopK(prefix int, segments []int, query, k int) (*Layout, error) {
	if k < 1 {
		return nil, fmt.Errorf("posenc: top k of %d, want at least 1", k)
	}
	return twoRounds(prefix, segments, query, min(k, len(segments)))
}

func twoRounds(prefix int, segments []int, query, k int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	edges := n*k + 2*n + 1
	if err := in.check(prefix+2*in.sum+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(2*n+2, edges)
	base := prefix
	sources := make([]Seen, 0, k)
	total := 0 // of the sources
	for s, length := range segments {
		i := p.segment(s, 0, 0)
		p.show(i, base)
		base += length
		if s >= n-k {
			sources = append(sources, Seen{Node: int32(i), Base: int32(total)})
			total += length
		}
	}
	for s, length := range segments {
		p.show(p.segment(s, 1, total, sources...), base)
		base += length
	}
	p.addPrefix()
	return p.finish(base)
}

// EgoGraph is a centre and the neighbours it attends to, as indices of segments.
type EgoGraph struct {
	Center     int
	Neighbours []int
}

// Ego lets segment center attend to all other segments, as Graph-KV does for a paper and what it cites (Wang et al., 2025).
// These share the positions after the prefix, [P, P+L_i); the centre stands after the longest of them, at P + max L, and the
// query, which sees everything, after the centre.
func Ego(prefix int, segments []int, center, query int) (*Layout, error) {
	if center < 0 || center >= len(segments) {
		return nil, fmt.Errorf("posenc: center %d of %d segments", center, len(segments))
	}
	e := EgoGraph{Center: center, Neighbours: make([]int, 0, len(segments)-1)}
	for s := range segments {
		if s != center {
			e.Neighbours = append(e.Neighbours, s)
		}
	}
	return EgoBatch(prefix, segments, []EgoGraph{e}, query)
}

// EgoBatch puts several ego graphs side by side, each laid out as by Ego on the same range of positions. The query sees all
// of them and stands after the one that reaches farthest. A segment that belongs to several graphs is a node in each; a
// segment that belongs to none is an error.
func EgoBatch(prefix int, segments []int, egos []EgoGraph, query int) (*Layout, error) {
	in, err := newPieces(prefix, segments, query)
	if err != nil {
		return nil, err
	}
	longest, reach, err := in.egos(egos)
	if err != nil {
		return nil, err
	}
	nodes, edges := 2, 1
	for _, e := range egos {
		nodes += 1 + len(e.Neighbours)
		edges += 1 + 2*len(e.Neighbours)
	}
	if err := in.check(prefix+reach+query, edges); err != nil {
		return nil, err
	}
	p := in.begin(nodes, edges)
	var sources []Seen
	for g, e := range egos {
		sources = sources[:0]
		for _, s := range e.Neighbours {
			i := p.segment(s, 0, prefix)
			p.show(i, prefix)
			sources = append(sources, Seen{Node: int32(i), Base: int32(prefix)})
		}
		base := prefix + longest[g]
		p.show(p.segment(e.Center, 0, base, sources...), base)
	}
	p.addPrefix()
	return p.finish(prefix + reach)
}

// egos checks the graphs and returns the length of each one's longest neighbour, and how many positions the graph that
// reaches farthest takes up after the prefix.
func (p pieces) egos(egos []EgoGraph) (longest []int, reach int, err error) {
	last := make([]int, len(p.segments)) // 1 + the last graph that holds the segment
	longest = make([]int, len(egos))
	for g, e := range egos {
		hold := func(role string, s int) error {
			if s < 0 || s >= len(p.segments) {
				return fmt.Errorf("posenc: ego graph %d: %s %d of %d segments", g, role, s, len(p.segments))
			}
			if last[s] == g+1 {
				return fmt.Errorf("posenc: ego graph %d: %s %d is listed twice", g, role, s)
			}
			last[s] = g + 1
			return nil
		}
		if err := hold("center", e.Center); err != nil {
			return nil, 0, err
		}
		for _, s := range e.Neighbours {
			if err := hold("neighbour", s); err != nil {
				return nil, 0, err
			}
			longest[g] = max(longest[g], p.segments[s])
		}
		reach = max(reach, longest[g]+p.segments[e.Center])
	}
	for s, g := range last {
		if g == 0 {
			return nil, 0, fmt.Errorf("posenc: segment %d belongs to no ego graph", s)
		}
	}
	return longest, reach, nil
}
