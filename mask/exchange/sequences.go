// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"fmt"
	"math"

	"github.com/graphkv/graphkv/posenc"
)

// MaxSequences is the number of sequences that llama.cpp can tell apart at a time (its LLAMA_MAX_SEQ).
const MaxSequences = 256

// Sequences is a plan in the terms of llama.cpp, which executes it as it is: with one unified cache of keys and values, a
// token sees the cells of its sequence at positions up to its own, and copying a sequence adds cells to another without
// copying keys. The query is decoded last, in sequence 0, where the answer continues.
type Sequences struct {
	// Sequences is how many are in use, n_seq_max or less; Cells how many cells the cache needs, n_ctx or less.
	Sequences int    `json:"sequences"`
	Cells     int    `json:"cells"`
	Steps     []Step `json:"steps"`
}

// Op says what a step does.
type Op string

const (
	Decode Op = "decode" // llama_decode of Tokens at Position and up; steps that follow each other may share a batch
	Copy   Op = "copy"   // llama_memory_seq_cp from Sequence to To, of the positions First ≤ p < End
	Remove Op = "remove" // llama_memory_seq_rm of all of Sequence
)

// Step is one operation. In JSON, a number that is 0 may be left out.
type Step struct {
	Op       Op      `json:"op"`
	Sequence int     `json:"sequence"`
	Node     string  `json:"node,omitempty"` // whose tokens these are
	Position int     `json:"position,omitempty"`
	Tokens   []int32 `json:"tokens,omitempty"`
	To       int     `json:"to,omitempty"`
	First    int     `json:"first,omitempty"`
	End      int     `json:"end,omitempty"`
}

// SequenceError names a node that llama.cpp cannot encode as the layout wants it.
type SequenceError struct {
	Node   int // index into the layout
	Name   string
	Reason string
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("exchange: llama.cpp cannot encode %s: %s", e.Name, e.Reason)
}

// PlanSequences returns the steps with which llama.cpp encodes a layout's nodes, given their tokens, and names nodes with
// name, nil for the layout's own names. Every node is decoded once, in a sequence into which its sources' cells have been
// copied before, as soon as they were there; sequences are used again, so that maxSequences, 0 for [MaxSequences], bounds
// the nodes that wait for some of their sources and not all nodes.
//
// What llama.cpp cannot do is a *SequenceError, or a *PositionError where a node stands at different places for different
// readers: cells have one position. A sequence's positions are consecutive, so a node that has sources must begin where the
// last of them ends. Scores are the plain ones, and attention is causal.
func PlanSequences(l *posenc.Layout, tokens [][]int32, maxSequences int, name func(node int) string) (*Sequences, error) {
	if name == nil {
		name = func(node int) string { return l.Node(node).String() }
	}
	if maxSequences == 0 {
		maxSequences = MaxSequences
	}
	if maxSequences < 1 || maxSequences > MaxSequences {
		return nil, fmt.Errorf("exchange: %d sequences, want 1 to %d", maxSequences, MaxSequences)
	}
	if len(tokens) != l.Len() {
		return nil, fmt.Errorf("exchange: tokens of %d nodes, the layout has %d", len(tokens), l.Len())
	}
	places, err := Places(l, name)
	if err != nil {
		return nil, err
	}
	p := &sequencer{l: l, tokens: tokens, name: name, places: places, max: maxSequences}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.findReaders()
	if err := p.run(); err != nil {
		return nil, err
	}
	p.plan.Cells = l.Tokens()
	return &p.plan, nil
}

// sequencer makes a plan node by node, in encoding order.
type sequencer struct {
	l      *posenc.Layout
	tokens [][]int32
	name   func(int) string
	places []int
	max    int

	first   []int // nodes+1 offsets into readers
	readers []int32
	held    []int32 // the sequence of a node that is open or waits for sources; −1
	free    []int32 // sequences that were used before and are empty
	open    []int   // nodes that are decoded in one batch
	isOpen  []bool
	plan    Sequences
}

