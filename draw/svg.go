// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package draw

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
)

// Figure is a [Graph] or a [Mask].
type Figure interface {
	// draw writes the figure into a canvas of its own and returns its size.
	draw(c *canvas) (width, height float64, err error)
	about() (title, description string)
}

const (
	margin   = 16.0
	gutter   = 40.0 // between figures
	fontSize = 13.0
	small    = 11.0   // font size
	caption  = 34.0   // height of a figure's title
	widest   = 1500.0 // of figures side by side
)

// style are the colours, for light and dark backgrounds.
const style = `.gk{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}` +
	`.gk text{fill:#1f2328}.gk .gk-small{font-size:11px;fill:#59636e}.gk .gk-title{font-weight:600}` +
	`.gk .gk-node{stroke-width:1.25}` +
	`.gk .gk-segment{fill:#ddf4ff;stroke:#0969da}.gk .gk-prefix{fill:#f6f8fa;stroke:#818b98}` +
	`.gk .gk-query{fill:#fff8c5;stroke:#9a6700}.gk .gk-answer{fill:#dafbe1;stroke:#1a7f37}` +
	`.gk .gk-edge{fill:none;stroke:#0969da;stroke-opacity:.38}.gk .gk-edge:hover{stroke-opacity:.85}` +
	`.gk .gk-read{fill:#0969da}.gk .gk-own{fill:#bf8700}` +
	`.gk .gk-full{fill:#0969da}.gk .gk-partial{fill:#80ccff}.gk .gk-empty{fill:#f6f8fa;stroke:#d1d9e0}` +
	`.gk .gk-grid{fill:none;stroke:#818b98;stroke-opacity:.45;stroke-width:.6}.gk .gk-row{fill:#000;fill-opacity:0}` +
	`@media(prefers-color-scheme:dark){.gk text{fill:#f0f6fc}.gk .gk-small{fill:#9198a1}` +
	`.gk .gk-segment{fill:#0c2d6b;stroke:#4493f8}.gk .gk-prefix{fill:#212830;stroke:#656c76}` +
	`.gk .gk-query{fill:#4b2900;stroke:#d29922}.gk .gk-answer{fill:#033a16;stroke:#3fb950}` +
	`.gk .gk-edge{stroke:#4493f8;stroke-opacity:.5}.gk .gk-read{fill:#4493f8}.gk .gk-own{fill:#d29922}` +
	`.gk .gk-full{fill:#4493f8}.gk .gk-partial{fill:#1f4b8e}.gk .gk-empty{fill:#151b23;stroke:#3d444d}` +
	`.gk .gk-grid{stroke:#9198a1}}`

// SVG returns the figures side by side in one picture, or one below the other if that
// would be too wide.
func SVG(figures ...Figure) ([]byte, error) {
	if len(figures) == 0 {
		return nil, errors.New("draw: no figure")
	}
	drawn := make([]canvas, len(figures))
	widths, heights := make([]float64, len(figures)), make([]float64, len(figures))
	var titles, descriptions []string
	total := 0.0
	for i, f := range figures {
		w, h, err := f.draw(&drawn[i])
		if err != nil {
			return nil, err
		}
		title, description := f.about()
		titles, descriptions = append(titles, title), append(descriptions, description)
		widths[i], heights[i] = max(w, textWidth(title, fontSize)), h+caption
		total += widths[i] + gutter
	}
	var body canvas
	width, height, x, y := 0.0, 0.0, margin, margin
	for i := range figures {
		body.printf(`<g transform="translate(%s %s)">`, num(x), num(y))
		body.text(0, 14, "gk-title", titles[i])
		body.printf(`<g transform="translate(0 %s)">`, num(caption))
		body.Write(drawn[i].Bytes())
		body.printf("</g></g>\n")
		width, height = max(width, x+widths[i]+margin), max(height, y+heights[i]+margin)
		if total > widest {
			y += heights[i] + gutter
		} else {
			x += widths[i] + gutter
		}
	}
	// Names that a page may hold several of, so they depend on what they name.
	sum := fnv.New64a()
	sum.Write(body.Bytes())
	id := fmt.Sprintf("gk-%016x", sum.Sum64())
	var c canvas
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="gk" viewBox="0 0 %s %s" width="%[1]s" height="%[2]s" role="img" aria-labelledby="%[3]s-t %[3]s-d">`+"\n",
		num(math.Ceil(width)), num(math.Ceil(height)), id)
	c.printf(`<title id="%s-t">%s</title><desc id="%[1]s-d">%[3]s</desc>`+"\n", id, escape(strings.Join(titles, "; ")), escape(strings.Join(descriptions, " ")))
	c.printf("<style>%s</style>\n", style)
	c.Write(body.Bytes())
	c.printf("</svg>\n")
	return c.Bytes(), nil
}

// canvas collects elements.
type canvas struct{ bytes.Buffer }

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// text writes a line of text at a base line; classes may be empty.
func (c *canvas) text(x, y float64, classes, s string, attributes ...string) {
	c.printf(`<text x="%s" y="%s"`, num(x), num(y))
	if classes != "" {
		c.printf(` class="%s"`, classes)
	}
	for _, a := range attributes {
		c.printf(" %s", a)
	}
	c.printf(">%s</text>\n", escape(s))
}

// num writes a coordinate to a tenth.
func num(x float64) string {
	s := strconv.FormatFloat(x, 'f', 1, 64)
	s = strings.TrimSuffix(s, ".0")
	if s == "-0" {
		return "0"
	}
	return s
}

// escape makes a text safe in an element or attribute. What XML cannot hold becomes U+FFFD.
func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes all
	return b.String()
}

// narrowest is the width of the narrowest characters, in em.
const narrowest = 0.36

// textWidth estimates how wide a text is; the font is the reader's.
func textWidth(s string, size float64) float64 {
	em := 0.0
	for _, r := range s {
		switch {
		case r >= 0x1100: // ideographs and the like
			em++
		case strings.ContainsRune("fijlrt .,:;'|()[]", r):
			em += narrowest
		case r >= 'A' && r <= 'Z', strings.ContainsRune("mw<>&%+=@", r):
			em += 0.75
		default:
			em += 0.59
		}
	}
	return em * size
}

// shorten cuts the middle out of a text that is wider than fits.
func shorten(s string, size, fits float64) string {
	runes := []rune(s)
	most := max(2, int(fits/(narrowest*size))) // may fit
	for keep := min(len(runes), most); keep > 1 && textWidth(s, size) > fits; keep-- {
		s = string(runes[:(keep+1)/2]) + "…" + string(runes[len(runes)-keep/2:])
	}
	return s
}
