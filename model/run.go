// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"fmt"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/kvcache"
)

// Source is a node that a run attends to as a whole.
type Source struct {
	KV   *kvcache.KV // its layers may still be arriving, see [kvcache.KV.Wait]
	From int         // the source's first row in KV, a multiple of [attention.PanelKeys]
	Len  int         // rows of KV from there on that hold its tokens; 0 means all of them
	// Shift is the position of the run's first token less the position of the
	// source's first token, as this reader sees it. It may be negative.
	Shift int
	// Ranked sources stand end to end in an order that every layer finds anew, see
	// [posenc.Seen]. Their Shift, which is the same for all of a run, is to where the
	// first of them starts.
	Ranked bool
	Scale  float32   // multiplies the scores; 0 means 1
	Bias   []float32 // [Heads], added to the scaled scores; nil means none
	// Power is that of the softmax over the run's sources of this power, see
	// [posenc.Score]; 0 means 1.
	Power float32
}

// Run is a stretch of consecutive tokens of one node.
type Run struct {
	Tokens []int32
	// KV receives the keys and values of Tokens in rows From+At, From+At+1, …; rows
	// from From to there hold the node's earlier tokens, which this run attends to as
	// well. From is a multiple of [attention.PanelKeys]: a KV may hold several nodes.
	KV      *kvcache.KV
	From    int
	At      int
	Sources []Source // summed in this order, the node itself last; sources of one power stand together
	// Bidirectional lets every token see the whole node, which must be encoded in one
	// run.
	Bidirectional bool
	// Layers, when it is not 0, ends the run with the keys and values of so many layers,
	// without attention in the last of them. Its KV then may have no more.
	Layers int
	// Whole says that the run is all of its node. Its ranked sources are then placed
	// once for all of its tokens, instead of for every token by itself.
	Whole bool
	// Decode splits attention over keys as well as heads, which is faster for a step of generation: one token after long sources. Its
	// results differ from those without by rounding, so it is not for nodes whose KV is to be reused.
	Decode bool
	// Logits receives the logits of the last len(Logits)/Vocab tokens, row by row.
	// Nil asks for none.
	Logits []float32
	Probe  *Probe // nil: nothing is asked
}

