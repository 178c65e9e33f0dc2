// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/posenc"
)

// Plan is a request made concrete: nodes with their tokens in encoding order, what
// each of them attends to, and where everything stands. The last node is the
// query. A plan belongs to no engine and holds no cache; it is immutable and may
// be used any number of times, by many goroutines at once.
type Plan struct {
	strategy    Strategy // empty for a plan read from a file
	ids         []string
	tokens      [][]int32
	layout      *posenc.Layout
	maxTokens   int
	temperature float64
	stop        []string
}

// Layout returns the plan's nodes, edges and positions.
func (p *Plan) Layout() *posenc.Layout { return p.layout }

// Len returns the number of nodes.
func (p *Plan) Len() int { return len(p.ids) }

// ID returns the name of node i: "kv<round>.<segment>", "prefix" or "query", or
// whatever a plan file calls it.
func (p *Plan) ID(i int) string { return p.ids[i] }

// Tokens returns the token ids of node i, not to be changed.
func (p *Plan) Tokens(i int) []int32 { return p.tokens[i] }

// Strategy returns the preset that the plan was compiled from; it is empty for a
// plan read from a file.
func (p *Plan) Strategy() Strategy { return p.strategy }

// Mask lowers the plan to a block-sparse attention mask over its tokens. A plan with
// repairs is put through [Plan.Lower] first, so that the mask is over the lowered plan's
// tokens, or the error wraps [ErrRepairUnknown].
func (p *Plan) Mask(blockSize int) (*mask.Mask, error) {
	lowered, err := p.Lower(nil)
	if err != nil {
		return nil, err
	}
	return mask.New(lowered.layout, blockSize)
}

// Lower returns the plan with every node that is a repair replaced by ordinary nodes that
// compute the same: one for each stretch of tokens that is encoded; see
// [posenc.Layout.Lower]. A node that is a part of one of p's is named after that and its
// tokens: "kv1.a[3:5]". A plan without repairs is returned as it is.
//
// repaired is what [Engine.Repaired] has returned. Without it only a plan whose repairs
// are all of first tokens can be lowered; the error of others wraps [ErrRepairUnknown].
func (p *Plan) Lower(repaired [][]int) (*Plan, error) {
	for i := range p.Len() {
		if r := p.layout.Node(i).Repair; r.Fraction > 0 && repaired == nil {
			return nil, fmt.Errorf("graphkv: node %q repairs %q: %w", p.ids[i], p.ids[r.Of], ErrRepairUnknown)
		}
	}
	layout, from, err := p.layout.Lower(repaired)
	if err != nil {
		return nil, fmt.Errorf("graphkv: %w", err)
	}
	if layout == p.layout {
		return p, nil
	}
	q := *p
	q.layout, q.ids, q.tokens = layout, make([]string, len(from)), make([][]int32, len(from))
	used := make(map[string]int, len(from))
	for _, id := range p.ids {
		used[id] = 1
	}
	for i, s := range from {
		q.ids[i], q.tokens[i] = p.ids[s.Node], p.tokens[s.Node][s.From:s.To]
		if len(q.tokens[i]) < len(p.tokens[s.Node]) {
			q.ids[i] = unused(fmt.Sprintf("%s[%d:%d]", q.ids[i], s.From, s.To), used)
		}
	}
	return &q, nil
}

// MaxTokens returns after how many tokens the plan's answer ends: 0 if it is to have
// none, [DefaultMaxTokens] if nothing else was said.
func (p *Plan) MaxTokens() int {
	if p.maxTokens == 0 {
		return DefaultMaxTokens
	}
	return max(p.maxTokens, 0)
}

// WithMaxTokens returns a copy of the plan whose answer ends after n tokens;
// [NoTokens] asks for none, 0 for [DefaultMaxTokens].
func (p *Plan) WithMaxTokens(n int) *Plan {
	q := *p
	q.maxTokens = n
	return &q
}

// WithStop returns a copy of the plan whose answer ends before any of these texts.
func (p *Plan) WithStop(texts ...string) *Plan {
	q := *p
	q.stop = slices.Clone(texts)
	return &q
}

// check refuses a plan that was not made by Compile or ParsePlan.
func (p *Plan) check() error {
	if p == nil || p.layout == nil {
		return errNoPlan
	}
	return nil
}

// checkContext wraps a [posenc.ContextError] that names the first node past limit.
func (p *Plan) checkContext(limit int) error {
	if err := p.layout.CheckContext(limit, p.ID); err != nil {
		return fmt.Errorf("graphkv: %w", err)
	}
	return nil
}

// Cost says what a plan asks of a machine when nothing is cached.
type Cost struct {
	Nodes, Edges int
	Tokens       int   // tokens to encode, the query's included
	QueryTokens  int   // tokens that are left to encode when everything else is cached
	Pairs        int64 // (query token, key token) pairs attended to, per layer and head; at most, if not known before
	CausalPairs  int64 // pairs if all tokens stood in one causal sequence
}

