// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"

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
	top := 100 * s.Chance
	for k, m := range measures {
		points := errorPoints{}
		for j, v := range s.Variants {
			x := v.Groups[0].Scores[m]
			top = max(top, 100*x.High)
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
	p.Y.Max = min(100, 10*math.Ceil(top/10)+15) // room for the legend
	p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.5
	return p, nil
}

// ttft shows the published measure over the time to the first token, a line from the longest to the
// shortest for every variant, nil if no time was taken. The names stand in a column at the right.
func (s *Summary) ttft() (*plot.Plot, error) {
	const m = SubspanEM
	p := s.newPlot("Time to the first token", measureNames[m]+", %")
	p.X.Label.Text = "median, ms (log scale)"
	p.X.Scale = plot.LogScale{}
	var series [3]plotter.XYs
	var labels []string
	for j := range s.Variants {
		v := &s.Variants[j]
		if v.Timed == 0 {
			continue
		}
		labels = append(labels, v.Label)
		for k, l := range []*Latency{v.Cold, v.Reordered, v.Again} {
			series[k] = append(series[k], plotter.XY{X: max(l.Median, 1e-3), Y: 100 * v.Groups[0].Scores[m].Mean})
		}
	}
	if labels == nil {
		return nil, nil
	}
	left, right, bottom, top := plotter.XYRange(slices.Concat(series[0], series[1], series[2]))
	margin := max(2, (top-bottom)/6)
	p.Y.Min, p.Y.Max = max(0, bottom-margin), min(100, top+2*margin) // room for the legend
	p.X.Min, p.X.Max = left/1.2, right*math.Pow(right/left, 0.35)*1.3
	p.X.Tick.Marker = plot.ConstantTicks(oneTwoFive(p.X.Min, right))
	at := spread(series[0], (p.Y.Max-p.Y.Min)/25)
	for i := range labels {
		line, err := plotter.NewLine(plotter.XYs{series[2][i], series[1][i], series[0][i], {X: right * 1.2, Y: at[i]}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = grey, vg.Points(0.5)
		p.Add(line)
		at[i], labels[i] = at[i]-(p.Y.Max-p.Y.Min)/100, " "+labels[i] // the middle of the text, not its foot
	}
	column := make(plotter.XYs, len(labels))
	for i := range column {
		column[i] = plotter.XY{X: right * 1.2, Y: at[i]}
	}
	text, err := plotter.NewLabels(plotter.XYLabels{XYs: column, Labels: labels})
	if err != nil {
		return nil, err
	}
	for i := range text.TextStyle {
		text.TextStyle[i].Font.Size = vg.Points(9)
	}
	p.Add(text)
	for k, name := range []string{"nothing cached", "cached in another order", "cached"} {
		dots, err := plotter.NewScatter(series[k])
		if err != nil {
			return nil, err
		}
		dots.GlyphStyle = draw.GlyphStyle{
			Color: []color.RGBA{orange, green, blue}[k], Radius: vg.Points(3.5),
			Shape: []draw.GlyphDrawer{draw.CircleGlyph{}, draw.PyramidGlyph{}, draw.BoxGlyph{}}[k],
		}
		p.Add(dots)
		p.Legend.Add(name, dots)
	}
	return p, nil
}

// spread moves the heights of points apart so that text next to them does not overlap, and keeps their order.
func spread(points plotter.XYs, gap float64) []float64 {
	order := make([]int, len(points))
	y := make([]float64, len(points))
	for i, p := range points {
		order[i], y[i] = i, p.Y
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(y[a], y[b]) })
	shift := 0.0
	for k, i := range order[1:] {
		before := y[order[k]]
		if y[i] < before+gap {
			shift += before + gap - y[i]
			y[i] = before + gap
		}
	}
	for i := range y { // half up, half down
		y[i] -= shift / float64(2*len(y))
	}
	return y
}

// oneTwoFive are the marks 1, 2, 5, 10, 20, … between two positive numbers.
func oneTwoFive(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high; decade *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if x := f * decade; x >= low && x <= high {
				ticks = append(ticks, plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'g', 3, 64)})
			}
		}
	}
	return ticks
}

// errorPoints are points with intervals.
type errorPoints struct {
	plotter.XYs
	plotter.YErrors
}
