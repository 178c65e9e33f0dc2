// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/graphkv/graphkv"
)

// document is a passage as clients send it. Links are the documents that it cites: it
// attends to them.
type document struct {
	ID    string   `json:"id"`
	Title string   `json:"title,omitempty"`
	Text  string   `json:"text,omitempty"`
	Links []string `json:"links,omitempty"`
}

// UnmarshalJSON reads an object, or the id of a registered document.
func (d *document) UnmarshalJSON(data []byte) error {
	*d = document{}
	if data[0] == '"' {
		return json.Unmarshal(data, &d.ID)
	}
	type plain document // without this method
	if err := json.Unmarshal(data, (*plain)(d)); err != nil {
		return invalid("documents", "invalid_type", `a document is {"id": "…", "title": "…", "text": "…", "links": ["…"]}, or the id of a registered one`)
	}
	return nil
}

// registered reports whether the document stands for one that was registered before.
func (d *document) registered() bool { return d.Text == "" && d.Title == "" && d.Links == nil }

// maxID is how long the id of a document may be, in bytes.
const maxID = 256

func (d *document) check(l Limits) error {
	switch {
	case d.ID == "":
		return invalid("documents", "invalid_value", "a document has no id")
	case len(d.ID) > maxID:
		return tooLarge("documents", "id_too_long", "the id of a document has %d bytes, the limit is %d", len(d.ID), maxID)
	case strings.ContainsFunc(d.ID, unicode.IsControl):
		return invalid("documents", "invalid_value", "the id %q has control characters", d.ID)
	case d.registered():
		return nil
	case d.Text == "":
		return invalid("documents", "invalid_value", "document %q has no text", d.ID)
	case len(d.Title)+len(d.Text) > l.DocumentBytes:
		return tooLarge("documents", "document_too_large", "document %q has %d bytes, the limit is %d", d.ID, len(d.Title)+len(d.Text), l.DocumentBytes)
	case len(d.Links) > l.Segments:
		return tooLarge("documents", "too_many_links", "document %q has %d links, the limit is %d", d.ID, len(d.Links), l.Segments)
	}
	return nil
}

// wording is how the model reads a document; with a title, as the published evaluation
// writes it.
func (d *document) wording() string {
	if d.Title == "" {
		return d.Text + "\n"
	}
	return "- Title: " + d.Title + "\n" + d.Text + "\n"
}

// strategies is the extension field "graphkv": a request of the library's without what
// OpenAI's fields say.
type strategies struct{ graphkv.Request }

func (g *strategies) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return invalid("graphkv", "invalid_type", "graphkv is not an object")
	}
	for _, name := range []string{"prefix", "segments", "query", "max_tokens", "temperature", "stop"} {
		if _, ok := fields[name]; ok {
			return invalid("graphkv."+name, "invalid_value", "graphkv has no %s here: it is said outside of it", name)
		}
	}
	if err := json.Unmarshal(data, &g.Request); err != nil {
		return invalid("graphkv", "invalid_value", "graphkv: %v", err)
	}
	return nil
}

// graph makes a request of the extension fields, without prefix and query. Documents
// become segments, and links edges; a link to what is not in this request is left out,
// as a document that was retrieved may cite ones that were not.
func (x *exchange) graph(e *extension) (*graphkv.Request, error) {
	r := &graphkv.Request{}
	if e.GraphKV != nil {
		*r = e.GraphKV.Request
	}
	if r.Strategy != "" && !slices.Contains(graphkv.Strategies(), r.Strategy) {
		return nil, invalid("graphkv.strategy", "invalid_value", "there is no strategy %q, but %v", r.Strategy, graphkv.Strategies())
	}
	if n := len(e.Documents); n > x.limits.Documents {
		return nil, tooLarge("documents", "too_many_documents", "there are %d documents, the limit is %d", n, x.limits.Documents)
	}
	place := make(map[string]bool, len(e.Documents))
	links := make([][]string, len(e.Documents))
	for i := range e.Documents {
		d := &e.Documents[i]
		if err := d.check(x.limits); err != nil {
			return nil, err
		}
		if place[d.ID] {
			return nil, invalid("documents", "invalid_value", "document %q is there twice", d.ID)
		}
		place[d.ID] = true
		s := graphkv.Segment{ID: d.ID}
		if d.registered() {
			known, ok := x.documents.get(x.info.Namespace, d.ID)
			if !ok {
				return nil, unknownDocument("documents", d.ID)
			}
			s.Tokens, links[i] = known.tokens, known.Links
		} else {
			s.Text, links[i] = d.wording(), d.Links
		}
		r.Segments = append(r.Segments, s)
	}
	edges := make(map[graphkv.Edge]bool, len(r.Edges))
	for _, e := range r.Edges {
		edges[e] = true
	}
	for i, list := range links {
		for _, source := range list {
			edge := graphkv.Edge{source, e.Documents[i].ID}
			if place[source] && edge[0] != edge[1] && !edges[edge] {
				edges[edge] = true
				r.Edges = append(r.Edges, edge)
			}
		}
	}
	return r, nil
}

func unknownDocument(param, id string) *apiError {
	e := invalid(param, "document_not_found", "document %q is not registered", id)
	e.Status = http.StatusNotFound
	return e
}