// check refuses what llama.cpp cannot do.
func (p *sequencer) check() error {
	for i := range p.l.Len() {
		n, end := p.l.Node(i), -1
		fail := func(format string, args ...any) error {
			return &SequenceError{Node: i, Name: p.name(i), Reason: fmt.Sprintf(format, args...)}
		}
		switch {
		case len(p.tokens[i]) != n.Len:
			return fmt.Errorf("exchange: %d tokens of %s, the layout has %d", len(p.tokens[i]), p.name(i), n.Len)
		case !n.Repair.IsZero():
			return fail("it repairs %s, of which only some tokens are encoded; lower the layout first", p.name(n.Repair.Of))
		case n.Bidirectional && n.Len > 1:
			return fail("its tokens see those after them, and its attention is causal")
		case p.places[i] > math.MaxInt32-n.Len:
			return fail("its position %d is too large", p.places[i])
		}
		last := -1
		for _, s := range p.l.Sees(i) {
			j := int(s.Node)
			if j >= i {
				return fail("it sees %s, which is not encoded before it", p.name(j))
			}
			if !p.l.Score(s).Neutral() {
				return fail("it sees %s with a scale, bias or power of its own", p.name(j))
			}
			if e := p.places[j] + p.l.Node(j).Len; e > end {
				end, last = e, j
			}
		}
		if last >= 0 && end != p.places[i] {
			return fail("it begins at position %d, and a sequence goes on where its last source, %s, ends: at %d", p.places[i], p.name(last), end)
		}
	}
	return nil
}

// findReaders lists every node's readers.
func (p *sequencer) findReaders() {
	n := p.l.Len()
	p.first = make([]int, n+1)
	for i := range n {
		for _, s := range p.l.Sees(i) {
			p.first[s.Node+1]++
		}
	}
	for i := range n {
		p.first[i+1] += p.first[i]
	}
	p.readers = make([]int32, p.l.NumEdges())
	next := append([]int(nil), p.first...)
	for i := range n {
		for _, s := range p.l.Sees(i) {
			p.readers[next[s.Node]] = int32(i)
			next[s.Node]++
		}
	}
	p.held, p.isOpen = make([]int32, n), make([]bool, n)
	for i := range p.held {
		p.held[i] = -1
	}
	p.held[p.l.Query()] = 0
	p.plan.Sequences = 1
}

// take gives node i a sequence if it has none, and reports whether there was one.
func (p *sequencer) take(i int) bool {
	switch n := len(p.free); {
	case p.held[i] >= 0:
	case n > 0:
		p.held[i], p.free = p.free[n-1], p.free[:n-1]
	case p.plan.Sequences < p.max:
		p.held[i] = int32(p.plan.Sequences)
		p.plan.Sequences++
	default:
		return false
	}
	return true
}

func (p *sequencer) run() error {
	for i := range p.l.Len() {
		for _, s := range p.l.Sees(i) {
			if p.isOpen[s.Node] { // its cells are not there yet
				if err := p.close(); err != nil {
					return err
				}
			}
		}
		if !p.take(i) {
			if err := p.close(); err != nil {
				return err
			}
			if !p.take(i) {
				return p.tooMany(i)
			}
		}
		p.open, p.isOpen[i] = append(p.open, i), true
		p.plan.Steps = append(p.plan.Steps, Step{
			Op: Decode, Sequence: int(p.held[i]), Node: p.name(i), Position: p.places[i], Tokens: p.tokens[i],
		})
	}
	return nil
}

// close ends a batch: every node's cells go to its readers, and its sequence becomes free.
func (p *sequencer) close() error {
	for _, i := range p.open {
		for _, r := range p.readers[p.first[i]:p.first[i+1]] {
			if !p.take(int(r)) {
				return p.tooMany(int(r))
			}
			p.plan.Steps = append(p.plan.Steps, Step{
				Op: Copy, Sequence: int(p.held[i]), To: int(p.held[r]), First: p.places[i], End: p.places[i] + p.l.Node(i).Len,
			})
		}
		p.plan.Steps = append(p.plan.Steps, Step{Op: Remove, Sequence: int(p.held[i])})
		p.free = append(p.free, p.held[i])
		p.held[i], p.isOpen[i] = -1, false
	}
	p.open = p.open[:0]
	return nil
}

func (p *sequencer) tooMany(i int) error {
	return &SequenceError{Node: i, Name: p.name(i), Reason: fmt.Sprintf("more than %d nodes wait for their sources at the same time, and there are no more sequences", p.max)}
}

