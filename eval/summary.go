// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"fmt"
	"slices"
)

// Measure is a way to score an item, from 0 to 1.
type Measure string

// The measures of text are as in [Match]; the others are for items with candidates.
const (
	Choice        Measure = "choice"          // the likeliest candidate is right
	ChoicePerByte Measure = "choice_per_byte" // likewise, by log-probability per byte of text, which favours no short one
	SubspanEM     Measure = "subspan_em"
	EM            Measure = "em"
	F1            Measure = "f1"
)

var (
	choiceMeasures = []Measure{Choice, ChoicePerByte}
	textMeasures   = []Measure{SubspanEM, EM, F1}
)

// Summary is what a log says about the variants, on the items that all of them have been
// asked in all orders.
type Summary struct {
	Data     string           `json:"data"`
	Model    string           `json:"model"`
	Items    int              `json:"items"` // that the figures are of
	Of       int              `json:"of"`    // in the data
	Orders   int              `json:"orders"`
	Chance   float64          `json:"chance,omitempty"` // of a random choice to be right; 0: there are no candidates
	Variants []VariantSummary `json:"variants"`
}

// VariantSummary is what a log says about one variant.
type VariantSummary struct {
	Label  string `json:"strategy"`
	Failed int    `json:"failed"` // answers that there are none of; they count as wrong
	// Groups are all items, items by hops, and items by kind.
	Groups []Group `json:"groups"`
	// Differences from the first variant, of all items, paired.
	Differences map[Measure]Interval `json:"differences,omitempty"`
	// ByOrder is the mean score of all items in each order, the data's own first.
	ByOrder map[Measure][]float64 `json:"by_order"`
	// TextOrder and ChoiceOrder say how much answers and choices depend on the order. With one order they are nil.
	TextOrder   *Sensitivity `json:"text_order,omitempty"`
	ChoiceOrder *Sensitivity `json:"choice_order,omitempty"`
	Timed       int          `json:"timed"` // items whose time was taken
	Cold        *Latency     `json:"cold,omitempty"`
	Reordered   *Latency     `json:"reordered,omitempty"`
	Again       *Latency     `json:"again,omitempty"`
}

// Group is a part of the items.
type Group struct {
	Name   string               `json:"name"` // "all", "1 hop", "kind film"
	Items  int                  `json:"items"`
	Scores map[Measure]Interval `json:"scores"`
}

// outcome is one record, scored.
type outcome struct {
	text   string // normalised
	choice int    // of candidates; −1: none
	scores map[Measure]float64
	failed bool
}

// asked is an item with its outcomes: [variant][order].
type asked struct {
	item     *Item
	outcomes [][]outcome
}

// Summarise makes figures of a log. orders and seed are the runner's. Answers are scored
// here, so a log keeps its worth when measures are added.
func Summarise(d *Dataset, variants []Variant, l *Log, orders int, seed uint64) *Summary {
	byKey := map[key]*Record{}
	records := l.Records()
	for i := range records {
		byKey[records[i].key()] = &records[i]
	}
	s := &Summary{Data: d.Name, Of: len(d.Items), Orders: orders + 1}
	var items []asked
	for i := range d.Items {
		x := &d.Items[i]
		if a, ok := gather(d.Format, x, variants, orders, byKey); ok {
			items = append(items, a)
		}
	}
	s.Items = len(items)
	if s.Items > 0 {
		s.Chance = chance(items)
	}
	for j := range variants {
		v := VariantSummary{Label: variants[j].Label, ByOrder: map[Measure][]float64{}}
		v.latencies(d, byKey)
		s.Variants = append(s.Variants, v)
	}
	if s.Items == 0 {
		return s
	}
	for _, g := range groups(items) {
		s.score(g.name, g.items, seed)
	}
	s.compare(items, seed)
	for j := range s.Variants {
		s.Variants[j].orders(items, j)
	}
	return s
}

// gather scores an item's records, if all are there.
func gather(f Format, x *Item, variants []Variant, orders int, records map[key]*Record) (asked, bool) {
	a := asked{item: x}
	for j := range variants {
		var list []outcome
		for o := range orders + 1 {
			r := records[key{x.ID, variants[j].Label, o, false}]
			if r == nil || r.Answer != nil && len(r.Answer.Candidates) != len(x.Candidates) {
				return a, false
			}
			list = append(list, score(f, x, r))
		}
		a.outcomes = append(a.outcomes, list)
	}
	return a, true
}