// Cost counts a plan's tokens and attention pairs.
func (p *Plan) Cost() Cost {
	l := p.layout
	c := Cost{Nodes: l.Len(), Edges: l.NumEdges(), QueryTokens: l.Node(l.Query()).Len}
	for i := range l.Len() {
		node := l.Node(i)
		n, whole := int64(l.Encodes(i)), int64(node.Len)
		c.Tokens += int(n)
		switch {
		case node.Bidirectional:
			c.Pairs += n * n
		case node.Repair.Fraction > 0:
			c.Pairs += n*whole - n*(n-1)/2 // the last tokens see most
		default:
			c.Pairs += n * (n + 1) / 2
		}
		for _, s := range l.Sees(i) {
			c.Pairs += n * int64(l.Node(int(s.Node)).Len)
		}
	}
	t := int64(c.Tokens)
	c.CausalPairs = t * (t + 1) / 2
	return c
}

// planFile is the exchange form of a plan.
type planFile struct {
	Nodes []planNode `json:"nodes"`
}

type planNode struct {
	ID     string     `json:"id"`
	Base   int        `json:"base"`
	Tokens []int32    `json:"tokens"`
	Sees   []planSeen `json:"sees"`

	Bidirectional bool        `json:"bidirectional,omitempty"`
	Group         int         `json:"group,omitempty"`
	Repair        *planRepair `json:"repair,omitempty"`
}

type planRepair struct {
	Of       string  `json:"of"`
	First    int     `json:"first,omitempty"`
	Fraction float64 `json:"fraction,omitempty"`
}

type planSeen struct {
	ID    string        `json:"id"`
	Base  int           `json:"base"`
	Scale float32       `json:"scale,omitempty"`
	Bias  []biasFloat32 `json:"bias,omitempty"`
	Power float32       `json:"power,omitempty"`

	Ranked bool `json:"ranked,omitempty"`
}

// biasFloat32 is a number of a bias in JSON, where null stands for −Inf, which hides a
// source from a head.
type biasFloat32 float32

// MarshalJSON writes a number or null.
func (b biasFloat32) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(b), -1) {
		return []byte("null"), nil
	}
	return json.Marshal(float32(b))
}

// UnmarshalJSON reads a number or null.
func (b *biasFloat32) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*b = biasFloat32(math.Inf(-1))
		return nil
	}
	return json.Unmarshal(data, (*float32)(b))
}

