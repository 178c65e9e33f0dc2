// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package outline

import "strings"

// Kind says what a block is.
type Kind uint8

const (
	Paragraph Kind = iota // also the text of a list item or a quote
	Heading
	Code // fenced or indented
)

func (k Kind) String() string { return [...]string{"paragraph", "heading", "code"}[k] }

// Block is a leaf of a text's block structure.
type Block struct {
	Kind  Kind
	Level int // 1 to 6 of a heading
	Depth int // how many lists and quotes it stands in
	// Text has the block's lines without what makes them one: markers of headings, lists,
	// quotes and fences, indentation, spaces at the ends of lines. Lines of code keep theirs.
	Text string
}

// maxDepth bounds the work for a line.
const maxDepth = 32

// Blocks returns the blocks of a Markdown text that hold text, in its order.
func Blocks(markdown string) []Block {
	var p parser
	for len(markdown) > 0 {
		var text string
		text, markdown = cutLine(markdown)
		p.line(&line{rest: text})
	}
	p.closeTo(0)
	return p.blocks
}

// cutLine cuts off the first line; it ends with \n, \r\n or \r.
func cutLine(s string) (first, rest string) {
	i := strings.IndexAny(s, "\r\n")
	if i < 0 {
		return s, ""
	}
	n := 1
	if s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n' {
		n = 2
	}
	return s[:i], s[i+n:]
}

// parser goes over a text line by line. Containers are lists' items and quotes that are
// open, outermost first; the leaf is the block within the innermost.
type parser struct {
	containers []container
	leaf       leaf
	blocks     []Block
}

// container is an open block quote, or an open list item.
type container struct {
	indent int  // columns that the lines of an item are indented by; 0 for a quote
	empty  bool // an item of which only the marker's line, with nothing after it, was seen
}

func (c *container) quote() bool { return c.indent == 0 }

// leaf is an open block.
type leaf struct {
	open   bool
	kind   Kind
	lines  []string
	fence  byte // of fenced code; 0 for indented code
	length int  // of the fence
	indent int  // of the fence
}

// line takes in the next line.
func (p *parser) line(l *line) {
	matched := 0
	for ; matched < len(p.containers) && p.continues(&p.containers[matched], l); matched++ {
	}
	if matched == len(p.containers) && p.leaf.open && p.leaf.kind == Code && p.code(l) {
		return
	}
	// What the line starts ends what it does not continue. If it starts nothing it goes on
	// with a paragraph, wherever that is.
	lazy := p.leaf.open && p.leaf.kind == Paragraph
	for !l.blank() && l.indent() < 4 && len(p.containers) < maxDepth {
		c, ok := l.container(lazy && matched == len(p.containers))
		if !ok {
			break
		}
		p.closeTo(matched)
		p.containers = append(p.containers, c)
		matched, lazy = matched+1, false
	}
	if l.blank() {
		p.closeTo(matched)
		return
	}
	p.text(l, matched, lazy)
}

// continues reports whether the line goes on with a container, and takes its prefix
// off the line.
func (p *parser) continues(c *container, l *line) bool {
	if c.quote() {
		if l.indent() >= 4 || l.first() != '>' {
			return false
		}
		l.strip(l.indent())
		l.strip(1)
		if l.indent() > 0 {
			l.strip(1)
		}
		return true
	}
	if l.blank() {
		return !c.empty // an item may start with one blank line, not two
	}
	if l.indent() < c.indent {
		return false
	}
	l.strip(c.indent)
	c.empty = false
	return true
}

// code goes on with code and reports whether the line belongs to it.
func (p *parser) code(l *line) bool {
	f := &p.leaf
	switch {
	case f.fence == 0:
		if !l.blank() && l.indent() < 4 {
			p.close()
			return false
		}
		l.strip(4)
	case l.indent() < 4 && l.closes(f.fence, f.length):
		p.close()
		return true
	default:
		l.strip(min(l.indent(), f.indent))
	}
	f.lines = append(f.lines, l.rest)
	return true
}

// text takes in what is left of a line, which is not blank, within so many containers.
func (p *parser) text(l *line, matched int, lazy bool) {
	inside := matched == len(p.containers)
	if l.indent() >= 4 {
		if lazy {
			p.leaf.lines = append(p.leaf.lines, l.trimmed())
			return
		}
		p.closeTo(matched)
		l.strip(4)
		p.leaf = leaf{open: true, kind: Code, lines: []string{l.rest}}
		return
	}
	if level, ok := l.underline(); ok && lazy && inside {
		p.leaf.kind = Heading
		p.closeAs(level)
		return
	}
	switch {
	case l.breaks():
		p.closeTo(matched)
		return
	case l.heading() > 0:
		p.closeTo(matched)
		p.leaf = leaf{open: true, kind: Heading, lines: []string{l.title()}}
		p.closeAs(l.heading())
		return
	}
	if fence, n := l.fence(); n > 0 {
		p.closeTo(matched)
		p.leaf = leaf{open: true, kind: Code, fence: fence, length: n, indent: l.indent()}
		return
	}
	if !lazy {
		p.closeTo(matched)
		p.leaf = leaf{open: true, kind: Paragraph}
	}
	p.leaf.lines = append(p.leaf.lines, l.trimmed())
}

// closeTo closes the leaf and all containers but the first n.
func (p *parser) closeTo(n int) {
	p.close()
	p.containers = p.containers[:n]
}

func (p *parser) close() { p.closeAs(0) }

// closeAs ends the leaf, which as a heading is of the given level.
func (p *parser) closeAs(level int) {
	f := &p.leaf
	if !f.open {
		return
	}
	if f.kind == Code && f.fence == 0 {
		for len(f.lines) > 0 && strings.Trim(f.lines[len(f.lines)-1], " \t") == "" {
			f.lines = f.lines[:len(f.lines)-1]
		}
	}
	text := strings.Join(f.lines, "\n")
	if strings.TrimSpace(text) != "" {
		p.blocks = append(p.blocks, Block{Kind: f.kind, Level: level, Depth: len(p.containers), Text: text})
	}
	p.leaf = leaf{}
}
