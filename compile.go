// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"errors"
	"fmt"
	"slices"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

// Tokenizer turns text into a model's token ids.
type Tokenizer interface {
	// Encode appends the ids of text to dst. Special tokens that the text spells
	// out are parsed only if special is set.
	Encode(dst []int32, text string, special bool) []int32
}

// CompileOptions say what is known of the model that a plan is for.
type CompileOptions struct {
	Tokenizer Tokenizer // nil: every piece must come as tokens
	Context   int       // positions allowed; 0: no limit
	// PromptTokens bounds the tokens of all nodes together; 0: [DefaultPromptTokens].
	PromptTokens int
	Heads        int // query heads of the model, which [Request.Biases] are for
}

// Compile lowers a request to a plan without a model. [Engine.Compile] does it for
// an engine's. Pieces are tokenised separately and never merged.
//
// Strategies that do not look at edges, or at the centre, ignore them, so that one
// request can be compared under several; unknown ends are an error in any case.
func Compile(r *Request, o CompileOptions) (*Plan, error) {
	if r == nil {
		return nil, errNilRequest
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	c, err := newCompiler(r, o)
	if err != nil {
		return nil, err
	}
	if err := c.checkSize(o); err != nil {
		return nil, err
	}
	layout, err := c.layout()
	if err != nil {
		return nil, err
	}
	if r.Bidirectional {
		segments := layout
		layout, err = layout.WithBidirectional(func(i int) bool { return segments.Node(i).Kind == posenc.SegmentNode })
		if err != nil {
			return nil, err
		}
	}
	if layout, err = c.bias(layout, o.Heads); err != nil {
		return nil, err
	}
	p := c.plan(layout)
	if o.Context > 0 {
		if err := p.checkContext(o.Context); err != nil {
			return nil, err
		}
	}
	return p, nil
}

type compiler struct {
	r             *Request
	graph         *graph.Graph // the segments, tokenised, and the edges
	prefix, query []int32
	lengths       []int
	hierarchy     *hierarchy // of hdt
}

func newCompiler(r *Request, o CompileOptions) (*compiler, error) {
	c := &compiler{r: r}
	tokens := func(name string, text string, ids []int32, special bool) ([]int32, error) {
		switch {
		case text != "" && ids != nil:
			return nil, fmt.Errorf("graphkv: %s has both text and tokens", name)
		case text == "":
			return slices.Clone(ids), nil
		case o.Tokenizer == nil:
			return nil, fmt.Errorf("graphkv: %s is text, and without a model only tokens can be used", name)
		}
		return o.Tokenizer.Encode(nil, text, special), nil
	}
	var err error
	if c.prefix, err = tokens("the prefix", r.Prefix.Text, r.Prefix.Tokens, true); err != nil {
		return nil, err
	}
	if c.query, err = tokens("the query", r.Query.Text, r.Query.Tokens, true); err != nil {
		return nil, err
	}
	if len(c.query) == 0 {
		return nil, errors.New("graphkv: the query is empty")
	}
	if c.strategy() == HDT {
		if c.hierarchy, err = newHierarchy(r.HDT, tokens); err != nil {
			return nil, err
		}
	}
	segments := make([]graph.Segment, len(r.Segments))
	c.lengths = make([]int, len(r.Segments))
	for i, s := range r.Segments {
		var ids []int32
		if c.hierarchy != nil {
			ids, err = c.hierarchy.add(s, tokens)
		} else {
			ids, err = tokens(fmt.Sprintf("segment %q", s.ID), s.Text, s.Tokens, false)
		}
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("graphkv: segment %q is empty", s.ID)
		}
		segments[i] = graph.Segment{ID: s.ID, Tokens: ids}
		c.lengths[i] = len(ids)
	}
	edges := make([]graph.Edge, len(r.Edges))
	for i, e := range r.Edges {
		edges[i] = graph.Edge{Source: e[0], Target: e[1]}
	}
	var opts []graph.Option
	if c.strategy() == DAG && r.Rounds > 0 {
		opts = append(opts, graph.SelfEdges()) // a segment may read its own last round
	}
	if c.graph, err = graph.FromEdges(segments, edges, opts...); err != nil {
		return nil, fmt.Errorf("graphkv: %w", err)
	}
	return c, nil
}

