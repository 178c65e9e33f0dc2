// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package outline

import "strings"

// Section is a heading and what follows up to the next.
type Section struct {
	// Sentences are in the order of the text; if the section has a heading, that is the
	// first.
	Sentences []string
	Level     int // 1 to 6 of the heading; 0 without one
}

// Parse returns the sections of a Markdown text that have sentences, in its order. There
// are none if the text has no words at all.
func Parse(markdown string) []Section {
	var sections []Section
	for _, b := range Blocks(markdown) {
		starts := b.Kind == Heading && b.Depth == 0
		if starts || len(sections) == 0 {
			sections = append(sections, Section{Level: b.Level})
			if !starts {
				sections[0].Level = 0
			}
		}
		s := &sections[len(sections)-1]
		switch b.Kind {
		case Code:
			s.Sentences = append(s.Sentences, b.Text)
		case Heading: // is one sentence, whatever stops it has
			s.Sentences = append(s.Sentences, join(b.Text))
		default:
			s.Sentences = append(s.Sentences, Sentences(join(b.Text))...)
		}
	}
	return sections
}

// join makes one line of a block's lines; a backslash at the end of one only breaks it.
func join(lines string) string {
	return strings.ReplaceAll(strings.ReplaceAll(lines, "\\\n", " "), "\n", " ")
}
