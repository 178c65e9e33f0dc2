// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"log/slog"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/mask"
)

// trace answers a chat request, always as a stream, and tells in it what happened on the
// way: an event for the plan and its mask, one when all nodes are at hand with where each
// came from, the answer piece by piece, its figures, and what every reader read.
func (x *exchange) trace() error {
	var q chatRequest
	if err := x.decode(&q); err != nil {
		return err
	}
	turn, err := x.readChat(&q)
	if err != nil {
		return err
	}
	release, err := x.admit()
	if err != nil {
		return err
	}
	defer release()
	r, err := x.converse(turn.messages, &q.extension)
	if err != nil {
		return err
	}
	p, err := x.compile("messages", r)
	if err != nil {
		return err
	}
	p = p.WithMaxTokens(turn.maxTokens).WithStop(q.Stop...)
	x.logPrompt(func() []slog.Attr {
		return []slog.Attr{slog.Any("messages", turn.messages), slog.Any("documents", q.Documents)}
	})
	plan, err := tracedPlanOf(p, r)
	if err != nil {
		return refused("messages", err)
	}
	stream := x.events()
	if err := stream.emit(plan); err != nil {
		return err
	}
	return stream.close(x.traced(stream, p, turn))
}

// traced runs a plan and tells.
func (x *exchange) traced(stream *events, p *graphkv.Plan, turn chatTurn) error {
	var origins []graphkv.NodeOrigin
	tell := func() error { // what the engine has told meanwhile
		if origins == nil {
			return nil
		}
		e := tracedOrigins{"prepared", origins}
		origins = nil
		return stream.emit(e)
	}
	result, err := x.answer(p, func(text string) error {
		if err := tell(); err != nil {
			return err
		}
		return stream.emit(tracedText{"text", text})
	}, graphkv.WithSampling(turn.sampling), graphkv.OnPrepared(func(o []graphkv.NodeOrigin) { origins = o }))
	if err != nil {
		return err
	}
	if err := tell(); err != nil {
		return err
	}
	if err := stream.emit(tracedResult{"done", result}); err != nil {
		return err
	}
	explanation, err := x.engine.Explain(x.ctx, p, graphkv.ExplainAnswer(result.Tokens), graphkv.InNamespace(x.info.Namespace))
	if err != nil {
		return err
	}
	return stream.emit(tracedReaders{"read", tracedReadersOf(explanation)})
}

type tracedPlan struct {
	Event string       `json:"event"` // "plan"
	Nodes []tracedNode `json:"nodes"`
	Mask  tracedMask   `json:"mask"`
}

type tracedNode struct {
	ID      string `json:"id"`
	Segment string `json:"segment,omitempty"` // the document's id
	Round   int    `json:"round"`
	Tokens  int    `json:"tokens"`
	Base    int    `json:"base"`
}

// tracedMask is a mask's blocks that are not empty, as [row, column, "full" or "partial"].
type tracedMask struct {
	Block   int      `json:"block"` // tokens along a block's side
	Side    int      `json:"side"`  // blocks along the mask's side
	Tokens  int      `json:"tokens"`
	Density float64  `json:"density"`
	Blocks  [][3]any `json:"blocks"`
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

// tracedReader is a reader's attention, summed up over layers and heads.
type tracedReader struct {
	ID    string       `json:"id"`
	Reads []tracedRead `json:"reads"`
}

type tracedRead struct {
	ID   string  `json:"id"`
	Mass float64 `json:"mass"`
}

func tracedPlanOf(p *graphkv.Plan, r *graphkv.Request) (*tracedPlan, error) {
	l := p.Layout()
	m, err := p.Mask(min(maskBlock(l.Tokens()), mask.MaxBlockSize))
	if err != nil {
		return nil, err
	}
	e := &tracedPlan{Event: "plan", Mask: tracedMask{Block: m.BlockSize(), Side: m.Side(), Tokens: m.Tokens(), Density: m.Density()}}
	for i := range l.Len() {
		n := l.Node(i)
		node := tracedNode{ID: p.ID(i), Round: n.Round, Tokens: n.Len, Base: n.Base}
		if n.Segment >= 0 && n.Segment < len(r.Segments) {
			node.Segment = r.Segments[n.Segment].ID
		}
		e.Nodes = append(e.Nodes, node)
	}
	for b := range m.All() {
		e.Mask.Blocks = append(e.Mask.Blocks, [3]any{b.Row, b.Col, b.Kind.String()})
	}
	return e, nil
}

func tracedReadersOf(x *graphkv.Explanation) []tracedReader {
	out := make([]tracedReader, len(x.Readers))
	for i, r := range x.Readers {
		out[i] = tracedReader{ID: r.ID, Reads: make([]tracedRead, len(r.Reads))}
		for j, s := range r.Reads {
			out[i].Reads[j] = tracedRead{s.ID, s.Mass}
		}
	}
	return out
}

// strategy is one of the list of strategies.
type strategy struct {
	ID    graphkv.Strategy `json:"id"`
	About string           `json:"about"`
}

// listStrategies lists what "graphkv": {"strategy": …} may name.
func (x *exchange) listStrategies() error {
	var list []strategy
	for _, s := range graphkv.Strategies() {
		list = append(list, strategy{s, s.About()})
	}
	return x.write(200, struct {
		Object string     `json:"object"`
		Data   []strategy `json:"data"`
	}{"list", list})
}
