// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net/http"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/mask"
)

// trace answers a chat request, always as a stream, and tells in it what happened on the
// way. Events have a name in their field "event": "plan" with the nodes; "prepared" when
// all nodes are at hand, with where each came from; "text" for every piece of the answer;
// "done" with its figures; "read" with what every reader paid attention to, or, of a plan
// with more edges than [Limits.Explained] allows, the query and the answer alone; "mask"
// with the blocks of the attention mask.
func (x *exchange) trace() error {
	var q chatRequest
	t, err := x.turn(&q)
	if err != nil {
		return err
	}
	stream := x.events()
	if err := stream.emit(tracedPlanOf(t)); err != nil {
		return err
	}
	return stream.close(x.traced(stream, t))
}

// traced runs a turn and tells.
func (x *exchange) traced(stream *events, t *turn) error {
	var origins []graphkv.NodeOrigin
	tell := func() error { // what the engine has told meanwhile
		if origins == nil {
			return nil
		}
		e := tracedOrigins{"prepared", origins}
		origins = nil
		return stream.emit(e)
	}
	result, err := x.answer(t.plan, func(text string) error {
		if err := tell(); err != nil {
			return err
		}
		return stream.emit(tracedText{"text", text})
	}, graphkv.WithSampling(t.sampling), graphkv.OnPrepared(func(o []graphkv.NodeOrigin) { origins = o }))
	if err != nil {
		return err
	}
	if err := tell(); err != nil {
		return err
	}
	if err := stream.emit(tracedResult{"done", result}); err != nil {
		return err
	}
	options := []graphkv.ExplainOption{graphkv.ExplainAnswer(result.Tokens), graphkv.InNamespace(x.info.Namespace)}
	if size, err := x.engine.ExplanationSize(t.plan); err != nil || size > x.limits.Explained {
		options = append(options, graphkv.ExplainNodes()) // none but the query and the answer
	}
	explanation, err := x.engine.Explain(x.ctx, t.plan, options...)
	if err != nil {
		return err
	}
	if err := stream.emit(tracedReadersOf(explanation)); err != nil {
		return err
	}
	e, err := x.tracedMask(t)
	if err != nil {
		return err
	}
	return stream.emit(e)
}

type tracedPlan struct {
	Event string       `json:"event"` // "plan"
	Nodes []tracedNode `json:"nodes"`
}

type tracedNode struct {
	ID      string `json:"id"`
	Segment string `json:"segment,omitempty"` // the document's id
	Round   int    `json:"round"`
	Tokens  int    `json:"tokens"`
	Base    int    `json:"base"`
}

func tracedPlanOf(t *turn) tracedPlan {
	return tracedPlan{"plan", tracedNodesOf(t.plan, t.request)}
}

func tracedNodesOf(p *graphkv.Plan, r *graphkv.Request) []tracedNode {
	nodes := make([]tracedNode, p.Len())
	for i := range nodes {
		n := p.Layout().Node(i)
		nodes[i] = tracedNode{ID: p.ID(i), Round: n.Round, Tokens: n.Len, Base: n.Base}
		if n.Segment >= 0 && n.Segment < len(r.Segments) {
			nodes[i].Segment = r.Segments[n.Segment].ID
		}
	}
	return nodes
}

type tracedOrigins struct {
	Event string               `json:"event"` // "prepared"
	Nodes []graphkv.NodeOrigin `json:"nodes"`
}

type tracedText struct {
	Event string `json:"event"` // "text"
	Text  string `json:"text"`
}

type tracedResult struct {
	Event string `json:"event"` // "done"
	*graphkv.Result
}

type tracedReaders struct {
	Event   string         `json:"event"` // "read"
	Readers []tracedReader `json:"readers"`
}

// tracedReader is a reader's attention, the mean over layers and heads.
type tracedReader struct {
	ID    string       `json:"id"`
	Reads []tracedRead `json:"reads"`
}

type tracedRead struct {
	ID   string  `json:"id"`
	Mass float64 `json:"mass"`
}

func tracedReadersOf(x *graphkv.Explanation) tracedReaders {
	e := tracedReaders{"read", make([]tracedReader, len(x.Readers))}
	for i, r := range x.Readers {
		e.Readers[i] = tracedReader{ID: r.ID, Reads: make([]tracedRead, len(r.Reads))}
		for j, s := range r.Reads {
			e.Readers[i].Reads[j] = tracedRead{s.ID, s.Mass}
		}
	}
	return e
}

// tracedMask is a mask over the tokens of the given nodes: the blocks that are not empty,
// as [row, column, "full" or "partial"].
type tracedMask struct {
	Event   string       `json:"event"` // "mask"
	Nodes   []tracedNode `json:"nodes"`
	Block   int          `json:"block"` // tokens along a block's side
	Side    int          `json:"side"`  // blocks along the mask's side
	Tokens  int          `json:"tokens"`
	Density float64      `json:"density"`
	Blocks  [][3]any     `json:"blocks"`
}

// tracedMask lowers a plan that has run. Which tokens some repairs encode is known only
// since then.
func (x *exchange) tracedMask(t *turn) (*tracedMask, error) {
	low, err := t.plan.Lower(nil)
	if errors.Is(err, graphkv.ErrRepairUnknown) {
		var repaired [][]int
		if repaired, err = x.engine.Repaired(x.ctx, t.plan, graphkv.InNamespace(x.info.Namespace)); err != nil {
			return nil, err
		}
		low, err = t.plan.Lower(repaired)
	}
	if err != nil {
		return nil, err
	}
	m, err := mask.New(low.Layout(), maskBlock(low.Layout().Tokens()))
	if err != nil {
		return nil, err
	}
	e := &tracedMask{
		Event: "mask", Nodes: tracedNodesOf(low, t.request),
		Block: m.BlockSize(), Side: m.Side(), Tokens: m.Tokens(), Density: m.Density(),
	}
	for b := range m.All() {
		e.Blocks = append(e.Blocks, [3]any{b.Row, b.Col, b.Kind.String()})
	}
	return e, nil
}

// listedStrategy is one of the list of strategies.
type listedStrategy struct {
	ID    graphkv.Strategy `json:"id"`
	About string           `json:"about"`
}

// listStrategies lists what a request may name.
func (x *exchange) listStrategies() error {
	var list []listedStrategy
	for _, s := range graphkv.Strategies() {
		list = append(list, listedStrategy{s, s.About()})
	}
	return x.write(http.StatusOK, struct {
		Object string           `json:"object"`
		Data   []listedStrategy `json:"data"`
	}{"list", list})
}
