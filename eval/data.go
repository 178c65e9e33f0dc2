// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Dataset is a list of questions.
type Dataset struct {
	Name   string // of the file or folder
	Format Format
	Items  []Item
	Digest [32]byte // SHA-256 of what was read
}

// Item is a question over documents whose answer is known.
type Item struct {
	ID         string // unique in its data set
	Question   string
	Answers    []string // each is right
	Candidates []string // answers to choose from; nil: none are given
	Documents  []Document
	Orders     [][]int  // orders of Documents other than the first to ask in, as the data gives them
	Edges      [][2]int // {source, target} as indices of Documents; nil: the data has none
	Center     int      // the document that the others are sources of; −1: none
	Kind       string   // the type of the question, if the data names it
	Hops       int      // how many documents the answer takes; 0: unknown
}

// Document is a passage. The documents of an item are in the order in which the
// published evaluation lists them: by ascending relevance, the centre last.
type Document struct {
	Title string
	Text  string
}

// check refuses an item that cannot be asked or scored.
func (x *Item) check() error {
	switch {
	case x.Question == "":
		return errors.New("it has no question")
	case len(x.Answers) == 0:
		return errors.New("it has no answers")
	case len(x.Documents) == 0:
		return errors.New("it has no documents")
	}
	for _, list := range [][]string{{x.ID, x.Question, x.Kind}, x.Answers, x.Candidates} {
		for _, s := range list {
			if !utf8.ValidString(s) {
				return errors.New("it is not valid UTF-8")
			}
		}
	}
	if i := slices.Index(x.Answers, ""); i >= 0 {
		return fmt.Errorf("answer %d is empty", i)
	}
	if i := slices.Index(x.Candidates, ""); i >= 0 {
		return fmt.Errorf("candidate %d is empty", i)
	}
	for i, d := range x.Documents {
		if d.Text == "" {
			return fmt.Errorf("document %d has no text", i)
		}
	}
	for i, o := range x.Orders {
		if !permutation(o, len(x.Documents)) {
			return fmt.Errorf("order %d is not one of %d documents: %v", i, len(x.Documents), o)
		}
	}
	for _, e := range x.Edges {
		for _, end := range e {
			if end < 0 || end >= len(x.Documents) {
				return fmt.Errorf("edge %v leads out of %d documents", e, len(x.Documents))
			}
		}
		if e[0] == e[1] {
			return fmt.Errorf("edge %v leads from a document to itself", e)
		}
	}
	return nil
}

func permutation(order []int, n int) bool {
	seen := make([]bool, n)
	for _, i := range order {
		if i < 0 || i >= n || seen[i] {
			return false
		}
		seen[i] = true
	}
	return len(order) == n
}

// arrange puts the documents into the published order. order lists them; orders and
// edges, which refer to where documents were, follow them.
func (x *Item) arrange(order []int) {
	place := make([]int, len(order))
	documents := make([]Document, len(order))
	for to, from := range order {
		place[from], documents[to] = to, x.Documents[from]
	}
	x.Documents = documents
	for _, o := range x.Orders {
		for i := range o {
			o[i] = place[o[i]]
		}
	}
	for i, e := range x.Edges {
		x.Edges[i] = [2]int{place[e[0]], place[e[1]]}
	}
	if x.Center >= 0 {
		x.Center = place[x.Center]
	}
}

// ascending returns the order of documents by ascending score. Equals stay as they are.
func ascending(scores []float64) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	return order
}

// checkIDs refuses ids that repeat. where names the place of an item in the data.
func checkIDs(items []Item, where []string) error {
	first := make(map[string]int, len(items))
	for i, x := range items {
		if j, ok := first[x.ID]; ok {
			return fmt.Errorf("%s: id %q is that of %s already", where[i], x.ID, where[j])
		}
		first[x.ID] = i
	}
	return nil
}
