// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package outline

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func paragraph(text string, depth int) Block { return Block{Kind: Paragraph, Text: text, Depth: depth} }

func TestBlocks(t *testing.T) {
	code := func(text string, depth int) Block { return Block{Kind: Code, Text: text, Depth: depth} }
	heading := func(level int, text string) Block { return Block{Kind: Heading, Level: level, Text: text} }
	for text, want := range map[string][]Block{
		"":                                    nil,
		" \n\t\r\n":                           nil,
		"one\ntwo\n\nthree":                   {paragraph("one\ntwo", 0), paragraph("three", 0)},
		"one\r\n two\r\rthree":                {paragraph("one\ntwo", 0), paragraph("three", 0)},
		"# A\n##\tB ##\n### C#\n####### D":    {heading(1, "A"), heading(2, "B"), heading(3, "C#"), paragraph("####### D", 0)},
		"#A\n#\n## ##":                        {paragraph("#A", 0)},
		"A\nB\n===\nC\n---\n---":              {heading(1, "A\nB"), heading(2, "C")},
		"a\n    b\n\n    c\n\n\n      d\n\ne": {paragraph("a\nb", 0), code("c\n\n\n  d", 0), paragraph("e", 0)},
		"```go\nx\n\n  y\n```\nz":             {code("x\n\n  y", 0), paragraph("z", 0)},
		"~~~~\n```\n~~~\n~~~~~ \nz":           {code("```\n~~~", 0), paragraph("z", 0)},
		"  ```\n  x\n   y\n z\n":              {code("x\n y\nz", 0)},
		"``` a`b\nc":                          {paragraph("``` a`b\nc", 0)},
		"> a\nb\n> c\n\nd":                    {paragraph("a\nb\nc", 1), paragraph("d", 0)},
		"> # a\n> ```\n> x\ny":                {{Kind: Heading, Level: 1, Text: "a", Depth: 1}, code("x", 1), paragraph("y", 0)},
		"- a\n- b\n\n  c\n  - d\n1) e":        {paragraph("a", 1), paragraph("b", 1), paragraph("c", 1), paragraph("d", 2), paragraph("e", 1)},
		"a\n2. b\n1. c\n*d":                   {paragraph("a\n2. b", 0), paragraph("c\n*d", 1)},
		"-\n  a\n-\n\n  b":                    {paragraph("a", 1), paragraph("b", 0)},
		"-     a\n\n      b":                  {code("a\n\nb", 1)},
		"* * *\na\n***\nb":                    {paragraph("a", 0), paragraph("b", 0)},
		"> 1. a\n>\n>    b":                   {paragraph("a", 2), paragraph("b", 2)},
		"-\ta\n\n\tb\n\n\t\tc":                {paragraph("a", 1), paragraph("b", 1), code("c", 1)},
		"|a|b|\n|-|-|\n|c|d|":                 {paragraph("|a|b|\n|-|-|\n|c|d|", 0)},
		strings.Repeat("> ", 40) + "a":        {paragraph(strings.Repeat("> ", 7)+"> a", 32)},
	} {
		assert.Equal(t, want, Blocks(text), "%q", text)
	}
}

func TestSentences(t *testing.T) {
	for text, want := range map[string][]string{
		"":                       nil,
		" \u00a0 ":               nil,
		"One. Two!  Three? four": {"One.", "Two!", "Three? four"},
		`He said "No." She left (early.) Then...`:                       {`He said "No."`, "She left (early.)", "Then..."},
		"Dr. J. Smith, e.g. Alice, wrote Fig. 3 et al. 2024. See No. 5": {"Dr. J. Smith, e.g. Alice, wrote Fig. 3 et al. 2024.", "See No. 5"},
		"It costs 3.50 on example.com. Fine":                            {"It costs 3.50 on example.com.", "Fine"},
		"1. First. Second":                                              {"1. First.", "Second"},
		"今日は。明日は！ または？はい":                                               {"今日は。", "明日は！", "または？", "はい"},
		"Wait… What?! “Yes.” 42 is it.":                                 {"Wait…", "What?!", "“Yes.”", "42 is it."},
		"**Bold.** Next `x.` Y":                                         {"**Bold.**", "Next `x.`", "Y"},
		"... . ?":                                                       {"...", ".", "?"},
		"a.\xff b. \xffC":                                               {"a.\xff b.", "\xffC"},
	} {
		assert.Equal(t, want, Sentences(text), "%q", text)
	}
}

func TestParse(t *testing.T) {
	assert.Empty(t, Parse("\n---\n```\n```\n"))
	assert.Equal(t, []Section{
		{Sentences: []string{"Before. it all Starts."}},
		{Level: 1, Sentences: []string{"Title. With a stop", "First one.", "Second one."}},
		{Level: 2, Sentences: []string{"Lists", "a. b", "C.", "not a section", "x := 1\n\ny"}},
	}, Parse("Before. it all\\\nStarts.\n\nTitle. With\na stop\n===\nFirst\none. Second one.\n\n## Lists ##\n- a. b\n- C.\n\n> # not a section\n\n```\nx := 1\n\ny\n```\n"))
}

// words are what must not get lost: all that is neither space nor could be a marker.
func words(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("#>-+*_=`~.)0123456789\\", r) {
			return -1
		}
		return r
	}, s)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "# a\n\nb. C\n", "> - a\n>\tb\n\n1. c\n   ```\n   d\n", "a\n===\n\t\tb\n\t- c\n", "~~~\nx\n\n\r\r\n", "a.\xff B", "- \t\n>",
		strings.Repeat(">", 50) + "- 1. a\n" + strings.Repeat("\t", 9) + "b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "`~") { // what stands after a fence gets lost
			s = strings.NewReplacer("`", "", "~", "").Replace(s)
		}
		s = strings.ToValidUTF8(s, "?") // words must not grow together where space is left out
		var blocks, sentences strings.Builder
		for _, b := range Blocks(s) {
			require.NotEmpty(t, strings.TrimSpace(b.Text))
			require.Equal(t, b.Kind == Heading, b.Level > 0)
			require.LessOrEqual(t, b.Depth, maxDepth)
			blocks.WriteString(b.Text)
		}
		require.Equal(t, words(s), words(blocks.String()))
		for i, section := range Parse(s) {
			require.NotEmpty(t, section.Sentences)
			require.True(t, i == 0 || section.Level > 0)
			for _, x := range section.Sentences {
				require.NotEmpty(t, strings.TrimSpace(x))
				sentences.WriteString(x)
			}
		}
		require.Equal(t, words(s), words(sentences.String()))
	})
}

// Texts that make other parsers slow take time in proportion to their length.
func TestTimeIsLinear(t *testing.T) {
	const n = 200_000
	for _, s := range []string{
		strings.Repeat("> ", n), strings.Repeat("- ", n), strings.Repeat("\t", n), strings.Repeat(">\t", n), strings.Repeat("a. ", n),
		strings.Repeat("- a\n\n", n), strings.Repeat("#", n), strings.Repeat("```\n", n), strings.Repeat("a\n", n), strings.Repeat(". ", n),
		strings.Repeat(strings.Repeat("> ", 31)+"a\n", n/64), strings.Repeat(`"`, n), strings.Repeat(`."`, n), strings.Repeat("1. ", n),
		"a. " + strings.Repeat(" ", n) + strings.Repeat("B. ", n), strings.Repeat(" ", n) + "a. " + strings.Repeat("b ", n), strings.Repeat("word ", n) + strings.Repeat("x. y ", n),
	} {
		start := time.Now()
		Parse(s)
		assert.Less(t, time.Since(start), 3*time.Second, "%.20q", s)
	}
}
