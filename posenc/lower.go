// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package posenc

import (
	"fmt"
	"slices"
)

// Stretch is a range of consecutive tokens of a node.
type Stretch struct{ Node, From, To int }

// Stretches joins a node's ascending tokens.
func Stretches(node int, tokens []int) []Stretch {
	var all []Stretch
	for _, t := range tokens {
		if k := len(all) - 1; k >= 0 && all[k].To == t {
			all[k].To++
		} else {
			all = append(all, Stretch{node, t, t + 1})
		}
	}
	return all
}

// Lower returns the layout with every repair replaced by ordinary nodes that compute the same, and which tokens of l each of
// them holds. A repair becomes a node for every stretch of tokens that it encodes; its origin falls into stretches at the
// same places, and who sees the repair sees, stretch by stretch, what of both counts. A layout without repairs is returned
// as it is.
//
// repaired holds, for every node that repairs a fraction of its tokens, the tokens that it does, ascending; other nodes'
// entries are not looked at, and it may be nil if there is no such node.
//
// A layout in which a node sees both a repair and its origin, or two repairs of one origin, is an error: it would see the
// stretches that they share twice. So is one with a ranked source that falls into stretches, which are not ranked as one.
func (l *Layout) Lower(repaired [][]int) (*Layout, []Stretch, error) {
	if !slices.ContainsFunc(l.nodes, func(n Node) bool { return !n.Repair.IsZero() }) {
		return l, l.whole(), nil
	}
	w := &lowering{l: l, cuts: make([][]int, len(l.nodes)), own: make([][]Stretch, len(l.nodes)), views: make([][]piece, len(l.nodes))}
	w.b.l.rowPtr = []int{0}
	w.b.scores.scores = l.scores
	for i := range l.nodes {
		if err := w.cut(i, repaired); err != nil {
			return nil, nil, fmt.Errorf("posenc: node %d (%s): %w", i, l.nodes[i], err)
		}
	}
	for i := 0; i < len(l.nodes); {
		lo, hi := l.Group(i)
		add := func() error { return w.add(i) }
		if hi-lo > 1 {
			add = func() error { return w.addGroup(lo, hi) }
		}
		if err := add(); err != nil {
			return nil, nil, fmt.Errorf("posenc: node %d (%s): %w", i, l.nodes[i], err)
		}
		i = hi
	}
	out, err := w.b.Layout()
	return out, w.from, err
}

// whole returns every node as one stretch.
func (l *Layout) whole() []Stretch {
	all := make([]Stretch, len(l.nodes))
	for i, n := range l.nodes {
		all[i] = Stretch{Node: i, To: n.Len}
	}
	return all
}

// lowering is a layout without repairs under construction.
type lowering struct {
	l     *Layout
	cuts  [][]int     // per node: where repairs begin and end in it
	own   [][]Stretch // per node: the stretches that it encodes
	views [][]piece   // per node: what who sees it sees, in the order of its tokens
	b     LayoutBuilder
	from  []Stretch // per node of the new layout
}

// piece is a node of the new layout and the token of the old one with which it begins.
type piece struct {
	node int32
	at   int
}

// cut finds the stretches that node i encodes, and cuts its origin at their ends.
func (w *lowering) cut(i int, repaired [][]int) error {
	n := w.l.nodes[i]
	switch {
	case n.Repair.IsZero():
		return nil // once all its repairs are known
	case n.Repair.First > 0:
		w.own[i] = []Stretch{{i, 0, n.Repair.First}}
	default:
		if i >= len(repaired) || len(repaired[i]) != n.Repair.Tokens(n.Len) {
			return fmt.Errorf("which %d tokens it repairs must be said", n.Repair.Tokens(n.Len))
		}
		last := -1
		for _, t := range repaired[i] {
			if t <= last || t >= n.Len {
				return fmt.Errorf("token %d of %d after token %d is repaired, want ascending ones", t, n.Len, last)
			}
			last = t
		}
		w.own[i] = Stretches(i, repaired[i])
	}
	for _, s := range w.own[i] {
		w.cuts[n.Repair.Of] = append(w.cuts[n.Repair.Of], s.From, s.To)
	}
	return nil
}

// add adds the stretches of node i.
func (w *lowering) add(i int) error {
	n := w.l.nodes[i]
	if n.Repair.IsZero() {
		ends := append(w.cuts[i], n.Len)
		slices.Sort(ends)
		from := 0
		for _, to := range slices.Compact(ends) {
			if to > from {
				w.own[i] = append(w.own[i], Stretch{i, from, to})
			}
			from = to
		}
	}
	sees, err := w.sees(i)
	if err != nil {
		return err
	}
	var kept []piece // of the origin
	if !n.Repair.IsZero() {
		rest := w.own[i]
		for _, v := range w.views[n.Repair.Of] {
			for len(rest) > 0 && rest[0].To <= v.at {
				rest = rest[1:]
			}
			if len(rest) == 0 || v.at < rest[0].From {
				kept = append(kept, v)
			}
		}
	}
	for _, s := range w.own[i] {
		for len(kept) > 0 && kept[0].at < s.From {
			w.views[i], kept = append(w.views[i], kept[0]), kept[1:]
		}
		list := slices.Clone(sees)
		for _, v := range w.views[i] {
			list = append(list, Seen{Node: v.node, Base: int32(n.Base + v.at)})
		}
		if err := w.room(len(list)); err != nil {
			return err
		}
		node := n
		node.Base, node.Len, node.Repair = n.Base+s.From, s.To-s.From, Repair{}
		at, err := w.b.Add(node, list...)
		if err != nil {
			return err
		}
		w.from = append(w.from, s)
		w.views[i] = append(w.views[i], piece{int32(at), s.From})
	}
	w.views[i] = append(w.views[i], kept...)
	return nil
}

// addGroup adds the nodes [lo, hi), which are encoded together. None is a repair or repaired.
func (w *lowering) addGroup(lo, hi int) error {
	for i := lo; i < hi; i++ {
		w.views[i] = []piece{{node: int32(w.b.Len() + i - lo)}}
		w.from = append(w.from, Stretch{Node: i, To: w.l.nodes[i].Len})
	}
	lists := make([][]Seen, hi-lo)
	for k := range lists {
		var err error
		if lists[k], err = w.sees(lo + k); err != nil {
			return err
		}
		if err := w.room(len(lists[k])); err != nil {
			return err
		}
	}
	_, err := w.b.AddGroup(w.l.nodes[lo:hi], lists)
	return err
}

// sees returns what node i sees, without itself.
func (w *lowering) sees(i int) ([]Seen, error) {
	var sees []Seen
	for _, s := range w.l.Sees(i) {
		views := w.views[s.Node]
		if s.Ranked && len(views) > 1 {
			return nil, fmt.Errorf("its ranked source %d (%s) falls into stretches", s.Node, w.l.nodes[s.Node])
		}
		for _, v := range views {
			sees = append(sees, Seen{Node: v.node, Base: s.Base + int32(v.at), Score: s.Score, Ranked: s.Ranked})
		}
	}
	return sees, nil
}

// room says whether there is room for more edges.
func (w *lowering) room(edges int) error {
	if len(w.b.l.seen)+edges > MaxEdges {
		return fmt.Errorf("without repairs there are more than %d edges", MaxEdges)
	}
	return nil
}
