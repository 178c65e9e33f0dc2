// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graphkv/graphkv/graph"
)

// passageChars is about how long a passage may be.
const passageChars = 1200

// corpus is a set of passages and their links: segments are the passages, edges say which read which.
type corpus struct {
	*graph.Graph
}

// newCorpus cuts pages into passages. The first passage of a page, its lead, says what the page is about: the other passages of
// the page read it, and so do the leads of the pages that name it under SEE ALSO.
func newCorpus(pages []page) (*corpus, error) {
	var segments []graph.Segment
	var edges []graph.Edge
	leads := map[string]bool{}
	for _, p := range pages {
		leads[p.id] = true
	}
	for _, p := range pages {
		for i, text := range passages(p) {
			id := p.id
			if i > 0 {
				id = fmt.Sprintf("%s/%d", p.id, i)
				edges = append(edges, graph.Edge{Source: p.id, Target: id})
			}
			segments = append(segments, graph.Segment{ID: id, Text: text})
		}
		slices.Sort(p.seeAlso)
		for _, other := range slices.Compact(p.seeAlso) {
			if leads[other] && other != p.id {
				edges = append(edges, graph.Edge{Source: other, Target: p.id})
			}
		}
	}
	g, err := graph.FromEdges(segments, edges)
	if err != nil {
		return nil, err
	}
	return &corpus{Graph: g}, nil
}

// passages returns the texts of a page, the lead first. Each names the page and the section it is from.
func passages(p page) []string {
	var out []string
	lead := ""
	for _, s := range p.sections {
		switch s.heading {
		case "NAME":
			lead = s.text
		case "COLOPHON", "AUTHOR", "AUTHORS", "COPYRIGHT", "REPORTING BUGS", "BUGS", "SYNOPSIS", "LIBRARY", "HISTORY", "STANDARDS":
		default:
			title := fmt.Sprintf("- Title: %s, %s\n", p.id, strings.ToLower(s.heading))
			for _, text := range cut(s.text, passageChars) {
				out = append(out, title+text+"\n")
			}
		}
	}
	title := "- Title: " + p.id + "\n"
	return append([]string{title + lead + "\n"}, out...)
}

// cut splits a text at the ends of lines, or where a line is too long at the ends of sentences or words.
func cut(text string, limit int) []string {
	var out []string
	for text != "" {
		end := len(text)
		if end > limit {
			end = limit
			for _, sep := range []string{"\n", ". ", " "} {
				if at := strings.LastIndex(text[:limit], sep); at > limit/2 {
					end = at + len(sep)
					break
				}
			}
			for end < len(text) && text[end]&0xc0 == 0x80 { // not inside a character
				end--
			}
		}
		if part := strings.TrimSpace(text[:end]); part != "" {
			out = append(out, part)
		}
		text = text[end:]
	}
	return out
}
