// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package outline

import "strings"

// line is what is left of a line. Tabs reach to the next column that is a multiple of
// four, wherever the line has been cut.
type line struct {
	rest   string
	column int // of rest[0]
}

// indent returns how many columns of white space the line starts with.
func (l *line) indent() int {
	at := l.column
	for i := range len(l.rest) {
		switch l.rest[i] {
		case ' ':
			at++
		case '\t':
			at += 4 - at%4
		default:
			return at - l.column
		}
	}
	return at - l.column
}

// strip takes columns of white space, or one character that is none, off the line.
func (l *line) strip(columns int) {
	for columns > 0 && l.rest != "" {
		width := 1
		if l.rest[0] == '\t' {
			width = 4 - l.column%4
		}
		if width > columns { // a part of a tab
			l.rest = strings.Repeat(" ", width) + l.rest[1:]
			continue
		}
		l.rest = l.rest[1:]
		l.column += width
		columns -= width
	}
}

func (l *line) blank() bool { return strings.Trim(l.rest, " \t") == "" }

// trimmed returns the line without white space around it.
func (l *line) trimmed() string { return strings.Trim(l.rest, " \t") }

// first returns the first character after the indentation, 0 if there is none.
func (l *line) first() byte {
	if s := strings.TrimLeft(l.rest, " \t"); s != "" {
		return s[0]
	}
	return 0
}

// container takes the marker of a quote or a list item off the line. paragraph says that
// the line would otherwise go on with a paragraph, which not every item may interrupt.
func (l *line) container(paragraph bool) (container, bool) {
	if l.first() == '>' {
		l.strip(l.indent())
		l.strip(1)
		if l.indent() > 0 {
			l.strip(1)
		}
		return container{}, true
	}
	n := l.item(paragraph)
	if n == 0 {
		return container{}, false
	}
	indent := l.indent()
	l.strip(indent)
	l.strip(n)
	c := container{indent: indent + n + 1}
	switch spaces := l.indent(); {
	case l.blank():
		c.empty = true
		l.rest = ""
	case spaces <= 4:
		l.strip(spaces)
		c.indent += spaces - 1
	default: // the item starts with indented code
		l.strip(1)
	}
	return c, true
}

// item returns the length of the list marker after the indentation, 0 if there is none.
func (l *line) item(paragraph bool) int {
	s := strings.TrimLeft(l.rest, " \t")
	n := 0
	switch {
	case s == "":
		return 0
	case strings.IndexByte("-+*", s[0]) >= 0:
		if l.breaks() {
			return 0
		}
		n = 1
	default:
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		if n == 0 || n > 9 || n == len(s) || s[n] != '.' && s[n] != ')' {
			return 0
		}
		if paragraph && s[:n] != "1" {
			return 0
		}
		n++
	}
	after := s[n:]
	switch {
	case strings.Trim(after, " \t") == "":
		if paragraph {
			return 0
		}
	case after[0] != ' ' && after[0] != '\t':
		return 0
	}
	return n
}

// breaks reports whether the line is a thematic break: three or more of one of *, - and
// _, with any space between.
func (l *line) breaks() bool {
	s := strings.TrimLeft(l.rest, " \t")
	if s == "" || strings.IndexByte("*-_", s[0]) < 0 {
		return false
	}
	n := strings.Count(s, s[:1])
	return n >= 3 && strings.Trim(s, s[:1]+" \t") == ""
}

// underline returns the level of the heading that the line would make of a paragraph.
func (l *line) underline() (level int, ok bool) {
	s := strings.TrimRight(strings.TrimLeft(l.rest, " \t"), " \t")
	switch {
	case s == "":
		return 0, false
	case strings.Trim(s, "=") == "":
		return 1, true
	case strings.Trim(s, "-") == "":
		return 2, true
	}
	return 0, false
}

// heading returns the level of the ATX heading that the line is, 0 if it is none.
func (l *line) heading() int {
	s := strings.TrimLeft(l.rest, " \t")
	n := len(s) - len(strings.TrimLeft(s, "#"))
	if n > 6 || n < len(s) && s[n] != ' ' && s[n] != '\t' {
		return 0
	}
	return n
}

// title returns the text of an ATX heading.
func (l *line) title() string {
	s := strings.Trim(strings.TrimLeft(strings.TrimLeft(l.rest, " \t"), "#"), " \t")
	bare := strings.TrimRight(s, "#")
	if bare == "" || bare[len(bare)-1] == ' ' || bare[len(bare)-1] == '\t' {
		return strings.TrimRight(bare, " \t")
	}
	return s
}

// fence returns the character and length of the code fence that the line opens, 0 for
// none.
func (l *line) fence() (character byte, length int) {
	s := strings.TrimLeft(l.rest, " \t")
	if s == "" || s[0] != '`' && s[0] != '~' {
		return 0, 0
	}
	n := len(s) - len(strings.TrimLeft(s, s[:1]))
	if n < 3 || s[0] == '`' && strings.IndexByte(s[n:], '`') >= 0 {
		return 0, 0
	}
	return s[0], n
}

// closes reports whether the line closes code with a fence.
func (l *line) closes(fence byte, length int) bool {
	s := l.trimmed()
	return len(s) >= length && strings.Trim(s, string(fence)) == ""
}
