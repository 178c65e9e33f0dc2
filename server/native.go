// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/mask"
	"github.com/graphkv/graphkv/model/sample"
)

// nativeOptions are the fields of a native request that are not the library's.
type nativeOptions struct {
	Stream   bool           `json:"stream"`
	Sampling nativeSampling `json:"sampling"`
	Block    *int           `json:"block"` // tokens along the side of a block of the mask
	Nodes    *[]string      `json:"nodes"` // to explain, besides the query and the answer; none said: all that have sources
}

type nativeSampling struct {
	TopK int     `json:"top_k"`
	TopP float64 `json:"top_p"`
	MinP float64 `json:"min_p"`
	Seed uint64  `json:"seed"`
}

// native is a request in the library's own form: the fields of a [graphkv.Request], or
// "plan" with a plan in its exchange form and what may be said beside it, and the
// options. A segment that has an id only is a registered document.
type native struct {
	nativeOptions
	request     *graphkv.Request
	plan        *graphkv.Plan
	temperature float64
	length      bool // of the answer is said
}

func (n *native) UnmarshalJSON(data []byte) error {
	fields, err := fieldsOf(data)
	if err != nil {
		return err
	}
	take := func(name string, v any) error {
		raw, ok := fields[name]
		if !ok {
			return nil
		}
		delete(fields, name)
		if json.Unmarshal(raw, v) != nil {
			return invalid(name, "invalid_type", "%s is not of the type that belongs there", name)
		}
		return nil
	}
	for name, v := range map[string]any{"stream": &n.Stream, "sampling": &n.Sampling, "block": &n.Block, "nodes": &n.Nodes} {
		if err := take(name, v); err != nil {
			return err
		}
	}
	_, n.length = fields["max_tokens"]
	plan, planned := fields["plan"]
	delete(fields, "plan")
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if planned {
		return n.readPlan(plan, fields, rest)
	}
	n.request = new(graphkv.Request)
	if err := json.Unmarshal(rest, n.request); err != nil {
		return invalid("", "invalid_value", "%v", err)
	}
	n.temperature = n.request.Temperature
	return checkStops(n.request.Stop)
}

// fieldsOf takes an object apart. Unlike the json package it refuses names that are
// repeated, as the library does in all below.
func fieldsOf(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, invalid("", "invalid_type", "the body is not a JSON object")
	}
	fields := make(map[string]json.RawMessage)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		key := name.(string) // all names are, or the decoder had refused it
		if _, ok := fields[key]; ok {
			return nil, invalid(key, "invalid_value", "%s is there twice", key)
		}
		fields[key] = value
	}
	return fields, nil
}

// readPlan reads a plan, and what a request can say of its answer.
func (n *native) readPlan(plan json.RawMessage, fields map[string]json.RawMessage, rest []byte) (err error) {
	for name := range fields {
		switch name {
		case "max_tokens", "temperature", "stop":
		default:
			return invalid(name, "invalid_value", "%s cannot be said beside a plan, which says all about the graph", name)
		}
	}
	var answer graphkv.Request
	if err := json.Unmarshal(rest, &answer); err != nil {
		return invalid("", "invalid_value", "%v", err)
	}
	if n.plan, err = graphkv.ParsePlan(plan); err != nil {
		return invalid("plan", "invalid_value", "%v", err)
	}
	if err := checkStops(answer.Stop); err != nil {
		return err
	}
	n.temperature = answer.Temperature
	n.plan = n.plan.WithMaxTokens(answer.MaxTokens).WithStop(answer.Stop...)
	return nil
}

// native reads a request, waits until it may run, and makes its plan.
func (x *exchange) native() (*native, *graphkv.Plan, error) {
	n := new(native)
	if err := x.decode(n); err != nil {
		return nil, nil, err
	}
	if err := x.admit(); err != nil {
		return nil, nil, err
	}
	p, err := x.planOf(n)
	return n, p, err
}

// planOf returns a request's plan, or makes it.
func (x *exchange) planOf(n *native) (*graphkv.Plan, error) {
	if n.plan != nil {
		if k := n.plan.Len(); k > x.limits.Segments {
			return nil, tooLarge("plan", "too_many_segments", "the plan has %d nodes, the limit is %d", k, x.limits.Segments)
		}
		return n.plan, x.checkPlan("plan", n.plan)
	}
	for i := range n.request.Segments {
		s := &n.request.Segments[i]
		if s.Text != "" || s.Tokens != nil {
			continue
		}
		known, ok := x.documents.get(x.info.Namespace, s.ID)
		if !ok {
			return nil, unknownDocument("segments", s.ID)
		}
		s.Tokens = known.tokens
	}
	return x.compile("", n.request)
}

// wireResult is an answer in the library's form.
type wireResult struct {
	Strategy graphkv.Strategy `json:"strategy,omitempty"`
	*graphkv.Result
}

// asked reads a request for an answer, and how to sample it.
func (x *exchange) asked() (n *native, p *graphkv.Plan, sampling sample.Params, err error) {
	if n, p, err = x.native(); err != nil {
		return nil, nil, sampling, err
	}
	if !n.length {
		p = p.WithMaxTokens(min(graphkv.DefaultMaxTokens, x.limits.MaxTokens))
	}
	if k := p.MaxTokens(); k > x.limits.MaxTokens {
		return nil, nil, sampling, invalid("max_tokens", "max_tokens_too_large", "max_tokens is %d, the limit is %d", k, x.limits.MaxTokens)
	}
	sampling = sample.Params{Temperature: n.temperature, TopK: n.Sampling.TopK, TopP: n.Sampling.TopP, MinP: n.Sampling.MinP, Seed: n.Sampling.Seed}
	if _, err := sample.New(sampling); err != nil {
		return nil, nil, sampling, invalid("sampling", "invalid_value", "%v", err)
	}
	if n.request != nil {
		x.logPrompt(func() []slog.Attr { return []slog.Attr{slog.Any("request", n.request)} })
	}
	return n, p, sampling, nil
}

