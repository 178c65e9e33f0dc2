// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package attention_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/posenc"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

func newKernel(t testing.TB, c attention.Config) *attention.Kernel {
	t.Helper()
	k, err := attention.New(c)
	require.NoError(t, err)
	return k
}

// scalar attends with one head of one dimension, so that a score is q·k.
func scalar(t testing.TB, q []float32, parts ...attention.Part) (out, lse []float32) {
	t.Helper()
	out, lse = slices.Clone(q), slices.Clone(q)
	k := newKernel(t, attention.Config{Heads: 1, KVHeads: 1, HeadDim: 1, Scale: 1})
	require.NoError(t, k.Attend(nil, nil, []attention.Query{{Q: q, Out: out, LSE: lse, Rows: len(q), Parts: parts}}))
	return out, lse
}

func scalarPart(k, v []float32) attention.Part {
	return attention.Part{KV: attention.PackKV(attention.F32, 1, 1, k, v), Len: len(k)}
}

func TestNothingVisible(t *testing.T) {
	hidden := scalarPart([]float32{1, 2}, []float32{nan, inf})
	hidden.Causal, hidden.Offset = true, -10
	masked := scalarPart([]float32{1, 2}, []float32{nan, inf})
	masked.Mask = attention.NewBitmap(2, 2)
	muted := scalarPart([]float32{1, 2}, []float32{nan, inf})
	muted.Bias = []float32{-inf}
	for name, parts := range map[string][]attention.Part{
		"no part":    nil,
		"empty part": {{}, {KV: attention.NewKV(attention.F32, 1, 1, 7), Causal: true}},
		"causal":     {hidden},
		"bitmap":     {masked},
		"bias":       {muted},
		"all":        {hidden, {}, masked, muted},
	} {
		out, lse := scalar(t, []float32{1, -1}, parts...)
		assert.Equal(t, []float32{0, 0}, out, name)
		assert.Equal(t, []float32{-inf, -inf}, lse, name)
	}
}

func TestInfiniteScores(t *testing.T) {
	lowest, half := scalarPart([]float32{-inf, -inf}, []float32{3, 4}), scalarPart([]float32{-inf, 2}, []float32{3, 4})

	out, lse := scalar(t, []float32{1}, lowest)
	assert.Equal(t, []float32{0}, out, "all scores −Inf")
	assert.Equal(t, []float32{-inf}, lse)

	out, lse = scalar(t, []float32{1}, lowest, half, lowest)
	assert.Equal(t, []float32{4}, out, "a score of −Inf weighs nothing")
	assert.Equal(t, []float32{2}, lse)

	out, lse = scalar(t, []float32{1, 0.5}, scalarPart([]float32{math.MaxFloat32 / 2, 1}, []float32{3, 4}))
	assert.Equal(t, []float32{3, 3}, out, "the largest finite score wins")
	assert.InEpsilonSlice(t, []float32{math.MaxFloat32 / 2, math.MaxFloat32 / 4}, lse, 1e-7)

	for _, parts := range [][]attention.Part{
		{scalarPart([]float32{inf, 1}, []float32{3, 4})},
		{scalarPart([]float32{1, math.MaxFloat32}, []float32{3, 4})}, // overflows
		{half, scalarPart([]float32{inf}, []float32{3}), half},
		{lowest, scalarPart([]float32{nan}, []float32{3})},
		{scalarPart([]float32{nan}, []float32{3}), half, lowest},
	} {
		out, lse = scalar(t, []float32{2}, parts...)
		assert.True(t, out[0] != out[0] && lse[0] != lse[0], "%v: %v %v", parts, out, lse)
	}
}

// A part that raises the maximum from far below must erase what was summed, and
// one far below it must add nothing.
func TestLargeLogits(t *testing.T) {
	low, high := scalarPart([]float32{-3e4, -2e4}, []float32{5, 6}), scalarPart([]float32{3e4, 3e4}, []float32{1, 3})
	for _, parts := range [][]attention.Part{{low, high}, {high, low}, {high, low, high}} {
		out, lse := scalar(t, []float32{1, -1}, parts...)
		assert.Equal(t, []float32{2, 5}, out)
		highest := 2 * (len(parts) - 1) // keys of score 3e4 for row 0
		assert.Equal(t, []float32{float32(3e4 + math.Log(float64(highest))), 3e4}, lse)
	}
}

