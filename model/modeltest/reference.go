// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package modeltest holds an independent float64 reference of a Llama-family
// decoder for tests: one dense pass over all tokens, under any mask, written from
// the published formulas on gonum matrices. It shares no code with package model
// but the reader of weights, knows nothing of segments, caches or shifts, and is
// slow.
package modeltest

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/graphkv/graphkv/model/gguf"
)

// Model is a decoder in float64.
type Model struct {
	layers                     int
	heads, kvHeads, headDim    int
	eps                        float64
	frequencies                []float64
	halfSplit                  bool
	embedding, output          *mat.Dense // [vocab][hidden]
	norm                       []float64
	attnNorm, ffnNorm          [][]float64
	q, k, v, o, gate, up, down []*mat.Dense // [outputs][inputs]
	qBias, kBias, vBias        [][]float64  // nil without
}

// Load reads a model of architecture llama or qwen2 with unscaled RoPE, or RoPE
// scaled by the file's frequency factors.
func Load(f *gguf.File) (*Model, error) {
	l := loader{f: f}
	arch := l.str("general.architecture")
	size := func(key string) int { return int(l.num(arch + "." + key)) }
	m := &Model{
		layers:  size("block_count"),
		heads:   size("attention.head_count"),
		kvHeads: size("attention.head_count_kv"),
		eps:     l.num(arch + ".attention.layer_norm_rms_epsilon"),
	}
	m.headDim = size("embedding_length") / m.heads
	m.halfSplit = arch == "qwen2"
	base := l.num(arch + ".rope.freq_base")
	for i := range m.headDim / 2 {
		m.frequencies = append(m.frequencies, math.Pow(base, -2*float64(i)/float64(m.headDim)))
	}
	if factors := l.matrix("rope_freqs.weight"); factors != nil {
		floats.Div(m.frequencies, factors.RawRowView(0))
	}
	m.embedding, m.output, m.norm = l.need("token_embd.weight"), l.matrix("output.weight"), l.row("output_norm.weight")
	if m.output == nil {
		m.output = m.embedding
	}
	for i := range m.layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s", i, s) }
		m.attnNorm = append(m.attnNorm, l.row(name("attn_norm.weight")))
		m.ffnNorm = append(m.ffnNorm, l.row(name("ffn_norm.weight")))
		m.q = append(m.q, l.need(name("attn_q.weight")))
		m.k = append(m.k, l.need(name("attn_k.weight")))
		m.v = append(m.v, l.need(name("attn_v.weight")))
		m.o = append(m.o, l.need(name("attn_output.weight")))
		m.gate = append(m.gate, l.need(name("ffn_gate.weight")))
		m.up = append(m.up, l.need(name("ffn_up.weight")))
		m.down = append(m.down, l.need(name("ffn_down.weight")))
		m.qBias = append(m.qBias, l.row(name("attn_q.bias")))
		m.kBias = append(m.kBias, l.row(name("attn_k.bias")))
		m.vBias = append(m.vBias, l.row(name("attn_v.bias")))
	}
	return m, l.err
}

// Graph says which key token j a query token i may see, and how far before the
// query the key stands: position of i less position of j as i sees it.
type Graph struct {
	Sees     func(i, j int) bool
	Distance func(i, j int) int
	// Score, when it is not nil, gives what multiplies and what is added to a head's
	// score of key j for query i, and the power of the group of keys whose softmax
	// is taken together.
	Score func(i, j, head int) (scale, bias, power float64)
	// Layer, when it is not nil, gives the Distance in a layer whose scores are given:
	// q·k/√d as if nothing had a position.
	Layer func(heads int, score func(i, j, head int) float64) (distance func(i, j int) int)
}

// Causal is the graph of a plain text.
func Causal() Graph {
	return Graph{
		Sees:     func(i, j int) bool { return j <= i },
		Distance: func(i, j int) int { return i - j },
	}
}

// Watch is told what goes on inside a pass.
type Watch struct {
	Hidden func(layer int, x *mat.Dense)                // hidden states before a layer, and after the last
	Weight func(layer, head, i, j int, softmax float64) // how much of token i's attention goes to token j
}

// Logits runs all tokens in one dense pass and returns their logits, [tokens][vocab].
func (m *Model) Logits(tokens []int32, g Graph) *mat.Dense {
	return m.Watched(tokens, g, Watch{
		Hidden: func(int, *mat.Dense) {},
		Weight: func(int, int, int, int, float64) {},
	})
}

// Watched is Logits under watch.
func (m *Model) Watched(tokens []int32, g Graph, w Watch) *mat.Dense {
	_, hidden := m.embedding.Dims()
	x := mat.NewDense(len(tokens), hidden, nil)
	for i, id := range tokens {
		x.SetRow(i, m.embedding.RawRowView(int(id)))
	}
	for l := range m.layers {
		w.Hidden(l, x)
		h := m.rms(x, m.attnNorm[l])
		q := linear(h, m.q[l], m.qBias[l])
		k, v := m.keysValues(l, h)
		if g.Layer != nil {
			g.Distance = g.Layer(m.heads, func(i, j, head int) float64 { return m.score(q, k, i, j, head) })
		}
		x.Add(x, linear(m.attend(q, k, v, g, func(head, i, j int, softmax float64) { w.Weight(l, head, i, j, softmax) }), m.o[l], nil))
		h = m.rms(x, m.ffnNorm[l])
		gate, up := linear(h, m.gate[l], nil), linear(h, m.up[l], nil)
		gate.Apply(func(i, j int, z float64) float64 { return z / (1 + math.Exp(-z)) * up.At(i, j) }, gate)
		x.Add(x, linear(gate, m.down[l], nil))
	}
	w.Hidden(m.layers, x)
	return linear(m.rms(x, m.norm), m.output, nil)
}

