// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/graphkv/graphkv"
)

// shown is a registered document as clients see it.
type shown struct {
	Object  string        `json:"object"`
	ID      string        `json:"id"`
	Title   string        `json:"title,omitempty"`
	Text    string        `json:"text,omitempty"` // not in lists
	Links   []string      `json:"links,omitempty"`
	Created int64         `json:"created"`
	Tokens  int           `json:"tokens"`
	State   documentState `json:"state"`
}

func (d *registered) show(text bool) shown {
	s := shown{Object: "document", ID: d.ID, Title: d.Title, Links: d.Links, Created: d.created.Unix(), Tokens: len(d.tokens), State: d.now()}
	if text {
		s.Text = d.Text
	}
	return s
}

// putDocument registers a document; with ?prepare=true it is encoded as well, in the
// background.
func (x *exchange) putDocument() error {
	prepare := false
	switch v := x.r.URL.Query().Get("prepare"); v {
	case "", "false":
	case "true":
		prepare = true
	default:
		return invalid("prepare", "invalid_value", "prepare is neither true nor false")
	}
	var d document
	data, err := x.body()
	if err != nil {
		return err
	}
	type plain document
	if err := unmarshal(data, (*plain)(&d)); err != nil {
		return err
	}
	id := x.r.PathValue("id")
	if d.ID != "" && d.ID != id {
		return invalid("id", "invalid_value", "the id is %q in the body and %q in the path", d.ID, id)
	}
	d.ID = id
	if d.Text == "" {
		return invalid("text", "invalid_value", "the document has no text")
	}
	if err := d.check(x.limits); err != nil {
		return err
	}
	if err := x.admit(); err != nil {
		return err
	}
	d.Links = slices.Clone(d.Links)
	r := &registered{document: d, created: time.Now(), state: stateRegistered}
	r.tokens = x.engine.Tokenizer().Encode(nil, d.wording(), false)
	if len(r.tokens) == 0 {
		return invalid("text", "invalid_value", "the text has no tokens in this model's vocabulary")
	}
	// What cannot be used alone never can.
	alone := graphkv.Request{Strategy: graphkv.Block, Segments: []graphkv.Segment{{ID: id, Tokens: r.tokens}}, Query: graphkv.Tokens(r.tokens[0])}
	if _, err := x.compile("text", &alone); err != nil {
		return err
	}
	if prepare {
		r.state = statePreparing
	}
	created, err := x.documents.put(x.info.Namespace, r)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	if prepare {
		x.preparer.add(x.info.Namespace, id)
		status = http.StatusAccepted
	}
	return x.write(status, r.show(false))
}

func (x *exchange) getDocument() error {
	d, ok := x.documents.get(x.info.Namespace, x.r.PathValue("id"))
	if !ok {
		return unknownDocument("id", x.r.PathValue("id"))
	}
	return x.write(http.StatusOK, d.show(true))
}

// deleteDocument forgets a document. What was encoded of it stays in the cache until it
// is evicted; who does not have the text cannot reach it.
func (x *exchange) deleteDocument() error {
	id := x.r.PathValue("id")
	if !x.documents.remove(x.info.Namespace, id) {
		return unknownDocument("id", id)
	}
	return x.write(http.StatusOK, struct {
		Object  string `json:"object"`
		ID      string `json:"id"`
		Deleted bool   `json:"deleted"`
	}{"document", id, true})
}

// Lengths of a page of the list.
const defaultPage, maxPage = 100, 1000

func (x *exchange) listDocuments() error {
	q := x.r.URL.Query()
	n := defaultPage
	if v := q.Get("limit"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > maxPage {
			return invalid("limit", "invalid_value", "limit is not a number from 1 to %d", maxPage)
		}
	}
	page, more := x.documents.list(x.info.Namespace, q.Get("after"), n)
	list := struct {
		Object string  `json:"object"`
		Data   []shown `json:"data"`
		First  string  `json:"first_id,omitempty"`
		Last   string  `json:"last_id,omitempty"`
		More   bool    `json:"has_more"`
	}{Object: "list", Data: []shown{}, More: more}
	for _, d := range page {
		list.Data = append(list.Data, d.show(false))
	}
	if len(page) > 0 {
		list.First, list.Last = page[0].ID, page[len(page)-1].ID
	}
	return x.write(http.StatusOK, list)
}
