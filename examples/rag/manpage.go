// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// page is a manual page as plain text.
type page struct {
	id       string // signal(7)
	sections []section
	seeAlso  []string // ids
}

type section struct{ heading, text string }

// manPages reads the pages of all sections below a folder such as /usr/share/man.
func manPages(root string) ([]page, error) {
	paths, err := filepath.Glob(filepath.Join(root, "man[1-8]", "*.[1-8]*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var pages []page
	seen := map[string]bool{}
	for _, path := range paths {
		p, err := readPage(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// Links to other pages (".so") and pages in other macro packages have no sections.
		if len(p.sections) > 0 && !seen[p.id] {
			seen[p.id] = true
			pages = append(pages, p)
		}
	}
	return pages, nil
}

func readPage(path string) (page, error) {
	name, zipped := strings.CutSuffix(filepath.Base(path), ".gz")
	f, err := os.Open(path)
	if err != nil {
		return page{}, err
	}
	defer f.Close()
	var r io.Reader = f
	if zipped {
		if r, err = gzip.NewReader(f); err != nil {
			return page{}, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return page{}, err
	}
	ext := filepath.Ext(name)
	p := parsePage(data)
	p.id = fmt.Sprintf("%s(%s)", strings.TrimSuffix(name, ext), ext[1:2])
	return p, nil
}

// reference is how man(7) pages refer to others: a macro that sets the name in bold and the section in roman.
var reference = regexp.MustCompile(`^\.[BI]R ([\w.+-]+) +\(([1-8])\w*\)`)

// parsePage reads the man(7) macros, as far as text needs them.
func parsePage(data []byte) page {
	var p page
	skip := "" // ends a table or a block that is left out
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if skip != "" {
			if strings.HasPrefix(line, skip) {
				skip = ""
			}
			continue
		}
		macro, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch macro {
		case ".SH":
			p.sections = append(p.sections, section{heading: plain(rest)})
			continue
		case ".TS":
			skip = ".TE"
			continue
		case ".ig":
			skip = ".."
			continue
		}
		if len(p.sections) == 0 {
			continue
		}
		s := &p.sections[len(p.sections)-1]
		if s.heading == "SEE ALSO" {
			if m := reference.FindStringSubmatch(line); m != nil {
				p.seeAlso = append(p.seeAlso, fmt.Sprintf("%s(%s)", m[1], m[2]))
			}
			continue
		}
		switch {
		case strings.HasPrefix(line, `.\"`), strings.HasPrefix(line, `'`):
		case slices.Contains([]string{".PP", ".P", ".LP", ".TP", ".IP", ".HP", ".SS"}, macro):
			s.text += "\n" + plain(firstArgument(macro, rest))
		case strings.HasPrefix(line, "."):
			if slices.Contains([]string{".B", ".I", ".BR", ".BI", ".IR", ".IB", ".RB", ".RI", ".SM", ".SB"}, macro) {
				s.text += " " + plain(font(macro, rest))
			}
		case line == "":
			s.text += "\n"
		default:
			s.text += " " + plain(line)
		}
	}
	for i := range p.sections {
		p.sections[i].text = tidy(p.sections[i].text)
	}
	return p
}

// firstArgument is what a paragraph macro prints: .SS its heading and .IP its mark.
func firstArgument(macro, rest string) string {
	switch macro {
	case ".SS":
		return strings.Trim(rest, `"`) + ":"
	case ".IP":
		if args := arguments(rest); len(args) > 0 {
			return args[0]
		}
	}
	return ""
}

// font joins the arguments of a font macro: without spaces where fonts alternate.
func font(macro, rest string) string {
	if len(macro) == 3 && macro != ".SM" && macro != ".SB" {
		return strings.Join(arguments(rest), "")
	}
	return strings.Join(arguments(rest), " ")
}

// arguments splits a macro's arguments, which may be quoted.
func arguments(s string) []string {
	var out []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			arg, rest, _ := strings.Cut(s[1:], `"`)
			out, s = append(out, arg), rest
			continue
		}
		end := strings.IndexByte(strings.ReplaceAll(s, `\ `, `\_`), ' ')
		if end < 0 {
			end = len(s)
		}
		out, s = append(out, s[:end]), s[end:]
	}
	return out
}

var (
	escapes = strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\(dq`, `"`, `\(bu`, "*", `\(em`, "-", `\(en`, "-", `\(co`, "(c)", `\(ti`, "~",
		`\(ha`, "^", `\(ga`, "`", `\e`, `\`, `\ `, " ", `\~`, " ", `\&`, "", `\|`, "", `\^`, "", `\/`, "", `\,`, "", `\:`, "", `\%`, "", `\c`, "")
	fonts = regexp.MustCompile(`\\f(\[\w*\]|\(..|.)|\\s[-+]?\d|\\\[(\w+)\]`)
)

// plain removes what troff would not print.
func plain(s string) string { return escapes.Replace(fonts.ReplaceAllString(s, "")) }

// tidy joins the lines of a paragraph and drops empty ones.
func tidy(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