// score compares a record with an item's answers. An error is wrong by every measure.
func score(f Format, x *Item, r *Record) outcome {
	o := outcome{choice: -1, scores: map[Measure]float64{}}
	if r.Answer == nil {
		o.failed = true
		return o
	}
	text := f.Final(r.Answer.Text)
	m := Compare(text, x.Answers)
	o.text = Normalise(text)
	o.scores[SubspanEM], o.scores[EM], o.scores[F1] = number(m.Subspan), number(m.Exact), m.F1
	p := r.Answer.Candidates
	if len(x.Candidates) == 0 {
		return o
	}
	best := func(value func(i int) float64) int {
		b := 0
		for i := range x.Candidates {
			if value(i) > value(b) {
				b = i
			}
		}
		return b
	}
	right := func(i int) float64 { return number(Compare(x.Candidates[i], x.Answers).Exact) }
	o.choice = best(func(i int) float64 { return p[i] })
	o.scores[Choice] = right(o.choice)
	o.scores[ChoicePerByte] = right(best(func(i int) float64 { return p[i] / float64(len(x.Candidates[i])) }))
	return o
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// chance is how often a random candidate is right, of the items that have some.
func chance(items []asked) float64 {
	sum, n := 0.0, 0
	for _, a := range items {
		right := 0
		for _, c := range a.item.Candidates {
			if Compare(c, a.item.Answers).Exact {
				right++
			}
		}
		if k := len(a.item.Candidates); k > 0 {
			sum += float64(right) / float64(k)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

type group struct {
	name  string
	items []asked
}

// groups returns all items, then those of each number of hops and those of each kind, where
// there is more than one.
func groups(items []asked) []group {
	out := []group{{"all", items}}
	for _, by := range []func(x *Item) string{
		func(x *Item) string {
			switch x.Hops {
			case 0:
				return ""
			case 1:
				return "1 hop"
			}
			return fmt.Sprintf("%d hops", x.Hops)
		},
		func(x *Item) string {
			if x.Kind == "" {
				return ""
			}
			return "kind " + x.Kind
		},
	} {
		parts := map[string][]asked{}
		for _, a := range items {
			if name := by(a.item); name != "" {
				parts[name] = append(parts[name], a)
			}
		}
		var names []string
		for name := range parts {
			names = append(names, name)
		}
		if len(names) < 2 {
			continue
		}
		slices.Sort(names)
		for _, name := range names {
			out = append(out, group{name, parts[name]})
		}
	}
	return out
}

// withCandidates returns the items that have some.
func withCandidates(items []asked) []asked {
	return slices.DeleteFunc(slices.Clone(items), func(a asked) bool { return len(a.item.Candidates) == 0 })
}

// parts calls do with the measures that items can be scored by.
func parts(items []asked, do func(items []asked, measures []Measure)) {
	do(items, textMeasures)
	if some := withCandidates(items); len(some) > 0 {
		do(some, choiceMeasures)
	}
}

// column returns the score of every item under variant j: the mean over its orders.
func column(items []asked, j int, m Measure) []float64 {
	out := make([]float64, len(items))
	for i, a := range items {
		for _, o := range a.outcomes[j] {
			out[i] += o.scores[m] / float64(len(a.outcomes[j]))
		}
	}
	return out
}

// score adds a group to every variant.
func (s *Summary) score(name string, items []asked, seed uint64) {
	for j := range s.Variants {
		v := &s.Variants[j]
		v.Groups = append(v.Groups, Group{Name: name, Items: len(items), Scores: map[Measure]Interval{}})
	}
	parts(items, func(items []asked, measures []Measure) {
		var columns [][]float64
		for j := range s.Variants {
			for _, m := range measures {
				columns = append(columns, column(items, j, m))
			}
		}
		for i, x := range bootstrap(columns, seed) {
			g := s.Variants[i/len(measures)].Groups
			g[len(g)-1].Scores[measures[i%len(measures)]] = x
		}
	})
}

// compare gives every variant but the first its differences from that.
func (s *Summary) compare(items []asked, seed uint64) {
	if len(s.Variants) < 2 {
		return
	}
	for j := range s.Variants[1:] {
		s.Variants[j+1].Differences = map[Measure]Interval{}
	}
	parts(items, func(items []asked, measures []Measure) {
		var columns [][]float64
		for j := range s.Variants[1:] {
			for _, m := range measures {
				c := column(items, j+1, m)
				for i, x := range column(items, 0, m) {
					c[i] -= x
				}
				columns = append(columns, c)
			}
		}
		for i, x := range bootstrap(columns, seed) {
			s.Variants[1+i/len(measures)].Differences[measures[i%len(measures)]] = x
		}
	})
}

// orders says how variant j depends on the order.
func (v *VariantSummary) orders(items []asked, j int) {
	for _, a := range items {
		for _, o := range a.outcomes[j] {
			if o.failed {
				v.Failed++
			}
		}
	}
	many := len(items[0].outcomes[j]) > 1
	parts(items, func(items []asked, measures []Measure) {
		texts, choices := make([][]string, len(items)), make([][]int, len(items))
		scores := make([][]float64, len(items))
		for _, m := range measures {
			v.ByOrder[m] = make([]float64, len(items[0].outcomes[j]))
		}
		for i, a := range items {
			for k, o := range a.outcomes[j] {
				texts[i], choices[i] = append(texts[i], o.text), append(choices[i], o.choice)
				scores[i] = append(scores[i], o.scores[measures[0]])
				for _, m := range measures {
					v.ByOrder[m][k] += o.scores[m] / float64(len(items))
				}
			}
		}
		if !many {
			return
		}
		if measures[0] == Choice {
			s := sensitivity(choices, scores)
			v.ChoiceOrder = &s
		} else {
			s := sensitivity(texts, scores)
			v.TextOrder = &s
		}
	})
}

// latencies summarises the variant's timings.
func (v *VariantSummary) latencies(d *Dataset, records map[key]*Record) {
	var cold, reordered, again []Moment
	for i := range d.Items {
		if r := records[key{d.Items[i].ID, v.Label, 0, true}]; r != nil {
			cold, reordered, again = append(cold, r.Timing.Cold), append(reordered, r.Timing.Reordered), append(again, r.Timing.Again)
		}
	}
	v.Timed = len(cold)
	if v.Timed == 0 {
		return
	}
	for _, x := range []struct {
		moments []Moment
		to      **Latency
	}{{cold, &v.Cold}, {reordered, &v.Reordered}, {again, &v.Again}} {
		l := latency(x.moments)
		*x.to = &l
	}
}
