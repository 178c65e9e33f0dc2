// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"cmp"
	"fmt"
	"math"

	"github.com/graphkv/graphkv/graph"
	"github.com/graphkv/graphkv/posenc"
)

// Strategy names a preset: which nodes there are, what they attend to, and where
// they stand. See the package documentation for the table.
type Strategy string

const (
	Sequential  Strategy = "sequential"
	Block       Strategy = "block"
	PCW         Strategy = "pcw"
	APE         Strategy = "ape"
	PINE        Strategy = "pine"
	GraphKV     Strategy = "graphkv"
	GraphKVTopK Strategy = "graphkv-topk"
	Ego         Strategy = "ego"
	EgoBatch    Strategy = "ego-batch"
	DAG         Strategy = "dag"
	HDT         Strategy = "hdt"
	CacheBlend  Strategy = "cacheblend"
	EPIC        Strategy = "epic"
)

// Strategies returns the presets in the order of the documentation.
func Strategies() []Strategy {
	return []Strategy{Sequential, Block, PCW, APE, PINE, GraphKV, GraphKVTopK, Ego, EgoBatch, DAG, HDT, CacheBlend, EPIC}
}

// Positions says how the [DAG] strategy lays segments out.
type Positions string

const (
	SharedPositions     Positions = "shared"     // segments of one depth share a range (the default)
	SequentialPositions Positions = "sequential" // one after the other in encoding order
)

// DefaultMaxTokens is how long an answer may grow when a request does not say.
const DefaultMaxTokens = 256

// NoTokens as a request's MaxTokens asks for no answer, only for the logits.
const NoTokens = -1

// Piece is a stretch of text, or of token ids where the caller has tokenised it.
// In JSON it is a string, {"text": …} or {"tokens": […]}.
type Piece struct {
	Text   string
	Tokens []int32
}

// Text returns a piece of text.
func Text(s string) Piece { return Piece{Text: s} }

// Tokens returns a piece of token ids.
func Tokens(ids ...int32) Piece { return Piece{Tokens: ids} }

// Segment is a piece that is encoded once and read by others.
type Segment struct {
	ID     string  `json:"id"`
	Text   string  `json:"text,omitempty"`
	Tokens []int32 `json:"tokens,omitempty"`
}

// Edge lets its target attend to its source: {source id, target id}.
type Edge [2]string

// APEParams are the settings of the [APE] strategy.
type APEParams struct {
	Temperature float64 `json:"temperature,omitempty"` // of the segments' scores; 0 for the published 0.9
	Scale       float64 `json:"scale,omitempty"`       // of their log-sum-exp; 0 for the published 0.9
	// SharedPrefix lets the segments attend to the prefix, as published. It is off by
	// default, so that segments are shared between prefixes and with pcw and block.
	SharedPrefix bool `json:"shared_prefix,omitempty"`
}

// defaultAPE is the temperature and scaling factor of the published code.
const defaultAPE = 0.9

func (a APEParams) options() posenc.APEOptions {
	return posenc.APEOptions{Temperature: cmp.Or(a.Temperature, defaultAPE), Scale: cmp.Or(a.Scale, defaultAPE), SharedPrefix: a.SharedPrefix}
}

// RepairParams are the settings of the strategies [CacheBlend] and [EPIC], which encode
// a part of every segment again.
type RepairParams struct {
	// Fraction is the part of a segment's tokens in cacheblend, 0 to 1; nil for
	// [DefaultRepairFraction].
	Fraction *float64 `json:"fraction,omitempty"`
	// First is the number of a segment's first tokens in epic; nil for
	// [DefaultRepairFirst].
	First *int `json:"first,omitempty"`
}

const (
	// DefaultRepairFraction is what the authors of CacheBlend recommend.
	DefaultRepairFraction = 0.15
	// DefaultRepairFirst is in the range, up to 32, that the authors of EPIC recommend.
	DefaultRepairFirst = 16
)

func (r RepairParams) fraction() float64 {
	if r.Fraction == nil {
		return DefaultRepairFraction
	}
	return *r.Fraction
}

func (r RepairParams) first() int {
	if r.First == nil {
		return DefaultRepairFirst
	}
	return *r.First
}