// cells are tokens that one step has decoded, or some of them: they lie at consecutive positions.
type cells struct {
	position, token, n int // token: the first one's number
}

// Matrix executes the plan by llama.cpp's rules, those of its batches and of its cache, and returns what every token sees,
// tokens numbered in the order of decoding. A step against the rules is an error that names it. It is what [PlanSequences]
// is tested with, and the check of a plan that was read.
func (p *Sequences) Matrix(o ReadOptions) (*Matrix, error) {
	limit, size := o.MaxBytes, o.BlockSize
	if limit == 0 {
		limit = DefaultMaxBytes
	}
	if size == 0 {
		size = DefaultBlockSize
	}
	if p.Sequences < 1 || p.Sequences > MaxSequences {
		return nil, fmt.Errorf("exchange: %d sequences, want 1 to %d", p.Sequences, MaxSequences)
	}
	tokens := 0
	for _, s := range p.Steps {
		if s.Op == Decode {
			tokens += len(s.Tokens)
		}
	}
	b, err := newMatrix(max(tokens, 1), size, limit)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	if tokens == 0 {
		return nil, errors.New("exchange: the plan decodes nothing")
	}
	if p.Cells != tokens {
		return nil, fmt.Errorf("exchange: the plan has %d cells for %d tokens", p.Cells, tokens)
	}
	m := &machine{matrixBuilder: b, sequences: make([]map[int]cells, p.Sequences)}
	for i := range m.sequences {
		m.sequences[i] = map[int]cells{}
	}
	for i, s := range p.Steps {
		if err := m.step(i, s); err != nil {
			return nil, fmt.Errorf("exchange: step %d (%s): %w", i, s.Op, err)
		}
	}
	return b.done(), nil
}

// machine is llama.cpp's cache: which cells each sequence has, by the step that decoded them.
type machine struct {
	*matrixBuilder
	sequences []map[int]cells
	next      int // token
}

func (m *machine) step(number int, s Step) error {
	if s.Sequence < 0 || s.Sequence >= len(m.sequences) || s.To < 0 || s.To >= len(m.sequences) {
		return fmt.Errorf("sequence %d or %d of %d", s.Sequence, s.To, len(m.sequences))
	}
	switch s.Op {
	case Decode:
		return m.decode(number, s)
	case Copy:
		if s.Sequence == s.To || s.First < 0 || s.First >= s.End {
			return fmt.Errorf("positions %d to %d of sequence %d to %d", s.First, s.End, s.Sequence, s.To)
		}
		for step, c := range m.sequences[s.Sequence] {
			from, to := max(c.position, s.First), min(c.position+c.n, s.End)
			if from >= to {
				continue
			}
			part := cells{from, c.token + from - c.position, to - from}
			if there, ok := m.sequences[s.To][step]; ok && there != part {
				return fmt.Errorf("sequence %d gets tokens of step %d in pieces, which is not followed", s.To, step)
			}
			m.sequences[s.To][step] = part
		}
	case Remove:
		clear(m.sequences[s.Sequence])
	default:
		return errors.New("unknown")
	}
	return nil
}

// decode lets tokens see the cells of their sequence that lie at their position or before.
func (m *machine) decode(number int, s Step) error {
	n := len(s.Tokens)
	if n == 0 || s.Position < 0 || s.Position > math.MaxInt32-n {
		return fmt.Errorf("%d tokens at position %d", n, s.Position)
	}
	end := -1
	for _, c := range m.sequences[s.Sequence] {
		end = max(end, c.position+c.n)
	}
	if end >= 0 && end != s.Position {
		return fmt.Errorf("tokens at position %d of sequence %d, which ends at %d", s.Position, s.Sequence, end)
	}
	m.sequences[s.Sequence][number] = cells{s.Position, m.next, n}
	for t := range n {
		for _, c := range m.sequences[s.Sequence] {
			if seen := min(c.n, s.Position+t+1-c.position); seen > 0 {
				if err := m.allow(m.next+t, c.token, c.token+seen); err != nil {
					return err
				}
			}
		}
		if err := m.endToken(m.next + t); err != nil {
			return err
		}
	}
	m.next += n
	return nil
}
