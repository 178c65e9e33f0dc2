// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"github.com/graphkv/graphkv/outline"
)

// goldmarkBlocks returns what goldmark makes of a text, in the terms of package outline.
func goldmarkBlocks(source []byte) []outline.Block {
	var blocks []outline.Block
	depth := 0
	lines := func(n ast.Node, trim bool) string {
		var out []string
		for i := range n.Lines().Len() {
			at := n.Lines().At(i)
			s := strings.TrimRight(string(at.Value(source)), "\n")
			if trim {
				s = strings.Trim(s, " \t")
			}
			out = append(out, s)
		}
		return strings.Join(out, "\n")
	}
	_ = ast.Walk(goldmark.New().Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		b := outline.Block{Depth: depth}
		switch n := n.(type) {
		case *ast.Blockquote, *ast.ListItem:
			if entering {
				depth++
			} else {
				depth--
			}
			return ast.WalkContinue, nil
		case *ast.Paragraph, *ast.TextBlock:
			b.Kind, b.Text = outline.Paragraph, lines(n, true)
		case *ast.Heading:
			b.Kind, b.Level, b.Text = outline.Heading, n.Level, lines(n, true)
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			b.Kind, b.Text = outline.Code, lines(n, false)
		default:
			return ast.WalkContinue, nil
		}
		if entering && strings.TrimSpace(b.Text) != "" {
			blocks = append(blocks, b)
		}
		return ast.WalkSkipChildren, nil
	})
	return blocks
}

// drawMarkdown puts lines together from what blocks begin and end with. There is nothing in it that the packages are meant to
// differ in: HTML, link reference definitions, tabs inside code. Nor is there a list item that starts with a blank line, which
// goldmark 1.8 ends with all that it stands in where the specification ends the item.
func drawMarkdown(r *rand.Rand) string {
	var b strings.Builder
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for range 1 + r.IntN(9) {
		markers := ""
		for range r.IntN(3) {
			markers += pick("", "", " ", "  ", "   ", "    ", "> ", ">", "- ", "* ", "1. ", "2. ", "12) ", "-   ", "  ")
		}
		leaf := pick("", "", "a", "b c", "word", "# title", "## other ##", "###", "#x", "===", "---", "--", "***", "* * *", "```", "~~~~", "``` go", "~~~", "c  ")
		if strings.ContainsAny(markers, "-*.)") && leaf == "" {
			leaf = "d"
		}
		b.WriteString(markers + leaf)
		b.WriteString(pick("\n", "\n", "\n", "\n\n"))
	}
	return b.String()
}

func TestBlocksAgainstGoldmark(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	r := rand.New(rand.NewPCG(3, 1))
	for range n {
		s := drawMarkdown(r)
		want, got := goldmarkBlocks([]byte(s)), outline.Blocks(s)
		normal := func(blocks []outline.Block) []outline.Block {
			for i := range blocks { // spaces on blank lines of code
				var lines []string
				for _, l := range strings.Split(strings.TrimRight(blocks[i].Text, " \n"), "\n") {
					lines = append(lines, string(bytes.TrimRight([]byte(l), " ")))
				}
				blocks[i].Text = strings.Join(lines, "\n")
			}
			return blocks
		}
		require.Equal(t, normal(want), normal(got), "%q", s)
	}
}
