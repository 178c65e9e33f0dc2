// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import "github.com/graphkv/graphkv/attention"

// tempered joins the groups of sources whose softmax is raised to a power with what
// else their run attends to, see [posenc.Score]. It has no work where no source has a
// power.
type tempered struct {
	groups   []temperedGroup
	queries  []attention.Query
	out, lse []float32
}

// temperedGroup says which query is that of a group, and which that of the rest of
// its run.
type temperedGroup struct {
	rest, group int
	power       float32
}

func (s *Source) tempered() bool { return s.Power != 0 && s.Power != 1 }

func (t *tempered) reset() { t.groups, t.queries = t.groups[:0], nil }

func (t *tempered) add(rest, group int, power float32) {
	t.groups = append(t.groups, temperedGroup{rest, group, power})
}

// buffers gives the groups' queries outputs of their own, and log-sum-exps to all that
// are to be joined.
func (t *tempered) buffers(queries []attention.Query, heads, width int) {
	if len(t.groups) == 0 {
		return
	}
	t.queries = queries
	rows := 0
	for i, g := range t.groups {
		rows += queries[g.group].Rows
		if i == 0 || t.groups[i-1].rest != g.rest {
			rows += queries[g.rest].Rows
		}
	}
	t.out, t.lse = grow(t.out, rows*width), grow(t.lse, rows*heads)
	out, lse := t.out, t.lse
	take := func(x *[]float32, n int) []float32 {
		y := (*x)[:n:n]
		*x = (*x)[n:]
		return y
	}
	for i, g := range t.groups {
		if q := &queries[g.rest]; i == 0 || t.groups[i-1].rest != g.rest {
			q.LSE = take(&lse, q.Rows*heads)
		}
		q := &queries[g.group]
		q.Out, q.LSE = take(&out, q.Rows*width), take(&lse, q.Rows*heads)
	}
}

// join merges what the queries have computed into their runs' outputs.
func (t *tempered) join(headDim int) {
	for _, g := range t.groups {
		rest, group := &t.queries[g.rest], &t.queries[g.group]
		for i := range group.LSE {
			group.LSE[i] *= g.power
		}
		attention.Merge(rest.Out, rest.LSE, group.Out, group.LSE, headDim)
	}
}
