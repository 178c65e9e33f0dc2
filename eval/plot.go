// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours that the colour-blind can tell apart (Okabe and Ito).
var (
	orange = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	green  = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	grey   = color.RGBA{0x99, 0x99, 0x99, 0xff}
)

// Plot draws the summary into a folder, each picture as SVG and as PNG, and returns their
// names: "accuracy", the scores with their intervals, if there are any, and "ttft", scores over the time to
// the first token, if there are both.
func (s *Summary) Plot(dir string) ([]string, error) {
	var names []string
	if s.Items == 0 {
		return nil, nil
	}
	save := func(name string, p *plot.Plot) error {
		for _, ext := range []string{".svg", ".png"} {
			if err := p.Save(vg.Length(3+0.6*float64(len(s.Variants)))*vg.Inch, 4*vg.Inch, filepath.Join(dir, name+ext)); err != nil {
				return fmt.Errorf("eval: plot %s: %w", name, err)
			}
		}
		names = append(names, name)
		return nil
	}
	p, err := s.accuracy()
	if err != nil {
		return nil, fmt.Errorf("eval: plot accuracy: %w", err)
	}
	if err := save("accuracy", p); err != nil {
		return nil, err
	}
	p, err = s.ttft()
	if err != nil {
		return nil, fmt.Errorf("eval: plot ttft: %w", err)
	}
	if p == nil {
		return names, nil
	}
	return names, save("ttft", p)
}

// newPlot returns a picture whose vertical axis is in per cent.
func (s *Summary) newPlot(title, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s\n%s, %s", title, s.Data, s.Model)
	p.Y.Label.Text = y
	p.Y.Min, p.Y.Max = 0, 100
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Add(plotter.NewGrid())
	return p
}

// accuracy shows every variant's scores with their intervals.
func (s *Summary) accuracy() (*plot.Plot, error) {
	p := s.newPlot("Scores with 95 % intervals", "%")
	measures := s.measures()
	for k, m := range measures {
		points := errorPoints{}
		for j, v := range s.Variants {
			x := v.Groups[0].Scores[m]
			points.XYs = append(points.XYs, plotter.XY{X: float64(j) + 0.2*(float64(k)-float64(len(measures)-1)/2), Y: 100 * x.Mean})
			points.YErrors = append(points.YErrors, struct{ Low, High float64 }{100 * (x.Mean - x.Low), 100 * (x.High - x.Mean)})
		}
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return nil, err
		}
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		c := []color.RGBA{orange, blue}[k]
		bars.Color, bars.LineStyle.Width = c, vg.Points(1.5)
		dots.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(3.5), Shape: draw.CircleGlyph{}}
		p.Add(bars, dots)
		p.Legend.Add(measureNames[m], dots)
	}
	if s.Chance > 0 {
		line, err := plotter.NewLine(plotter.XYs{{X: -0.5, Y: 100 * s.Chance}, {X: float64(len(s.Variants)) - 0.5, Y: 100 * s.Chance}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Dashes = grey, []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(line)
		p.Legend.Add("choice by chance", line)
	}
	var labels []string
	for _, v := range s.Variants {
		labels = append(labels, v.Label)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.5
	return p, nil
}

// ttft shows the first measure over the time to the first token, nil if no time was taken.
func (s *Summary) ttft() (*plot.Plot, error) {
	m := s.measures()[0]
	p := s.newPlot("Time to the first token", measureNames[m]+", %")
	p.X.Label.Text = "median, ms (log scale)"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	low, high := math.Inf(1), 0.0
	for k, when := range []struct {
		name string
		of   func(v *VariantSummary) *Latency
	}{
		{"nothing cached", func(v *VariantSummary) *Latency { return v.Cold }},
		{"cached in another order", func(v *VariantSummary) *Latency { return v.Reordered }},
		{"cached", func(v *VariantSummary) *Latency { return v.Again }},
	} {
		var points plotter.XYs
		var labels []string
		for j := range s.Variants {
			v := &s.Variants[j]
			if l := when.of(v); l != nil && l.Median > 0 {
				points = append(points, plotter.XY{X: l.Median, Y: 100 * v.Groups[0].Scores[m].Mean})
				labels = append(labels, " "+v.Label)
				low, high = min(low, l.Median), max(high, l.Median)
			}
		}
		if points == nil {
			return nil, nil
		}
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: []color.RGBA{orange, green, blue}[k], Radius: vg.Points(3.5), Shape: []draw.GlyphDrawer{draw.CircleGlyph{}, draw.TriangleGlyph{}, draw.SquareGlyph{}}[k]}
		p.Add(dots)
		p.Legend.Add(when.name, dots)
		if k == 0 { // the same heights in the others
			text, err := plotter.NewLabels(plotter.XYLabels{XYs: points, Labels: labels})
			if err != nil {
				return nil, err
			}
			for i := range text.TextStyle {
				text.TextStyle[i].Font.Size = vg.Points(8)
			}
			p.Add(text)
		}
	}
	p.X.Min, p.X.Max = low/1.3, high*2 // room for labels
	return p, nil
}

// errorPoints are points with intervals.
type errorPoints struct {
	plotter.XYs
	plotter.YErrors
}