func TestOutMayBeQ(t *testing.T) {
	q := random(t, 40)
	want := slices.Clone(q.Out)
	k := newKernel(t, layer(t))
	q.Out = want
	require.NoError(t, k.Attend(nil, nil, []attention.Query{q}))
	q.Q = slices.Clone(q.Q)
	q.Out, q.LSE = q.Q, nil
	require.NoError(t, k.Attend(nil, nil, []attention.Query{q}))
	assert.Equal(t, want, q.Out)
}

// layer is a configuration like that of a small model.
func layer(t testing.TB) attention.Config {
	t.Helper()
	rope, err := posenc.NewRoPE(posenc.Config{HeadDim: 16, Base: 1e4})
	require.NoError(t, err)
	return attention.Config{Heads: 6, KVHeads: 2, HeadDim: 16, RoPE: rope}
}

// random returns a query for layer that uses every feature.
func random(t testing.TB, rows int) attention.Query {
	t.Helper()
	const heads, kvHeads, d = 6, 2, 16
	r := rand.New(rand.NewPCG(3, uint64(rows)))
	q := attention.Query{
		Q: normal(r, rows*heads*d), Out: make([]float32, rows*heads*d), LSE: make([]float32, rows*heads), Rows: rows,
	}
	for i, n := range []int{70, 1, 130, rows} {
		q.Parts = append(q.Parts, attention.Part{
			KV: attention.PackKV(attention.F32, kvHeads, d, normal(r, kvHeads*n*d), normal(r, kvHeads*n*d)), Len: n, Shift: 100 - 30*i,
		})
	}
	q.Parts[0].Bias, q.Parts[1].Scale = normal(r, heads), 0.5
	q.Parts[2].Mask = attention.NewBitmap(rows, 130)
	for i := range rows {
		q.Parts[2].Mask.SetRange(i, i%60, 60+i%70)
	}
	q.Parts[3].Causal = true
	return q
}

// Packed queries are kept from part to part where shift and scale stay: no part
// may see those of another. Alone, in a call of its own, each part has its own.
func TestEveryPartHasItsShiftAndScale(t *testing.T) {
	k := newKernel(t, layer(t))
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 1, 2}} {
		for _, scales := range [][4]float32{{}, {1, 0, 1, 0}, {2, 2, 0, 0}, {0, 0.5, 2, 2}} {
			all, one := random(t, 7), random(t, 7)
			out, lse := make([]float32, len(all.Out)), slices.Repeat([]float32{-inf}, len(all.LSE))
			all.Parts = nil
			for _, n := range order {
				p := random(t, 7).Parts[n]
				p.Scale = scales[n]
				if scales[n] != 0 {
					p.Shift = 5
				}
				all.Parts, one.Parts = append(all.Parts, p), []attention.Part{p}
				require.NoError(t, k.Attend(nil, nil, []attention.Query{one}))
				attention.Merge(out, lse, one.Out, one.LSE, 16)
			}
			require.NoError(t, k.Attend(nil, nil, []attention.Query{all}))
			require.LessOrEqual(t, worst(all.Out, out), 3e-6, "order %v, scales %v", order, scales)
			require.LessOrEqual(t, worst(all.LSE, lse), 3e-6, "order %v, scales %v", order, scales)
		}
	}
}

func TestAttendDoesNotAllocate(t *testing.T) {
	k := newKernel(t, layer(t))
	for _, workers := range []int{1, 2} {
		p := pool.New(workers)
		defer p.Close()
		ws := new(attention.Workspace)
		large, small, step := []attention.Query{random(t, 30), random(t, 3)}, []attention.Query{random(t, 1)}, []attention.Query{random(t, 1)}
		for _, f := range attention.Formats() {
			long := attention.NewKV(f, 2, 16, 2000)
			step[0].Parts = append(step[0].Parts, attention.Part{KV: long, Len: 2000}, attention.Part{KV: long, Len: 1990, Shift: 5})
			large[0].Parts = append(large[0].Parts, attention.Part{KV: long, Len: 70})
		}
		step[0].Decode = true
		run := func() {
			if k.Attend(p, ws, large) != nil || k.Attend(p, ws, small) != nil || k.Attend(p, ws, step) != nil {
				t.Error("unexpected error")
			}
		}
		run()
		assert.Zero(t, testing.AllocsPerRun(5, run), "%d workers", workers)
	}
}

// The number of workers decides how rows are cut into tiles.
func TestWorkersDoNotMatter(t *testing.T) {
	k := newKernel(t, layer(t))
	testWorkers(t, k, random(t, 90))
	step := random(t, 2)
	step.Decode = true
	step.Parts = slices.Concat(step.Parts, step.Parts, step.Parts, step.Parts, step.Parts, step.Parts)
	testWorkers(t, k, step)
}

