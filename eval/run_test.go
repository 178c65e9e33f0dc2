// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/attention"
)

func openTiny(t testing.TB) *graphkv.Engine {
	t.Helper()
	e, err := graphkv.Open(tiny, graphkv.WithLongContext())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// someItems are questions with documents that mention one another.
func someItems(n int) *Dataset {
	d := &Dataset{Name: "some", Format: RAG}
	for i := range n {
		x := Item{ID: fmt.Sprint("q", i), Question: fmt.Sprintf("Who is %d?", i), Answers: []string{"Bo"}, Candidates: []string{"Bo", "Cy Di"}, Center: -1,
			Kind: []string{"film", "book"}[i%2], Hops: 1 + i%3/2}
		for j := range 3 {
			x.Documents = append(x.Documents, Document{Title: fmt.Sprintf("T%d", j), Text: fmt.Sprintf("%d %d see T%d", i, j, (j+1)%3)})
		}
		d.Items = append(d.Items, x)
	}
	return d
}

func tinyRunner(t testing.TB, items int, strategies string) *Runner {
	t.Helper()
	variants, err := ParseVariants(strategies)
	require.NoError(t, err)
	r := &Runner{Engine: openTiny(t), Data: someItems(items), Variants: variants, Orders: 2, MaxTokens: 3, Seed: 4,
		Frame: Frame{Before: []int32{1, 87}, After: []int32{2, 201}}}
	failed := r.Check()
	r.Variants = slices.DeleteFunc(r.Variants, func(v Variant) bool { return failed[v.Label] != nil })
	return r
}

// byKey returns records without what may differ from run to run: what happened to be cached.
func byKey(l *Log) map[key]Record {
	out := map[key]Record{}
	for _, r := range l.Records() {
		if r.Answer != nil {
			a := *r.Answer
			a.Usage = graphkv.Usage{}
			r.Answer = &a
		}
		out[r.key()] = r
	}
	return out
}

// Every preset answers every question in every order, as the engine does when it is asked
// directly. Several at a time give the same answers.
func TestAnswerAllPresets(t *testing.T) {
	r := tinyRunner(t, 3, "all")
	for _, s := range []graphkv.Strategy{graphkv.Sequential, graphkv.Block, graphkv.PCW, graphkv.GraphKV, graphkv.GraphKVTopK, graphkv.Ego, graphkv.EgoBatch, graphkv.DAG} {
		require.True(t, slices.ContainsFunc(r.Variants, func(v Variant) bool { return v.Request.Strategy == s }), "%s cannot be put to use", s)
	}
	var progress []int
	r.Progress = func(done, total int) {
		require.Equal(t, 3*3*len(r.Variants), total)
		progress = append(progress, done)
	}
	one := NewLog()
	require.NoError(t, r.Answer(t.Context(), one))
	require.Len(t, one.Records(), 3*3*len(r.Variants))
	require.Len(t, progress, 3*3*len(r.Variants))
	require.IsIncreasing(t, progress)

	r.Concurrency, r.Progress = 4, nil
	many := NewLog()
	require.NoError(t, r.Answer(t.Context(), many))
	require.Equal(t, byKey(one), byKey(many))

	a, x := r.asker(), &r.Data.Items[1]
	for i := range r.Variants {
		v := &r.Variants[i]
		p, err := r.Engine.Compile(a.request(x, v, a.orders(x, 2)[2]))
		require.NoError(t, err)
		want, err := r.Engine.Generate(t.Context(), p, graphkv.WithLogits())
		require.NoError(t, err)
		got := byKey(one)[key{x.ID, v.Label, 2, false}].Answer
		require.Equal(t, want.Text, got.Text)
		require.Len(t, got.Candidates, 2)
		first := r.Engine.Tokenizer().Encode(nil, "Bo", false)[0]
		sum := 0.0
		for _, z := range want.Logits {
			sum += math.Exp(float64(z))
		}
		require.LessOrEqual(t, got.Candidates[0], float64(want.Logits[first])-math.Log(sum)+1e-4)
	}
}

// A run that is cancelled keeps what it has; the next one does the rest, and the figures
// are those of a run in one go.
func TestResumeAfterCancel(t *testing.T) {
	r := tinyRunner(t, 4, "sequential,block,dag")
	whole := NewLog()
	require.NoError(t, r.Answer(t.Context(), whole))

	path := filepath.Join(t.TempDir(), "results.jsonl")
	h := r.Header("tiny", attention.F32)
	runs := 0
	for stop := 5; ; stop += 9 {
		l, err := OpenLog(path, h)
		require.NoError(t, err)
		before := len(l.Records())
		ctx, cancel := context.WithCancel(t.Context())
		r.Progress = func(done, total int) {
			if done == stop {
				cancel()
			}
		}
		err = r.Answer(ctx, l)
		cancel()
		runs++
		require.Greater(t, len(l.Records()), before)
		require.NoError(t, l.Close())
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		// As if it had been killed while it wrote the next line.
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString(`{"item":"q3","strategy":"da`)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.Equal(t, 5, runs)
	l, err := OpenLog(path, h)
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, byKey(whole), byKey(l))
	require.Equal(t, Summarise(r.Data, r.Variants, whole, 2, 1), Summarise(r.Data, r.Variants, l, 2, 1))

	r.Progress = func(int, int) { t.Error("there is nothing left to do") }
	require.NoError(t, r.Answer(t.Context(), l))
}

// An item that does not fit is recorded and counts as wrong; the run goes on. An engine that fails ends it.
func TestAnswerErrors(t *testing.T) {
	r := tinyRunner(t, 2, "block,pcw")
	short, err := graphkv.Open(tiny)
	require.NoError(t, err)
	r.Engine = short
	r.Data.Items[0].Documents[1].Text = strings.Repeat("word ", r.Engine.Model().Config().Context)
	require.Empty(t, r.Check(), "a long item says nothing about a preset")
	l := NewLog()
	require.NoError(t, r.Answer(t.Context(), l))
	s := Summarise(r.Data, r.Variants, l, 2, 1)
	require.Equal(t, 2, s.Items)
	for i, v := range s.Variants {
		require.Equal(t, 3, v.Failed, v.Label)
		require.LessOrEqual(t, v.Groups[0].Scores[Choice].Mean, 0.5)
		require.Contains(t, byKey(l)[key{"q0", r.Variants[i].Label, 0, false}].Error, "positions, the limit is")
	}
	require.NoError(t, short.Close())
	err = r.Answer(t.Context(), NewLog())
	require.ErrorIs(t, err, graphkv.ErrClosed)
	require.ErrorContains(t, err, " under block: ")
}

// What is reused is what each preset promises: with the documents in another order, block
// encodes the question alone and sequential everything but the prefix.
func TestTime(t *testing.T) {
	r := tinyRunner(t, 3, "sequential,block,pcw,graphkv")
	r.Data.Items[0].Documents[2].Text += " and more" // of another length than the first
	open := func() (*graphkv.Engine, error) { return graphkv.Open(tiny, graphkv.WithLongContext()) }
	l := NewLog()
	require.NoError(t, r.Time(t.Context(), l, 2, open))
	require.Len(t, l.Records(), 2*4)
	a, x := r.asker(), &r.Data.Items[0]
	for i := range r.Variants {
		v := &r.Variants[i]
		p, err := r.Engine.Compile(a.request(x, v, a.orders(x, 0)[0]))
		require.NoError(t, err)
		all, query, prefix := p.Cost().Tokens, p.Cost().QueryTokens, 0
		for j := range p.Len() {
			if p.ID(j) == "prefix" {
				prefix = len(p.Tokens(j))
			}
		}
		got := byKey(l)[key{x.ID, v.Label, 0, true}].Timing
		require.NotNil(t, got, v.Label)
		want := map[graphkv.Strategy]int{graphkv.Sequential: all - prefix, graphkv.Block: query, graphkv.PCW: query, graphkv.GraphKV: (all-prefix-query)/2 + query}
		require.Equal(t, []int{all, 0}, []int{got.Cold.Encoded, got.Cold.Reused}, v.Label)
		encoded := want[v.Request.Strategy]
		require.Equal(t, []int{encoded, all - encoded}, []int{got.Reordered.Encoded, got.Reordered.Reused}, v.Label)
		require.Equal(t, []int{query, all - query}, []int{got.Again.Encoded, got.Again.Reused}, v.Label)
		for _, m := range []Moment{got.Cold, got.Reordered, got.Again} {
			require.Positive(t, m.Milliseconds)
		}
	}
	r.Progress = func(done, total int) { require.Equal(t, 3*4, total) }
	require.NoError(t, r.Time(t.Context(), l, 9, open))
	require.Len(t, l.Records(), 3*4, "what was there is not done again")

	failing := errors.New("no engine")
	require.ErrorIs(t, r.Time(t.Context(), NewLog(), 1, func() (*graphkv.Engine, error) { return nil, failing }), failing)
}

// An item that is too long in one of the orders that are timed has no times, and does not end the run.
func TestTimeOfLongItems(t *testing.T) {
	r := tinyRunner(t, 1, "block,ego")
	open := func() (*graphkv.Engine, error) { return graphkv.Open(tiny) }
	e, err := open()
	require.NoError(t, err)
	defer e.Close()
	r.Engine = e
	x, a := &r.Data.Items[0], r.asker()
	compile := func(order []int) error {
		_, err := e.Compile(a.request(x, &r.Variants[1], order))
		return err
	}
	x.Documents[2].Text = "short"
	for compile(reversed(x)) == nil { // it centres on the first document, which then stands behind the second
		x.Documents[0].Text += " and on"
		x.Documents[1].Text += " and on"
	}
	require.NoError(t, compile(a.orders(x, 0)[0]))
	l := NewLog()
	require.NoError(t, r.Time(t.Context(), l, 1, open))
	for _, rec := range l.Records() {
		require.NotEqual(t, "ego", rec.Strategy)
	}
}

// Tables have a line for every variant and say what is left; plots are pictures.
func TestSummaryIsPrintedAndDrawn(t *testing.T) {
	r := tinyRunner(t, 4, "block,dag:rounds=2")
	l := NewLog()
	require.NoError(t, r.Answer(t.Context(), l))
	require.NoError(t, r.Time(t.Context(), l, 1, func() (*graphkv.Engine, error) { return graphkv.Open(tiny, graphkv.WithLongContext()) }))
	s := Summarise(r.Data, r.Variants, l, 2, 1)
	s.Model = "tiny"
	for _, markdown := range []bool{false, true} {
		var b strings.Builder
		require.NoError(t, s.Write(&b, markdown))
		require.Equal(t, 6, strings.Count(b.String(), "dag:rounds=2"), b.String())
		require.Contains(t, b.String(), "some, tiny: 4 items of 4, in 3 orders")
		require.Contains(t, b.String(), "1 hop (3)")
		require.Contains(t, b.String(), "film (2)")
	}
	dir := t.TempDir()
	names, err := s.Plot(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"accuracy", "ttft"}, names)
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name+".png"))
		require.NoError(t, err)
		picture, err := png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Greater(t, picture.Bounds().Dx(), 300)
		svg, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		require.NoError(t, err)
		require.Contains(t, string(svg), "dag:rounds=2")
	}
	empty := Summarise(r.Data, r.Variants, NewLog(), 2, 1)
	var b strings.Builder
	require.NoError(t, empty.Write(&b, false))
	require.Contains(t, b.String(), "0 items of 4")
	names, err = empty.Plot(dir)
	require.NoError(t, err)
	require.Empty(t, names)
}

// Names next to points keep their order and their distance, wherever the points are.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var points plotter.XYs
		for _, y := range rapid.SliceOfN(rapid.Float64Range(0, 10), 1, 12).Draw(t, "heights") {
			points = append(points, plotter.XY{Y: y})
		}
		got := spread(points, 0.5)
		for i := range points {
			for j := range i {
				require.GreaterOrEqual(t, math.Abs(got[i]-got[j]), 0.5-1e-9)
				if points[i].Y < points[j].Y {
					require.Less(t, got[i], got[j])
				}
			}
		}
	})
	apart := plotter.XYs{{Y: 3}, {Y: 1}, {Y: 2}}
	require.Equal(t, []float64{3, 1, 2}, spread(apart, 0.5))
}