// checkSize refuses a request by its size before anything is built for it.
func (c *compiler) checkSize(o CompileOptions) error {
	limit := o.PromptTokens
	if limit == 0 {
		limit = DefaultPromptTokens
	}
	sum := 0
	for _, n := range c.lengths {
		sum += n
	}
	copies, extra := 1, 0 // of every segment; tokens of other nodes
	switch c.strategy() {
	case GraphKV, GraphKVTopK:
		copies = 2
	case DAG:
		copies += min(c.r.Rounds, limit)
	case CacheBlend:
		extra = c.origins(posenc.Repair{Fraction: c.r.Repair.fraction()})
	case EPIC:
		extra = c.origins(posenc.Repair{First: c.r.Repair.first()})
	case HDT:
		extra = c.hierarchy.tokens()
	}
	if tokens := len(c.prefix) + copies*sum + extra + len(c.query); tokens > limit {
		return &PromptError{Tokens: tokens, Limit: limit}
	}
	return nil
}

// origins returns the number of tokens that are encoded alone to be repaired.
func (c *compiler) origins(r posenc.Repair) int {
	sum := 0
	for i, n := range c.lengths {
		if k := r.Tokens(n); 0 < k && k < n && (i > 0 || len(c.prefix) > 0) {
			sum += n
		}
	}
	return sum
}

func (c *compiler) layout() (*posenc.Layout, error) {
	prefix, lengths, query := len(c.prefix), c.lengths, len(c.query)
	switch c.strategy() {
	case Sequential:
		return posenc.Sequential(prefix, lengths, query)
	case Block:
		return posenc.Block(prefix, lengths, query)
	case PCW:
		return posenc.PCW(prefix, lengths, query)
	case APE:
		return posenc.APE(prefix, lengths, c.r.APE.options(), query)
	case PINE:
		return posenc.PINE(prefix, lengths, query)
	case GraphKV:
		return posenc.GraphKV(prefix, lengths, query)
	case GraphKVTopK:
		if c.r.TopK == 0 {
			return nil, errors.New("graphkv: strategy graphkv-topk needs top_k of at least 1")
		}
		return posenc.GraphKVTopK(prefix, lengths, query, c.r.TopK)
	case Ego:
		center, err := c.ego()
		if err != nil {
			return nil, err
		}
		return posenc.Ego(prefix, lengths, center, query)
	case EgoBatch:
		egos, err := c.egos()
		if err != nil {
			return nil, err
		}
		return posenc.EgoBatch(prefix, lengths, egos, query)
	case DAG:
		return c.dag()
	case HDT:
		return c.hdt()
	case CacheBlend:
		return posenc.CacheBlend(prefix, lengths, query, c.r.Repair.fraction())
	case EPIC:
		return posenc.EPIC(prefix, lengths, query, c.r.Repair.first())
	}
	return nil, fmt.Errorf("graphkv: unknown strategy %q (have %v)", c.r.Strategy, Strategies())
}

func (c *compiler) strategy() Strategy {
	if c.r.Strategy == "" {
		return GraphKV
	}
	return c.r.Strategy
}

func (c *compiler) center() (int, error) {
	i, ok := c.graph.Index(c.r.Center)
	if !ok {
		return 0, fmt.Errorf("graphkv: center %q is not a segment", c.r.Center)
	}
	return i, nil
}

