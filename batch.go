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
// encoded in one piece and is longer than a batch has a pass of its own.
type batcher struct {
	*session
	runs []model.Run
	size int     // tokens in runs
	done []int32 // nodes whose last token is in runs
}

// add takes a run on. i is the node that it completes, −1 for the query.
func (b *batcher) add(ctx context.Context, r model.Run, i int32) error {
	limit := b.e.settings.batchTokens
	if r.Bidirectional && b.size > 0 && b.size+len(r.Tokens) > limit {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	for at := 0; at < len(r.Tokens); {
		if b.size >= limit {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
		end := min(len(r.Tokens), at+limit-b.size)
		if r.Bidirectional {
			end = len(r.Tokens)
		}
		piece := model.Run{Tokens: r.Tokens[at:end], KV: r.KV, At: at, Sources: shifted(r.Sources, at), Bidirectional: r.Bidirectional}
		if end == len(r.Tokens) {
			piece.Logits = r.Logits
		}
		b.runs = append(b.runs, piece)
		b.size += end - at
		at = end
	}
	if i >= 0 {
		b.done = append(b.done, i)
	}
	return nil
}

// flush runs the batch and hands the nodes that are complete to the cache.
func (b *batcher) flush(ctx context.Context) error {
	if err := b.e.scheduler.forward(ctx, b.job, b.runs, false); err != nil {
		return err
	}
	for _, i := range b.done {
		n := &b.nodes[i]
		n.kv.SetInfo(kvcache.Info{Model: b.e.file.Fingerprint(), Scope: b.e.scope.ID(), Cost: b.encodeSeconds(i)})
		n.handle, n.own, n.flight = n.flight.Complete(n.kv), false, nil
		b.encoded += n.kv.Tokens()
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
