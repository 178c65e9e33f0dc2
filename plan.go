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

// Mask lowers the plan to a block-sparse attention mask over its tokens.
func (p *Plan) Mask(blockSize int) (*mask.Mask, error) { return mask.New(p.layout, blockSize) }

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
	Pairs        int64 // (query token, key token) pairs attended to, per layer and head
	CausalPairs  int64 // pairs if all tokens stood in one causal sequence
}

// Cost counts a plan's tokens and attention pairs.
func (p *Plan) Cost() Cost {
	l := p.layout
	c := Cost{Nodes: l.Len(), Edges: l.NumEdges(), Tokens: l.Tokens(), QueryTokens: l.Node(l.Query()).Len}
	for i := range l.Len() {
		n := int64(l.Node(i).Len)
		if l.Node(i).Bidirectional {
			c.Pairs += n * n
		} else {
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

	Bidirectional bool `json:"bidirectional,omitempty"`
}

type planSeen struct {
	ID    string        `json:"id"`
	Base  int           `json:"base"`
	Scale float32       `json:"scale,omitempty"`
	Bias  []biasFloat32 `json:"bias,omitempty"`
	Power float32       `json:"power,omitempty"`
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
// [posenc.Score].
func (p *Plan) MarshalJSON() ([]byte, error) {
	f := planFile{Nodes: make([]planNode, p.Len())}
	for i := range f.Nodes {
		node := p.layout.Node(i)
		n := planNode{ID: p.ids[i], Base: node.Base, Tokens: p.tokens[i], Sees: []planSeen{}, Bidirectional: node.Bidirectional}
		for _, s := range p.layout.Sees(i) {
			score := p.layout.Score(s)
			seen := planSeen{ID: p.ids[s.Node], Base: int(s.Base), Scale: score.Scale, Power: score.Power}
			for _, b := range score.Bias {
				seen.Bias = append(seen.Bias, biasFloat32(b))
			}
			n.Sees = append(n.Sees, seen)
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
// A node may see only nodes before it. Unknown fields and unknown or repeated ids
// are errors that name them.
func ParsePlan(data []byte) (*Plan, error) {
	var f planFile
	if err := decodeStrict(data, &f); err != nil {
		return nil, fmt.Errorf("graphkv: plan: %w", err)
	}
	if len(f.Nodes) == 0 {
		return nil, errors.New("graphkv: plan: no nodes")
	}
	p := &Plan{}
	index := make(map[string]int32, len(f.Nodes))
	b := posenc.NewLayoutBuilder()
	for i, n := range f.Nodes {
		if _, dup := index[n.ID]; dup {
			return nil, fmt.Errorf("graphkv: plan: node %q is listed twice", n.ID)
		}
		sees := make([]posenc.Seen, len(n.Sees))
		for j, s := range n.Sees {
			k, ok := index[s.ID]
			if !ok {
				return nil, fmt.Errorf("graphkv: plan: node %q sees %q, which is not a node before it", n.ID, s.ID)
			}
			if s.Base < 0 || s.Base > posenc.MaxPosition {
				return nil, fmt.Errorf("graphkv: plan: node %q sees %q at %d, which is out of range", n.ID, s.ID, s.Base)
			}
			score := posenc.Score{Scale: s.Scale, Power: s.Power}
			for _, x := range s.Bias {
				score.Bias = append(score.Bias, float32(x))
			}
			number, err := b.Score(score)
			if err != nil {
				return nil, fmt.Errorf("graphkv: plan: node %q sees %q: %w", n.ID, s.ID, err)
			}
			sees[j] = posenc.Seen{Node: k, Base: int32(s.Base), Score: number}
		}
		node := posenc.Node{Kind: posenc.SegmentNode, Segment: i, Base: n.Base, Len: len(n.Tokens), Bidirectional: n.Bidirectional}
		if i == len(f.Nodes)-1 {
			node.Kind, node.Segment = posenc.QueryNode, -1
		}
		if _, err := b.Add(node, sees...); err != nil {
			return nil, fmt.Errorf("graphkv: plan: node %q: %w", n.ID, err)
		}
		index[n.ID] = int32(i)
		p.ids = append(p.ids, n.ID)
		p.tokens = append(p.tokens, n.Tokens)
	}
	var err error
	p.layout, err = b.Layout()
	return p, err
}