// ego finds the centre and checks that every other segment is one of its sources.
// Without any edges all of them are.
func (c *compiler) ego() (int, error) {
	if c.r.Center == "" {
		return 0, errors.New("graphkv: strategy ego needs a center")
	}
	center, err := c.center()
	if err != nil || c.graph.NumEdges() == 0 {
		return center, err
	}
	for i := range c.graph.Len() {
		if i != center && !c.graph.HasEdgeFromTo(int64(i), int64(center)) {
			return 0, fmt.Errorf("graphkv: segment %q is neither the center %q nor one of its sources", c.graph.Segment(i).ID, c.r.Center)
		}
	}
	return center, nil
}

// egos makes every segment that has sources a centre, and every segment without
// any edge one of its own.
func (c *compiler) egos() ([]posenc.EgoGraph, error) {
	var egos []posenc.EgoGraph
	for i := range c.graph.Len() {
		sources := c.graph.Sources(i)
		if len(sources) == 0 && len(c.graph.Targets(i)) > 0 {
			continue
		}
		e := posenc.EgoGraph{Center: i}
		for _, s := range sources {
			if len(c.graph.Sources(int(s))) > 0 {
				return nil, fmt.Errorf("graphkv: segment %q is a source of %q and has sources itself; in ego-batch it must be one or the other",
					c.graph.Segment(int(s)).ID, c.graph.Segment(i).ID)
			}
			e.Neighbours = append(e.Neighbours, int(s))
		}
		egos = append(egos, e)
	}
	return egos, nil
}

// dag lays the graph out as it is. With a centre, only that and its ancestors.
func (c *compiler) dag() (*posenc.Layout, error) {
	o := posenc.DAGOptions{Rounds: c.r.Rounds, Positions: posenc.Shared}
	if len(c.r.VisibleRounds) > 0 {
		o.VisibleRounds = c.r.VisibleRounds
	}
	if c.r.Positions == SequentialPositions {
		o.Positions = posenc.SequentialPositions
	}
	if c.r.Center != "" {
		center, err := c.center()
		if err != nil {
			return nil, err
		}
		set := c.graph.Ancestors(center)
		set.Add(uint32(center))
		for it := set.Iterator(); it.HasNext(); {
			o.Visible = append(o.Visible, int(it.Next()))
		}
	}
	return posenc.DAG(len(c.prefix), c.lengths, c.graph, o, len(c.query))
}

// plan names the layout's nodes and gives them their tokens.
func (c *compiler) plan(l *posenc.Layout) *Plan {
	p := &Plan{
		strategy: c.strategy(), layout: l,
		ids: make([]string, l.Len()), tokens: make([][]int32, l.Len()),
		maxTokens: c.r.MaxTokens, temperature: c.r.Temperature, stop: slices.Clone(c.r.Stop),
	}
	used := make(map[string]int, l.Len()) // how many nodes are called after a name
	var next []named                      // nodes of the document at hand, in hdt
	for i := range p.ids {
		n := l.Node(i)
		switch n.Kind {
		case posenc.PrefixNode:
			p.ids[i], p.tokens[i] = "prefix", c.prefix
		case posenc.QueryNode:
			p.ids[i], p.tokens[i] = "query", c.query
		default:
			s := c.graph.Segment(n.Segment)
			p.ids[i], p.tokens[i] = fmt.Sprintf("kv%d.%s", n.Round, s.ID), s.Tokens
			if c.hierarchy != nil {
				if len(next) == 0 {
					next = c.hierarchy.nodes(n.Segment, s.ID)
				}
				p.ids[i], p.tokens[i], next = next[0].id, next[0].tokens, next[1:]
			}
			// A source of several ego graphs is a node in each.
			p.ids[i] = unused(p.ids[i], used)
		}
	}
	return p
}

// unused returns a name, with a number behind it if it is used already, and counts it in.
func unused(name string, used map[string]int) string {
	id := name
	for used[id] > 0 {
		used[name]++
		id = fmt.Sprintf("%s#%d", name, used[name])
	}
	used[id] = 1
	return id
}