func (x *exchange) generate() error {
	n, p, sampling, err := x.asked()
	if err != nil {
		return err
	}
	if !n.Stream {
		result, err := x.answer(p, nil, graphkv.WithSampling(sampling))
		if err != nil {
			return err
		}
		return x.write(http.StatusOK, wireResult{p.Strategy(), result})
	}
	stream := x.events()
	result, err := x.answer(p, func(text string) error {
		return stream.emit(struct {
			Text string `json:"text"`
		}{text})
	}, graphkv.WithSampling(sampling))
	if err != nil {
		return stream.close(err)
	}
	err = stream.emit(struct {
		Result wireResult `json:"result"`
	}{wireResult{p.Strategy(), result}})
	if err != nil {
		return err
	}
	return stream.close(nil)
}

// explain answers, and says what the answer, the question and the nodes have read; see
// [graphkv.Engine.Explain].
func (x *exchange) explain() error {
	n, p, sampling, err := x.asked()
	if err != nil {
		return err
	}
	var options []graphkv.ExplainOption
	if n.Nodes != nil {
		options = append(options, graphkv.ExplainNodes(*n.Nodes...))
	}
	size, err := x.engine.ExplanationSize(p, options...)
	if err != nil {
		return err
	}
	if size > x.limits.Explained {
		return tooLarge("nodes", "explanation_too_large", "the explanation has %d numbers, the limit is %d; choose nodes", size, x.limits.Explained)
	}
	result, err := x.answer(p, nil, graphkv.WithSampling(sampling))
	if err != nil {
		return err
	}
	options = append(options, graphkv.ExplainAnswer(result.Tokens), graphkv.InNamespace(x.info.Namespace))
	explanation, err := x.engine.Explain(x.ctx, p, options...)
	if err != nil {
		return err
	}
	explanation.Answer = result
	return x.write(http.StatusOK, explanation)
}

// prepare encodes what is missing of a plan, so that a later request finds it.
func (x *exchange) prepare() error {
	_, p, err := x.native()
	if err != nil {
		return err
	}
	usage, err := x.engine.Prepare(x.ctx, p, graphkv.InNamespace(x.info.Namespace))
	if err != nil {
		return err
	}
	x.out.Strategy, x.out.Usage = p.Strategy(), usage
	return x.write(http.StatusOK, struct {
		Strategy graphkv.Strategy `json:"strategy,omitempty"`
		Usage    graphkv.Usage    `json:"usage"`
	}{p.Strategy(), usage})
}

// defaultMaskSide is about how many blocks the mask of a plan has along its side when
// the client does not say how long a block is.
const defaultMaskSide = 48

// maskBlock is how long a block is by default.
func maskBlock(tokens int) int {
	return min(max(1, (tokens+defaultMaskSide-1)/defaultMaskSide), mask.MaxBlockSize)
}

// maskBlocks is how many blocks along its side the mask may have.
const maskBlocks = 512

// planned is what a plan asks of the machine, and how its mask looks.
type planned struct {
	Strategy graphkv.Strategy `json:"strategy,omitempty"`
	Cost     cost             `json:"cost"`
	Mask     *maskSummary     `json:"mask"` // null: which tokens a repair encodes is not known before it is run
	Plan     *graphkv.Plan    `json:"plan"`
}

type cost struct {
	Nodes       int   `json:"nodes"`
	Edges       int   `json:"edges"`
	Tokens      int   `json:"tokens"`
	QueryTokens int   `json:"query_tokens"`
	Pairs       int64 `json:"pairs"`
	CausalPairs int64 `json:"causal_pairs"`
}

type maskSummary struct {
	Block   int      `json:"block"` // tokens along a block's side
	Side    int      `json:"side"`  // blocks along the mask's side
	Full    int      `json:"full"`
	Partial int      `json:"partial"`
	Empty   int      `json:"empty"`
	Density float64  `json:"density"` // share of pairs that are attended to
	Rows    []string `json:"rows"`    // a character per block: '#' full, '+' partial, '.' empty
}

// plan shows a plan without running it.
func (x *exchange) plan() error {
	n, p, err := x.native()
	if err != nil {
		return err
	}
	tokens := p.Layout().Tokens()
	block := maskBlock(tokens)
	if n.Block != nil {
		block = *n.Block
		if block < 1 || (tokens+block-1)/block > maskBlocks {
			return invalid("block", "invalid_value", "blocks of %d tokens; with %d tokens, blocks are to have at least %d", block, tokens, (tokens+maskBlocks-1)/maskBlocks)
		}
	}
	m, err := p.Mask(min(block, mask.MaxBlockSize))
	if err != nil && !errors.Is(err, graphkv.ErrRepairUnknown) {
		return refused("block", err)
	}
	c := p.Cost()
	return x.write(http.StatusOK, planned{
		Strategy: p.Strategy(), Plan: p, Mask: summary(m),
		Cost: cost{c.Nodes, c.Edges, c.Tokens, c.QueryTokens, c.Pairs, c.CausalPairs},
	})
}

func summary(m *mask.Mask) *maskSummary {
	if m == nil {
		return nil
	}
	side := m.Side()
	s := &maskSummary{Block: m.BlockSize(), Side: side, Full: m.NumFull(), Partial: m.NumPartial(), Density: m.Density()}
	s.Empty = side*side - s.Full - s.Partial
	s.Rows = strings.Split(strings.TrimRight(m.Picture(max(side, 1), nil), "\n"), "\n")
	return s
}
