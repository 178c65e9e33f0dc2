// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/posenc"
)

// A repair starts as a copy of its origin, bit for bit, since both stand at the same
// local positions; then the tokens that it encodes again are written over. Which these
// are is known, or else found out by running all of its tokens up to the keys and values
// of the second layer. What a token's keys and values are in the first layer depends on
// nothing else, so those of the second are exactly what encoding everything would give.

// compareLayers is how many layers a node's tokens run through to see which of them
// deviate.
const compareLayers = 2

// repairForm names how a node of n tokens is encoded that is a repair, for its key. How
// a number of tokens was arrived at does not matter.
func repairForm(r posenc.Repair, n int, origin kvcache.Key) string {
	which := "first"
	if r.Fraction > 0 {
		which = "most deviating"
	}
	return fmt.Sprintf("the %s %d tokens, else as %v", which, r.Tokens(n), origin)
}

// stage is what can be encoded together: repairs, whose origins are complete, and then
// nodes that are encoded as a whole.
type stage struct{ repairs, whole []int32 }

// stages puts nodes, which are in encoding order, into stages. The origin of a repair is
// complete before its stage. So are the sources of a repair that are not repairs
// themselves; of one that is, the first layer is known before its stage.
func (s *session) stages(nodes []int32) []stage {
	if !slices.ContainsFunc(nodes, func(i int32) bool { return s.nodes[i].origin >= 0 }) {
		return []stage{{whole: nodes}}
	}
	var stages []stage
	level := make(map[*node]int, len(nodes))
	for _, i := range nodes {
		n, at := &s.nodes[i], 0
		repairs := n.origin >= 0
		for _, m := range n.members(i) {
			for _, src := range s.nodes[m].sources {
				source := s.node(src.node)
				l, now := level[source]
				if now && repairs && source.origin < 0 {
					l++
				}
				at = max(at, l)
			}
		}
		if repairs {
			if l, now := level[s.node(n.origin)]; now {
				at = max(at, l+1)
			}
		}
		level[n] = at
		for len(stages) <= at {
			stages = append(stages, stage{})
		}
		if repairs {
			stages[at].repairs = append(stages[at].repairs, i)
		} else {
			stages[at].whole = append(stages[at].whole, i)
		}
	}
	return stages
}

// repair puts runs into b that complete the repairs.
func (s *session) repair(ctx context.Context, b *batcher, nodes []int32) error {
	if len(nodes) == 0 {
		return nil
	}
	if err := b.flush(ctx); err != nil { // completes origins
		return err
	}
	for _, i := range nodes {
		n := &s.nodes[i]
		n.kv = kvcache.NewKV(s.e.shape(), len(s.plan.tokens[i]))
		if err := copyKV(ctx, n.kv, s.node(n.origin).kv); err != nil {
			return err
		}
	}
	chosen, err := s.choose(ctx, nodes)
	if err != nil {
		return err
	}
	for j, i := range nodes {
		whole := s.nodeRun(int(i))
		stretches := posenc.Stretches(int(i), chosen[j])
		for k, x := range stretches {
			completes := int32(-1)
			if k == len(stretches)-1 {
				completes = i
			}
			r := whole
			r.Tokens, r.KV, r.At, r.Sources = r.Tokens[x.From:x.To], s.nodes[i].kv, x.From, shifted(r.Sources, x.From)
			if err := b.add(ctx, r, completes); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyKV copies a KV of the same shape, layer by layer as they arrive.
func copyKV(ctx context.Context, dst, src *kvcache.KV) error {
	layers := src.Shape().Layers
	size := len(src.Data()) / layers
	for l := range layers {
		if err := src.Wait(ctx, l); err != nil {
			return err
		}
		copy(dst.Data()[l*size:(l+1)*size], src.Data()[l*size:(l+1)*size])
	}
	return nil
}

// compares reports whether which tokens of a repair are encoded again is found out by
// comparing. It is not if all are, or if the model has a single layer, in which nothing
// deviates: then the first ones count as well as any.
func (s *session) compares(i int32) bool {
	n := s.plan.layout.Node(int(i))
	return n.Repair.Fraction > 0 && s.plan.layout.Encodes(int(i)) < n.Len && s.e.model.Config().Layers >= compareLayers
}

// choose returns, for every one of the given repairs, which tokens are encoded again,
// ascending. Of the repairs' sources the first layer must be there, of their origins
// the second.
func (s *session) choose(ctx context.Context, nodes []int32) ([][]int, error) {
	chosen := make([][]int, len(nodes))
	fresh := make([]*kvcache.KV, len(nodes))
	shape := s.e.shape()
	shape.Layers = compareLayers
	b := batcher{session: s}
	for j, i := range nodes {
		if !s.compares(i) {
			chosen[j] = firstTokens(s.plan.layout.Encodes(int(i)))
			continue
		}
		r := s.nodeRun(int(i))
		fresh[j] = kvcache.NewKV(shape, len(r.Tokens))
		r.KV, r.Layers = fresh[j], compareLayers
		if err := b.add(ctx, r, -1); err != nil {
			return nil, err
		}
	}
	if err := b.flush(ctx); err != nil {
		return nil, err
	}
	for j, i := range nodes {
		if fresh[j] != nil {
			chosen[j] = mostDeviating(deviations(fresh[j], s.node(s.nodes[i].origin).kv), s.plan.layout.Encodes(int(i)))
		}
	}
	return chosen, nil
}

func firstTokens(n int) []int {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = i
	}
	return tokens
}

// deviations returns by how much the tokens' keys and values differ in the second layer:
// the sums of squared differences, of the numbers as they are stored.
func deviations(a, b *kvcache.KV) []float64 {
	x, y := a.Layer(compareLayers-1), b.Layer(compareLayers-1)
	width := x.KVHeads() * x.HeadDim()
	buf := make([]float32, 4*width)
	ak, av, bk, bv := buf[:width], buf[width:2*width], buf[2*width:3*width], buf[3*width:]
	sums := make([]float64, a.Tokens())
	for i := range sums {
		x.Load(i, ak, av)
		y.Load(i, bk, bv)
		for e := range width {
			dk, dv := float64(ak[e])-float64(bk[e]), float64(av[e])-float64(bv[e])
			sums[i] += dk*dk + dv*dv
		}
	}
	return sums
}

// mostDeviating returns the n tokens of the largest deviations, ascending. Of equal ones
// the earlier counts as larger.
func mostDeviating(deviations []float64, n int) []int {
	order := firstTokens(len(deviations))
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(deviations[b], deviations[a]) })
	chosen := order[:n]
	slices.Sort(chosen)
	return chosen
}

// Repaired returns, for every node of the plan that is a repair, the tokens that this
// engine encodes again, ascending; nil for other nodes. It encodes what is missing, the
// query apart. See [Plan.Lower].
func (e *Engine) Repaired(ctx context.Context, p *Plan, options ...RunOption) ([][]int, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	s, err := e.keyed(p, options...)
	if err != nil {
		return nil, err
	}
	s.claimAll(func(int) bool { return true })
	defer s.release()
	if err := s.encode(ctx, nil); err != nil {
		return nil, err
	}
	var repairs []int32
	for i := range s.nodes {
		if s.nodes[i].origin >= 0 {
			repairs = append(repairs, int32(i))
		}
	}
	chosen, err := s.choose(ctx, repairs)
	if err != nil {
		return nil, err
	}
	all := make([][]int, p.Len())
	for j, i := range repairs {
		all[i] = chosen[j]
	}
	return all, nil
}
