// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
)

// index finds passages by words.
type index struct{ bleve.Index }

func newIndex(c *corpus) (*index, error) {
	mapping := bleve.NewIndexMapping()
	mapping.DefaultAnalyzer = en.AnalyzerName
	x, err := bleve.NewMemOnly(mapping)
	if err != nil {
		return nil, err
	}
	batch := x.NewBatch()
	for i := range c.Len() {
		s := c.Segment(i)
		if err := batch.Index(s.ID, map[string]string{"text": s.Text}); err != nil {
			return nil, err
		}
		if batch.Size() == 500 || i == c.Len()-1 {
			if err := x.Batch(batch); err != nil {
				return nil, err
			}
			batch.Reset()
		}
	}
	return &index{x}, nil
}

// find returns the ids of the n passages that fit a question best, the best first.
func (x *index) find(question string, n int) ([]string, error) {
	r, err := x.Search(bleve.NewSearchRequestOptions(bleve.NewMatchQuery(question), n, 0, false))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(r.Hits))
	for i, h := range r.Hits {
		ids[i] = h.ID
	}
	return ids, nil
}
