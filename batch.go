// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"context"
	"slices"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
)

// batcher packs runs into forward passes of at most the engine's batch size. Runs
// come in encoding order, so a source is in the same pass or an earlier one. A run
// that does not fit is split: its pieces attend to the rows before them. What must be
// encoded in one piece, or together, and is longer than a batch has a pass of its own.
type batcher struct {
	*session
	runs []model.Run
	size int     // tokens in runs
	work float64 // that the pass has room for, in multiplications
	done []int32 // nodes whose last token is in runs
}

// minPiece is the length below which runs are not split to keep a pass short: from
// there on, passes take as long as it takes to read the weights.
const minPiece = 16

// add takes a run on. i is the node that it completes, −1 if it does not complete one.
func (b *batcher) add(ctx context.Context, r model.Run, i int32) error {
	for at := 0; at < len(r.Tokens); {
		n := b.fit(r, at)
		if n == 0 {
			if err := b.flush(ctx); err != nil {
				return err
			}
			n = b.fit(r, at)
		}
		end := at + n
		piece := r
		piece.Tokens, piece.At, piece.Sources = r.Tokens[at:end], r.At+at, shifted(r.Sources, at)
		if end < len(r.Tokens) {
			piece.Logits = nil
		}
		b.runs = append(b.runs, piece)
		b.size += n
		b.work -= b.e.scheduler.work(piece)
		at = end
	}
	if i >= 0 {
		b.done = append(b.done, i)
	}
	return nil
}

// addGroup takes on the nodes that are encoded together with node i. Whatever is summed
// is summed in their canonical order.
func (b *batcher) addGroup(ctx context.Context, i int32) error {
	n := &b.nodes[i]
	if !b.fits(n.tokens) {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	if b.size == 0 {
		b.work = b.e.scheduler.passWork()
	}
	for _, m := range n.group {
		r := b.nodeRun(int(m))
		r.KV, r.From = n.kv, b.nodes[m].from
		b.runs = append(b.runs, r)
		b.work -= b.e.scheduler.work(r)
	}
	b.size += n.tokens
	b.done = append(b.done, i)
	return nil
}

// fit returns how many of a run's tokens, from one on, the pass at hand has room for.
func (b *batcher) fit(r model.Run, at int) int {
	if b.size == 0 {
		b.work = b.e.scheduler.passWork()
	}
	limit := b.e.settings.batchTokens
	if r.Bidirectional {
		if !b.fits(len(r.Tokens)) {
			return 0
		}
		return len(r.Tokens)
	}
	n := min(len(r.Tokens)-at, limit-b.size)
	if n <= 0 {
		return 0
	}
	piece := model.Run{Tokens: r.Tokens[at : at+n], At: r.At + at, Sources: r.Sources, Layers: r.Layers}
	if work := b.e.scheduler.work(piece); work > b.work {
		n = min(n, int(float64(n)*max(b.work, 0)/work))
		switch {
		case b.size == 0:
			n = max(n, min(minPiece, len(r.Tokens)-at, limit))
		case n < minPiece:
			return 0
		}
	}
	return n
}

// fits reports whether what must not be cut may go with the pass at hand.
func (b *batcher) fits(tokens int) bool {
	return b.size == 0 || b.size+tokens <= b.e.settings.batchTokens
}

// flush runs the batch and hands the nodes that are complete to the cache.
func (b *batcher) flush(ctx context.Context) error {
	if len(b.runs) == 0 {
		return nil
	}
	if err := b.e.scheduler.forward(ctx, b.job, b.runs, false); err != nil {
		return err
	}
	for _, i := range b.done {
		n := &b.nodes[i]
		n.kv.SetInfo(kvcache.Info{Model: b.e.file.Fingerprint(), Scope: b.scope.ID(), Cost: b.encodeSeconds(i)})
		n.handle, n.own, n.flight = n.flight.Complete(n.kv), false, nil
		b.encoded += b.encodes(i)
		n.encoded = true
	}
	b.runs, b.done, b.size = b.runs[:0], b.done[:0], 0
	return nil
}

// shifted returns the sources as a run sees them that starts by tokens later.
func shifted(sources []model.Source, by int) []model.Source {
	if by == 0 {
		return sources
	}
	out := slices.Clone(sources)
	for j := range out {
		out[j].Shift += by
	}
	return out
}

// encodes returns how many tokens are encoded for node i, or its group.
func (s *session) encodes(i int32) int {
	n := 0
	for _, m := range s.nodes[i].members(i) {
		n += s.plan.layout.Encodes(int(m))
	}
	return n
}