// MarshalJSON writes the plan's exchange form:
//
//	{"nodes": [{"id", "base", "tokens", "sees": [{"id", "base"}…]}…]}
//
// in encoding order, the query last. A node may have "bidirectional", and what it sees
// "scale", "bias" (a number per head, null hides the source from it) and "power", see
// [posenc.Score], and "ranked", see [posenc.Seen]. Neighbours with the same number above 0
// for "group" are encoded together and may see one another, see [posenc.Layout.Group]. A node that is a repair has
//
//	"repair": {"of": id, "first": tokens} or {"of": id, "fraction": number}
//
// where the other node has the same tokens, see [posenc.Repair].
func (p *Plan) MarshalJSON() ([]byte, error) {
	f := planFile{Nodes: make([]planNode, p.Len())}
	groups := 0
	for i := range f.Nodes {
		node := p.layout.Node(i)
		n := planNode{ID: p.ids[i], Base: node.Base, Tokens: p.tokens[i], Sees: []planSeen{}, Bidirectional: node.Bidirectional}
		for _, s := range p.layout.Sees(i) {
			score := p.layout.Score(s)
			seen := planSeen{ID: p.ids[s.Node], Base: int(s.Base), Scale: score.Scale, Power: score.Power, Ranked: s.Ranked}
			for _, b := range score.Bias {
				seen.Bias = append(seen.Bias, biasFloat32(b))
			}
			n.Sees = append(n.Sees, seen)
		}
		if r := node.Repair; !r.IsZero() {
			n.Repair = &planRepair{Of: p.ids[r.Of], First: r.First, Fraction: r.Fraction}
		}
		if lo, hi := p.layout.Group(i); hi-lo > 1 {
			if i == lo {
				groups++
			}
			n.Group = groups
		}
		f.Nodes[i] = n
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads the plan's exchange form, as [ParsePlan] does.
func (p *Plan) UnmarshalJSON(data []byte) error {
	q, err := ParsePlan(data)
	if err != nil {
		return err
	}
	*p = *q
	return nil
}

// ParsePlan reads a plan's exchange form as it stands: any graph, any positions.
// A node may see only nodes before it and those of its group. Unknown fields and unknown
// or repeated ids are errors that name them.
func ParsePlan(data []byte) (*Plan, error) {
	var f planFile
	if err := decodeStrict(data, &f); err != nil {
		return nil, fmt.Errorf("graphkv: plan: %w", err)
	}
	if len(f.Nodes) == 0 {
		return nil, errors.New("graphkv: plan: no nodes")
	}
	r := planReader{nodes: f.Nodes, index: make(map[string]int32, len(f.Nodes)), b: posenc.NewLayoutBuilder(), closed: map[int]bool{}}
	p := &Plan{}
	for lo := 0; lo < len(f.Nodes); {
		hi := lo + 1
		if g := f.Nodes[lo].Group; g != 0 {
			for hi < len(f.Nodes) && f.Nodes[hi].Group == g {
				hi++
			}
		}
		if err := r.group(lo, hi); err != nil {
			return nil, fmt.Errorf("graphkv: plan: %w", err)
		}
		lo = hi
	}
	for _, n := range f.Nodes {
		p.ids = append(p.ids, n.ID)
		p.tokens = append(p.tokens, n.Tokens)
	}
	var err error
	p.layout, err = r.b.Layout()
	return p, err
}

// planReader builds a layout from a plan file.
type planReader struct {
	nodes  []planNode
	index  map[string]int32
	b      *posenc.LayoutBuilder
	closed map[int]bool // groups that have been read
}

// repair reads what node i is a repair of.
func (r *planReader) repair(i int) (posenc.Repair, error) {
	n := &r.nodes[i]
	if n.Repair == nil {
		return posenc.Repair{}, nil
	}
	of, ok := r.index[n.Repair.Of]
	switch {
	case !ok || int(of) >= i:
		return posenc.Repair{}, fmt.Errorf("node %q repairs %q, which is not a node before it", n.ID, n.Repair.Of)
	case !slices.Equal(n.Tokens, r.nodes[of].Tokens):
		return posenc.Repair{}, fmt.Errorf("node %q repairs %q, which has other tokens", n.ID, n.Repair.Of)
	case n.Repair.First == 0 && n.Repair.Fraction == 0:
		return posenc.Repair{}, fmt.Errorf("node %q repairs %q, but nothing of it", n.ID, n.Repair.Of)
	}
	return posenc.Repair{Of: int(of), First: n.Repair.First, Fraction: n.Repair.Fraction}, nil
}

// group reads nodes [lo, hi), which are encoded together.
func (r *planReader) group(lo, hi int) error {
	for i := lo; i < hi; i++ {
		n := &r.nodes[i]
		if _, dup := r.index[n.ID]; dup {
			return fmt.Errorf("node %q is listed twice", n.ID)
		}
		if n.Group < 0 || r.closed[n.Group] {
			return fmt.Errorf("node %q is of group %d, which is not a number above 0 or does not stand together", n.ID, n.Group)
		}
		r.index[n.ID] = int32(i)
	}
	if g := r.nodes[lo].Group; g != 0 {
		r.closed[g] = true
	}
	nodes, sees := make([]posenc.Node, hi-lo), make([][]posenc.Seen, hi-lo)
	for i := lo; i < hi; i++ {
		n := &r.nodes[i]
		nodes[i-lo] = posenc.Node{Kind: posenc.SegmentNode, Segment: i, Base: n.Base, Len: len(n.Tokens), Bidirectional: n.Bidirectional}
		if i == len(r.nodes)-1 {
			nodes[i-lo].Kind, nodes[i-lo].Segment = posenc.QueryNode, -1
		}
		var err error
		if nodes[i-lo].Repair, err = r.repair(i); err != nil {
			return err
		}
		for _, s := range n.Sees {
			seen, err := r.seen(i, hi-lo, s)
			if err != nil {
				return err
			}
			sees[i-lo] = append(sees[i-lo], seen)
		}
	}
	if hi-lo > 1 {
		if _, err := r.b.AddGroup(nodes, sees); err != nil {
			return fmt.Errorf("nodes from %q on: %w", r.nodes[lo].ID, err)
		}
		return nil
	}
	if _, err := r.b.Add(nodes[0], sees[0]...); err != nil {
		return fmt.Errorf("node %q: %w", r.nodes[lo].ID, err)
	}
	return nil
}

// seen reads a source of node i, one of a group of so many.
func (r *planReader) seen(i, group int, s planSeen) (posenc.Seen, error) {
	n := &r.nodes[i]
	k, ok := r.index[s.ID]
	if !ok || int(k) == i {
		wanted := "not a node before it"
		if group > 1 {
			wanted = "neither a node before it nor another of its group"
		}
		return posenc.Seen{}, fmt.Errorf("node %q sees %q, which is %s", n.ID, s.ID, wanted)
	}
	if s.Base < 0 || s.Base > posenc.MaxPosition {
		return posenc.Seen{}, fmt.Errorf("node %q sees %q at %d, which is out of range", n.ID, s.ID, s.Base)
	}
	score := posenc.Score{Scale: s.Scale, Power: s.Power}
	for _, x := range s.Bias {
		score.Bias = append(score.Bias, float32(x))
	}
	number, err := r.b.Score(score)
	if err != nil {
		return posenc.Seen{}, fmt.Errorf("node %q sees %q: %w", n.ID, s.ID, err)
	}
	return posenc.Seen{Node: k, Base: int32(s.Base), Score: number, Ranked: s.Ranked}, nil
}