// SourceError says that a run could not attend to one of its sources. Err is what
// [kvcache.KV.Wait] returned.
type SourceError struct {
	Run, Source int // their places in what Forward was given
	Err         error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("model: run %d: source %d: %v", e.Run, e.Source, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// check returns the number of tokens, how many parts they attend to in a layer at
// most, and whether there are sources to be ranked.
func (m *Model) check(runs []Run) (total, parts int, ranks bool, err error) {
	for i := range runs {
		r := &runs[i]
		if err := m.checkRun(r); err != nil {
			return 0, 0, false, fmt.Errorf("model: run %d: %w", i, err)
		}
		for j := range r.Sources {
			if err := m.checkSource(r, &r.Sources[j]); err != nil {
				return 0, 0, false, fmt.Errorf("model: run %d: source %d %w", i, j, err)
			}
		}
		if r.Probe != nil {
			if err := r.Probe.check(m.config, r); err != nil {
				return 0, 0, false, fmt.Errorf("model: run %d: %w", i, err)
			}
		}
		total += len(r.Tokens)
		n := len(r.Sources) + 1
		if r.ranked() > 1 {
			ranks = true
			if !r.Whole {
				n *= len(r.Tokens)
			}
		}
		parts += n
	}
	return total, parts, ranks, nil
}

func (m *Model) checkRun(r *Run) error {
	if err := m.checkTokens(r.Tokens); err != nil {
		return err
	}
	shape, vocab := m.config.KVShape(), m.config.Vocab
	switch {
	case r.Layers < 0 || r.Layers > m.config.Layers:
		return fmt.Errorf("ends after %d of %d layers", r.Layers, m.config.Layers)
	case r.Layers > 0 && (r.Logits != nil || r.Probe != nil):
		return fmt.Errorf("ends after %d layers and is asked for more", r.Layers)
	case r.KV == nil || !r.fits(shape):
		return fmt.Errorf("its KV is not of this model's shape %+v", shape)
	case r.From < 0 || r.From%attention.PanelKeys != 0 || r.From > r.KV.Tokens():
		return fmt.Errorf("its node starts at row %d of a KV of %d tokens, want a multiple of %d", r.From, r.KV.Tokens(), attention.PanelKeys)
	case r.At < 0 || r.At > r.KV.Tokens()-r.From-len(r.Tokens):
		return fmt.Errorf("%d rows from %d do not fit a KV of %d tokens", len(r.Tokens), r.From+r.At, r.KV.Tokens())
	case len(r.Logits)%vocab != 0 || len(r.Logits)/vocab > len(r.Tokens):
		return fmt.Errorf("room for %d logits; want rows of %d, at most %d", len(r.Logits), vocab, len(r.Tokens))
	case (r.Bidirectional || r.Whole) && r.At != 0:
		return fmt.Errorf("%d tokens from %d on, want the whole node", len(r.Tokens), r.At)
	case r.Whole && len(r.Logits) != 0 && len(r.Logits) != vocab*len(r.Tokens):
		return fmt.Errorf("logits of %d of %d tokens of a whole node, want none or all", len(r.Logits)/vocab, len(r.Tokens))
	}
	return nil
}

func (m *Model) checkSource(r *Run, s *Source) error {
	switch {
	case s.KV == nil || !fits(s.KV, m.config.KVShape()):
		return errors.New("is not of this model's shape")
	case s.From < 0 || s.From%attention.PanelKeys != 0 || s.From > s.KV.Tokens():
		return fmt.Errorf("starts at row %d of a KV of %d tokens, want a multiple of %d", s.From, s.KV.Tokens(), attention.PanelKeys)
	case s.Len < 0 || s.Len > s.KV.Tokens()-s.From:
		return fmt.Errorf("has fewer than %d tokens", s.Len)
	case s.KV == r.KV && s.From < r.From+r.At+len(r.Tokens) && r.From < s.From+s.Tokens():
		return errors.New("is the run's own node")
	}
	return nil
}

// ranked returns the number of the run's ranked sources.
func (r *Run) ranked() int {
	n := 0
	for j := range r.Sources {
		if r.Sources[j].Ranked {
			n++
		}
	}
	return n
}

// Tokens returns the number of the source's tokens.
func (s *Source) Tokens() int {
	if s.Len == 0 {
		return s.KV.Tokens() - s.From
	}
	return s.Len
}

// fits reports whether the run's KV is of the shape, or has the layers that it needs, in
// whatever format.
func (r *Run) fits(shape kvcache.Shape) bool {
	if r.Layers > 0 {
		shape.Layers = max(r.Layers, min(shape.Layers, r.KV.Shape().Layers))
	}
	return fits(r.KV, shape)
}

// fits reports whether kv is of the shape, in whatever format.
func fits(kv *kvcache.KV, shape kvcache.Shape) bool {
	s := kv.Shape()
	s.Format = shape.Format
	return s == shape
}

// enter returns how many of the run's rows a layer begins with.
func (r *Run) enter(layer int) int {
	if r.Layers > 0 && layer >= r.Layers {
		return 0
	}
	return len(r.Tokens)
}

// offset takes a ranked source's offset from the front of what is left of them.
func (s *Source) offset(ranked *[]int) int {
	if !s.Ranked || len(*ranked) == 0 {
		return 0
	}
	o := (*ranked)[0]
	*ranked = (*ranked)[1:]
	return o
}

// part is the source as rows see it that start shift after the run's first.
func (s *Source) part(layer, shift int) attention.Part {
	return attention.Part{KV: s.KV.Layer(layer).From(s.From), Len: s.Tokens(), Shift: s.Shift + shift, Scale: s.Scale, Bias: s.Bias}
}