func testWorkers(t *testing.T, k *attention.Kernel, q attention.Query) {
	t.Helper()
	var want attention.Query
	for _, workers := range []int{1, 2, 64} {
		p := pool.New(workers)
		q.Out, q.LSE = make([]float32, len(q.Out)), make([]float32, len(q.LSE))
		require.NoError(t, k.Attend(p, nil, []attention.Query{q}))
		p.Close()
		if workers == 1 {
			want = q
			continue
		}
		require.Equal(t, want.Out, q.Out, "%d workers", workers)
		require.Equal(t, want.LSE, q.LSE, "%d workers", workers)
	}
}

// Kernel, pool, keys and queries are shared; outputs and workspaces are not.
func TestManyGoroutines(t *testing.T) {
	k := newKernel(t, layer(t))
	want := random(t, 33)
	require.NoError(t, k.Attend(nil, nil, []attention.Query{want}))
	p := pool.New(3)
	defer p.Close()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			ws := new(attention.Workspace)
			q := want
			for range 3 {
				q.Out, q.LSE = make([]float32, len(q.Out)), make([]float32, len(q.LSE))
				assert.NoError(t, k.Attend(p, ws, []attention.Query{q}))
				assert.Equal(t, want.Out, q.Out)
				assert.Equal(t, want.LSE, q.LSE)
			}
		})
	}
	wg.Wait()
}

// A workspace that is in use is refused, whatever the timing, and never shared.
func TestWorkspaceBusy(t *testing.T) {
	k := newKernel(t, layer(t))
	ws := new(attention.Workspace)
	want := random(t, 10)
	require.NoError(t, k.Attend(nil, nil, []attention.Query{want}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			q := want
			q.Out = make([]float32, len(q.Out))
			q.LSE = nil
			for range 5 {
				if err := k.Attend(nil, ws, []attention.Query{q}); err != nil {
					assert.ErrorIs(t, err, attention.ErrBusy)
					continue
				}
				assert.Equal(t, want.Out, q.Out)
			}
		})
	}
	wg.Wait()
	require.NoError(t, k.Attend(nil, ws, []attention.Query{want}), "free again")
}

// A step of generation splits its keys; the result is that of the whole but for rounding, whatever is hidden.
func TestDecode(t *testing.T) {
	onEveryTier(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(8, 9))
		for _, d := range []int{5, 64, 128} {
			k := newKernel(t, attention.Config{Heads: 6, KVHeads: 2, HeadDim: d})
			for _, rows := range []int{1, 3} {
				q := attention.Query{
					Q: normal(r, rows*6*d), Out: make([]float32, rows*6*d), LSE: make([]float32, rows*6), Rows: rows,
				}
				for i, n := range []int{3, 700, 128, 0, 1500, 40, 513} {
					p := attention.Part{KV: attention.PackKV(attention.F32, 2, d, normal(r, n*2*d), normal(r, n*2*d)), Len: n}
					switch i {
					case 1:
						p.Causal, p.Offset = true, 600
					case 2:
						p.Bias = []float32{0, -inf, 3, -inf, -inf, -inf}
					case 4:
						p.Mask = attention.NewBitmap(rows, n)
						p.Mask.SetRange(0, 1000, 1300)
					}
					q.Parts = append(q.Parts, p)
				}
				require.NoError(t, k.Attend(nil, nil, []attention.Query{q}))
				step := q
				step.Out, step.LSE, step.Decode = make([]float32, len(q.Out)), make([]float32, len(q.LSE)), true
				require.NoError(t, k.Attend(nil, nil, []attention.Query{step, q}))
				assert.LessOrEqual(t, worst(step.Out, q.Out), 2e-6)
				assert.LessOrEqual(t, worst(step.LSE, q.LSE), 2e-6)

				hidden := step
				hidden.Parts = slices.Clone(q.Parts)
				for i := range hidden.Parts {
					hidden.Parts[i].Causal, hidden.Parts[i].Offset = true, -rows
				}
				require.NoError(t, k.Attend(nil, nil, []attention.Query{hidden}))
				assert.Equal(t, make([]float32, len(q.Out)), hidden.Out)
				assert.Equal(t, slices.Repeat([]float32{-inf}, len(q.LSE)), hidden.LSE)
			}
		}
	})
}
