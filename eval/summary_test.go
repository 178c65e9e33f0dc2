// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Figures worked by hand: two items in two orders under two variants.
func TestSummarise(t *testing.T) {
	d := &Dataset{Name: "d", Format: RAG, Items: []Item{
		{ID: "a", Answers: []string{"Bo"}, Candidates: []string{"Bo", "Constantinople"}, Hops: 1},
		{ID: "b", Answers: []string{"Cy"}, Candidates: []string{"Bo", "Cy", "Di", "Ed"}, Hops: 2},
		{ID: "c", Answers: []string{"Di"}, Hops: 2}, // not asked under all
	}}
	variants := []Variant{{Label: "x"}, {Label: "y"}}
	l := NewLog()
	for _, r := range []struct {
		item, strategy string
		order          int
		text           string
		candidates     []float64
	}{
		{"a", "x", 0, "It is Bo.", []float64{-2, -3}},
		{"a", "x", 1, "It is the Bo", []float64{-3, -2}},
		{"b", "x", 0, "cy", []float64{-4, -1, -4, -4}},
		{"b", "x", 1, "No idea", []float64{-4, -1, -4, -4}},
		{"a", "y", 0, "None", []float64{-2.5, -3}},
		{"a", "y", 1, "none.", []float64{-1, -3}},
		{"b", "y", 1, "Bo", []float64{-1, -2, -4, -4}},
		{"c", "x", 0, "Di", nil},
		{"c", "x", 1, "Di", nil},
		{"c", "y", 0, "Di", nil},
	} {
		require.NoError(t, l.Append(Record{Item: r.item, Strategy: r.strategy, Order: r.order, Answer: &Answer{Text: r.text, Candidates: r.candidates}}))
	}
	require.NoError(t, l.Append(Record{Item: "b", Strategy: "y", Error: "too long"}))
	require.NoError(t, l.Append(Record{Item: "a", Strategy: "y", Timing: &Timing{Cold: Moment{10, 5, 0}, Reordered: Moment{4, 2, 3}, Again: Moment{2, 1, 4}}}))
	s := Summarise(d, variants, l, 1, 1)
	require.Equal(t, []int{2, 3, 2}, []int{s.Items, s.Of, s.Orders})
	require.InDelta(t, (1.0/2+1.0/4)/2, s.Chance, 1e-12)
	x, y := s.Variants[0], s.Variants[1]
	mean := func(v VariantSummary, g int, m Measure) float64 { return v.Groups[g].Scores[m].Mean }

	require.InDelta(t, (1+0.5)/2, mean(x, 0, SubspanEM), 1e-12)
	require.InDelta(t, (0+0.5)/2, mean(x, 0, EM), 1e-12)
	require.InDelta(t, (0.5+0.5)/2, mean(x, 0, F1), 1e-12) // 2·1/(3+1) in both orders; 1 and 0
	require.InDelta(t, (0.5+1)/2, mean(x, 0, Choice), 1e-12)
	require.InDelta(t, (0+1.0)/2, mean(x, 0, ChoicePerByte), 1e-12) // the long one is likelier by byte
	require.InDelta(t, 0, mean(y, 0, SubspanEM), 1e-12)
	require.InDelta(t, (1+0.0)/2, mean(y, 0, Choice), 1e-12)
	require.InDelta(t, mean(y, 0, Choice)-mean(x, 0, Choice), y.Differences[Choice].Mean, 1e-12)
	require.Nil(t, x.Differences)
	require.Equal(t, []string{"all", "1 hop", "2 hops"}, []string{x.Groups[0].Name, x.Groups[1].Name, x.Groups[2].Name})
	require.InDelta(t, 0.5, mean(x, 1, Choice), 1e-12)
	require.InDelta(t, 1, mean(x, 2, Choice), 1e-12)

	require.Equal(t, []float64{1, 0.5}, x.ByOrder[SubspanEM])
	require.Equal(t, []float64{1, 0.5}, x.ByOrder[Choice])
	require.Equal(t, &Sensitivity{0.5, 0.5, (0 + 0.25) / 2}, x.TextOrder, "articles and stops make no difference")
	require.Equal(t, &Sensitivity{0.5, 0.5, (0.25 + 0) / 2}, x.ChoiceOrder)
	require.Equal(t, []int{0, 1}, []int{x.Failed, y.Failed})
	require.InDelta(t, 0.5, y.TextOrder.Changed, 1e-12)

	require.Nil(t, x.Cold)
	require.Equal(t, 1, y.Timed)
	require.Equal(t, &Latency{4, 4, 2, 3}, y.Reordered)

	one := Summarise(d, variants[:1], l, 0, 1)
	require.Equal(t, 3, one.Items, "c was asked under x")
	require.Nil(t, one.Variants[0].TextOrder)
	require.InDelta(t, 1, mean(one.Variants[0], 0, Choice), 1e-12, "of the items that have candidates")
}