// Request is a question over segments. Its JSON form is the one that the command
// reads; see [ParseRequest].
//
// Text of the prefix and the query is the application's own, so special tokens in
// it (a chat template's <|im_start|>) are parsed. Text of segments is foreign:
// nothing in it ever becomes a special token. A caller that puts foreign text into
// the query should tokenise that part itself and give tokens. Nothing is added: a
// model that wants a beginning-of-sequence token finds it in its chat template, or
// in a prefix that spells it out.
type Request struct {
	Strategy Strategy `json:"strategy,omitempty"` // empty: graphkv
	// TopK is the number of segments that each segment of graphkv-topk attends to:
	// the last ones, as segments are listed in ascending relevance.
	TopK int `json:"top_k,omitempty"`
	// Rounds is the number of rounds of message passing of dag. 0 encodes every
	// segment once, after its sources, which the edges must allow; r ≥ 1 encodes it
	// alone and then r times more, each time over its sources' previous round.
	Rounds int `json:"rounds,omitempty"`
	// VisibleRounds are the rounds of dag that the query sees, 0 to Rounds; empty for
	// the last.
	VisibleRounds []int `json:"visible_rounds,omitempty"`
	// APE softens what the query sees of the segments in ape.
	APE APEParams `json:"ape,omitzero"`
	// Repair says how much of every segment cacheblend and epic encode again.
	Repair RepairParams `json:"repair,omitzero"`
	// HDT has the anchors of hdt.
	HDT       HDTParams `json:"hdt,omitzero"`
	Positions Positions `json:"positions,omitempty"`
	// Bidirectional lets every token of a segment see all of the segment, as in models
	// that are trained as encoders. Strategies that encode parts of segments again,
	// cacheblend and epic, cannot do it.
	Bidirectional bool      `json:"bidirectional,omitempty"`
	Prefix        Piece     `json:"prefix,omitzero"`
	Segments      []Segment `json:"segments,omitempty"`
	Edges         []Edge    `json:"edges,omitempty"`
	// Biases say how loudly edges speak, whatever the strategy. They need the number of
	// the model's heads.
	Biases Biases `json:"biases,omitempty"`
	// Center is the segment that ego puts after its sources. With dag it narrows the
	// graph to that segment and its ancestors.
	Center string `json:"center,omitempty"`
	Query  Piece  `json:"query"`

	MaxTokens   int      `json:"-"` // 0: DefaultMaxTokens; NoTokens: none
	Temperature float64  `json:"temperature,omitempty"`
	Stop        []string `json:"stop,omitempty"`
}

// WithGraph returns a copy of the request that is over the segments and edges of a
// graph, for example the part of a corpus that [graph.Graph.Fit] has left. If all of them
// are the request's, its biases stay with them wherever they stand.
func (r *Request) WithGraph(g *graph.Graph) *Request {
	q := *r
	place := make(map[string]int, len(r.Segments))
	for i, s := range r.Segments {
		place[s.ID] = i
	}
	var order []int
	for i := range g.Len() {
		if was, ok := place[g.ID(i)]; ok {
			order = append(order, was)
		}
	}
	if len(order) == g.Len() {
		q.Biases = r.Biases.reordered(order, len(r.Segments))
	}
	q.Segments = make([]Segment, g.Len())
	q.Edges = make([]Edge, 0, g.NumEdges())
	for i := range q.Segments {
		s := g.Segment(i)
		q.Segments[i] = Segment{ID: s.ID, Text: s.Text, Tokens: s.Tokens}
		for _, source := range g.Sources(i) {
			q.Edges = append(q.Edges, Edge{g.ID(int(source)), s.ID})
		}
	}
	return &q
}

// ParseRequest reads a request's JSON form. Unknown or repeated names, bytes that
// are not UTF-8, and anything after the object are an error. There, max_tokens of 0
// asks for no answer; leaving it out stands for [DefaultMaxTokens].
func ParseRequest(data []byte) (*Request, error) {
	var r Request
	if err := r.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("graphkv: request: %w", err)
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *Request) validate() error {
	switch {
	case r.Rounds < 0:
		return fmt.Errorf("graphkv: rounds is %d, want at least 0", r.Rounds)
	case r.TopK < 0:
		return fmt.Errorf("graphkv: top_k is %d, want at least 0", r.TopK)
	case r.Positions != "" && r.Positions != SharedPositions && r.Positions != SequentialPositions:
		return fmt.Errorf("graphkv: positions is %q, want %q or %q", r.Positions, SharedPositions, SequentialPositions)
	case !(r.Repair.fraction() >= 0 && r.Repair.fraction() <= 1):
		return fmt.Errorf("graphkv: repair of a fraction of %v, want 0 to 1", r.Repair.fraction())
	case r.Repair.first() < 0:
		return fmt.Errorf("graphkv: repair of the first %d tokens, want at least 0", r.Repair.first())
	case r.MaxTokens < NoTokens:
		return fmt.Errorf("graphkv: max_tokens is %d, want at least 0", r.MaxTokens)
	case math.IsNaN(r.Temperature) || r.Temperature < 0 || math.IsInf(r.Temperature, 0):
		return fmt.Errorf("graphkv: temperature is %g, want a finite number of at least 0", r.Temperature)
	}
	return nil
}

// IsZero reports whether the piece is empty.
func (p Piece) IsZero() bool { return p.Text == "" && len(p.Tokens) == 0 }