// KeysValues computes a layer's keys, which are not rotated, and values from the hidden
// states before it.
func (m *Model) KeysValues(layer int, hidden *mat.Dense) (k, v *mat.Dense) {
	return m.keysValues(layer, m.rms(hidden, m.attnNorm[layer]))
}

func (m *Model) keysValues(layer int, h *mat.Dense) (k, v *mat.Dense) {
	return linear(h, m.k[layer], m.kBias[layer]), linear(h, m.v[layer], m.vBias[layer])
}

// attend computes softmax(R(distance)q·k/√d)·v over the visible keys of every row.
func (m *Model) attend(q, k, v *mat.Dense, g Graph, weight func(head, i, j int, softmax float64)) *mat.Dense {
	n, width := q.Dims()
	out := mat.NewDense(n, width, nil)
	d := m.headDim
	rotated := make([]float64, d)
	for i := range n {
		for h := range m.heads {
			kv := h / (m.heads / m.kvHeads) * d
			var seen []int
			var scores []float64
			groups := map[float64][]int{} // places in scores, by power
			for j := range n {
				if !g.Sees(i, j) {
					continue
				}
				m.rotate(rotated, q.RawRowView(i)[h*d:(h+1)*d], float64(g.Distance(i, j)))
				score, power := floats.Dot(rotated, k.RawRowView(j)[kv:kv+d])/math.Sqrt(float64(d)), 1.0
				if g.Score != nil {
					scale, bias, p := g.Score(i, j, h)
					score, power = scale*score+bias, p
				}
				groups[power] = append(groups[power], len(scores))
				scores = append(scores, score)
				seen = append(seen, j)
			}
			total := math.Inf(-1) // log-sum-exp over groups
			sums := map[float64]float64{}
			for power, places := range groups {
				var group []float64
				for _, s := range places {
					group = append(group, scores[s])
				}
				if math.IsInf(floats.Max(group), -1) {
					delete(groups, power) // hidden from this head
					continue
				}
				sums[power] = floats.LogSumExp(group)
				total = floats.LogSumExp([]float64{total, power * sums[power]})
			}
			for power, places := range groups {
				for _, s := range places {
					softmax := math.Exp(power*sums[power] - total + scores[s] - sums[power])
					weight(h, i, seen[s], softmax)
					floats.AddScaled(out.RawRowView(i)[h*d:(h+1)*d], softmax, v.RawRowView(seen[s])[kv:kv+d])
				}
			}
		}
	}
	return out
}

// score is that of a head's query i and key j without positions.
func (m *Model) score(q, k *mat.Dense, i, j, head int) float64 {
	d, kv := m.headDim, head/(m.heads/m.kvHeads)
	return floats.Dot(q.RawRowView(i)[head*d:(head+1)*d], k.RawRowView(j)[kv*d:(kv+1)*d]) / math.Sqrt(float64(d))
}

// rotate turns x by angle position·frequency, as a complex number per pair.
func (m *Model) rotate(dst, x []float64, position float64) {
	for p, f := range m.frequencies {
		a, b := 2*p, 2*p+1
		if m.halfSplit {
			a, b = p, p+len(m.frequencies)
		}
		sin, cos := math.Sincos(position * f)
		dst[a], dst[b] = x[a]*cos-x[b]*sin, x[a]*sin+x[b]*cos
	}
}

func (m *Model) rms(x *mat.Dense, weight []float64) *mat.Dense {
	out := mat.DenseCopyOf(x)
	rows, width := x.Dims()
	for i := range rows {
		r := out.RawRowView(i)
		floats.Scale(1/math.Sqrt(floats.Dot(r, r)/float64(width)+m.eps), r)
		floats.Mul(r, weight)
	}
	return out
}

func linear(x, w *mat.Dense, bias []float64) *mat.Dense {
	var out mat.Dense
	out.Mul(x, w.T())
	if bias != nil {
		rows, _ := out.Dims()
		for i := range rows {
			floats.Add(out.RawRowView(i), bias)
		}
	}
	return &out
}

// loader keeps the first error.
type loader struct {
	f   *gguf.File
	err error
}

func (l *loader) str(key string) string {
	s, err := l.f.String(key)
	l.keep(err)
	return s
}

func (l *loader) num(key string) float64 {
	if v, err := l.f.Uint(key); err == nil {
		return float64(v)
	}
	v, err := l.f.Float(key)
	l.keep(err)
	return v
}

func (l *loader) matrix(name string) *mat.Dense {
	t, ok := l.f.Tensor(name)
	if !ok {
		return nil
	}
	m := mat.NewDense(t.Rows(), t.RowLen(), nil)
	row := make([]float32, t.RowLen())
	for i := range t.Rows() {
		l.keep(t.Row(row, i))
		for j, v := range row {
			m.Set(i, j, float64(v))
		}
	}
	return m
}

func (l *loader) need(name string) *mat.Dense {
	m := l.matrix(name)
	if m == nil {
		l.keep(fmt.Errorf("modeltest: tensor %s is missing", name))
	}
	return m
}

func (l *loader) row(name string) []float64 {
	if m := l.matrix(name); m != nil {
		return m.RawRowView(0)
	}
	return nil
}

func (l *loader) keep(err error) {
	if l.err == nil {
		l.err = err
	}
}
