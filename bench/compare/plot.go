// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/graphkv/graphkv/bench"
)

// chart is a group of cases that share a unit.
type chart struct {
	file, title string
	has         func(c bench.Case) bool
}

var charts = []chart{
	{"attention-a", "Attention, shape A (9/3 heads, d 64)", func(c bench.Case) bool { return c.Kind == bench.KindAttention && c.Shape == "A" && !c.Alone && !one(c) }},
	{"attention-b", "Attention, shape B (32/8 heads, d 128)", func(c bench.Case) bool { return c.Kind == bench.KindAttention && c.Shape == "B" && !one(c) }},
	{"prefill", "Prefill", func(c bench.Case) bool { return c.Kind == bench.KindPrefill }},
	{"decode", "Decode", func(c bench.Case) bool { return c.Kind == bench.KindDecode }},
	{"ttft", "Time to first token, 10 passages and a question (log scale)", func(c bench.Case) bool { return c.Kind == bench.KindTTFT || c.Kind == bench.KindGraph }},
}

// one reports whether a case is the decode of one row, which memory bounds.
func one(c bench.Case) bool { return len(c.CheckRows) == 1 }

// least is where bars start on a logarithmic scale, in seconds.
const least = 1e-3

// palette, our own colour first; colours that the colour-blind can tell apart.
var palette = []color.Color{
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff}, color.RGBA{0xf0, 0xe4, 0x42, 0xff}, color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	color.RGBA{0x99, 0x99, 0x99, 0xff}, color.RGBA{0x44, 0x44, 0x44, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	color.RGBA{0x88, 0x55, 0xbb, 0xff},
}

// plots draws the charts that have data and returns their names.
func (r *report) plots() ([]string, error) {
	var names []string
	threads := slices.Max(r.options.threads)
	for _, c := range charts {
		var rows []*row
		for _, row := range r.rows {
			if row.threads == threads && c.has(row.Case) {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := r.draw(c, rows); err != nil {
			return nil, fmt.Errorf("plot %s: %w", c.file, err)
		}
		names = append(names, c.file)
	}
	return names, nil
}

// draw makes a group of bars for each case, one bar for each contender.
func (r *report) draw(c chart, rows []*row) error {
	var who []string
	for _, row := range rows {
		for _, e := range row.entries {
			if !slices.Contains(who, e.who) {
				who = append(who, e.who)
			}
		}
	}
	slices.SortStableFunc(who, func(a, b string) int { return rank(a) - rank(b) })
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s\n%s, %d threads", c.title, r.spec.Machine.CPU, rows[0].threads)
	p.Y.Label.Text = rows[0].Unit
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	p.Y.Min = 0
	log := rows[0].Work == 0
	if log {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	width := vg.Points(480 / float64(len(rows)*(len(who)+1)))
	top := 0.0
	for i, name := range who {
		values := make(plotter.Values, len(rows))
		for j, row := range rows {
			for _, e := range row.entries {
				if e.who == name {
					values[j] = e.value()
				}
			}
			top = max(top, values[j])
			if log {
				values[j] = max(0, values[j]-least)
			}
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return err
		}
		bars.LineStyle.Width = 0
		bars.Color = palette[i%len(palette)]
		bars.Offset = width * vg.Length(float64(i)-float64(len(who)-1)/2)
		if log { // bars cannot start from 0
			floor, err := plotter.NewBarChart(slices.Repeat(plotter.Values{least}, len(rows)), width)
			if err != nil {
				return err
			}
			bars.StackOn(floor)
		}
		p.Add(bars)
		p.Legend.Add(name, bars)
	}
	names := make([]string, len(rows))
	for j, row := range rows {
		names[j] = strings.TrimPrefix(row.ID, row.Kind+"/")
		if row.Kind == bench.KindTTFT || row.Kind == bench.KindGraph {
			names[j] = row.ID
		}
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.6, float64(len(rows))-0.4
	if rows[0].Unit == "GFLOP/s" {
		if err := roof(p, rows); err != nil {
			return err
		}
		top = max(top, p.Y.Max)
	}
	p.Y.Min, p.Y.Max = 0, top*1.6 // room for the legend
	if log {
		p.Y.Min, p.Y.Max = least, top*100
	}
	for _, ext := range []string{".svg", ".png"} {
		if err := p.Save(9*vg.Inch, 5.5*vg.Inch, filepath.Join(r.options.out, c.file+ext)); err != nil {
			return err
		}
	}
	return nil
}

// roof draws the FMA peak.
func roof(p *plot.Plot, rows []*row) error {
	var peaks []float64
	for _, row := range rows {
		peaks = append(peaks, row.peak...)
	}
	peak := median(peaks)
	if peak == 0 {
		return nil
	}
	line, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: peak}, {X: p.X.Max, Y: peak}})
	if err != nil {
		return err
	}
	line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(line)
	p.Legend.Add("FMA peak", line)
	return nil
}

// rank puts ourselves first.
func rank(who string) int {
	if strings.HasPrefix(who, bench.Self) {
		return 0
	}
	return 1
}

func sortedNames(names []string) []string {
	slices.Sort(names)
	return names
}
