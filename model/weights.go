// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"fmt"

	"github.com/graphkv/graphkv/internal/cpu"
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/model/gguf"
)

// layer holds one block's weights, the matrices packed for internal/gemm.
type layer struct {
	attnNorm, ffnNorm   []float32    // [Hidden]
	q, k, v, o          *gemm.Matrix // [Heads·d | KVHeads·d | KVHeads·d | Hidden] outputs
	qBias, kBias, vBias []float32    // nil when the model has none
	gate, up, down      *gemm.Matrix
}

// loader takes tensors out of a file and remembers which it took, so that a
// tensor nobody asked for (a bias, a norm of a model variant) is an error and
// not a silent difference in the result.
type loader struct {
	f     *gguf.File
	pool  *pool.Pool
	taken map[string]bool
	arena gemm.Arena
}

func (l *loader) tensor(name string, rowLen, rows int) (gguf.Tensor, error) {
	t, ok := l.f.Tensor(name)
	if !ok {
		return t, fmt.Errorf("model: tensor %s is missing", name)
	}
	if t.RowLen() != rowLen || t.Rows() != rows {
		return t, fmt.Errorf("model: tensor %s has shape %v, want [%d %d]", name, t.Shape, rowLen, rows)
	}
	l.taken[name] = true
	return t, nil
}

func (l *loader) vector(name string, n int) ([]float32, error) {
	t, err := l.tensor(name, n, 1)
	if err != nil {
		return nil, err
	}
	v := make([]float32, n)
	return v, t.Row(v, 0)
}

// optional returns nil for a vector that the file does not have.
func (l *loader) optional(name string, n int) ([]float32, error) {
	if _, ok := l.f.Tensor(name); !ok {
		return nil, nil
	}
	return l.vector(name, n)
}

// matrix packs a weight matrix of n outputs by k inputs, row by row, in the
// format that the file has it in.
func (l *loader) matrix(name string, n, k int) (*gemm.Matrix, error) {
	t, err := l.tensor(name, k, n)
	if err != nil {
		return nil, err
	}
	return l.pack(t)
}

// formats lists the tensor types that gguf can expand and gemm can keep.
var formats = map[gguf.Type]gemm.Format{
	gguf.F32: gemm.F32, gguf.F16: gemm.F16, gguf.BF16: gemm.BF16, gguf.Q8_0: gemm.Q8_0,
	gguf.Q4_0: gemm.Q4_0, gguf.Q4_1: gemm.Q4_1, gguf.Q4_K: gemm.Q4_K, gguf.Q6_K: gemm.Q6_K,
}

func (l *loader) pack(t gguf.Tensor) (*gemm.Matrix, error) {
	format, ok := formats[t.Type]
	if !ok {
		return nil, fmt.Errorf("model: tensor %s: %w: weights in %s", t.Name, gguf.ErrUnsupported, t.Type)
	}
	n, k := t.Rows(), t.RowLen()
	if cpu.Current() == cpu.Portable {
		return l.expand(t)
	}
	m := l.arena.NewMatrix(format, n, k)
	size := len(t.Data) / n
	l.pool.For((n+gemm.Panel-1)/gemm.Panel, func(_, panel int) {
		for i := panel * gemm.Panel; i < min(n, (panel+1)*gemm.Panel); i++ {
			m.SetBlocks(i, t.Data[i*size:(i+1)*size])
		}
	})
	return m, nil
}

// expand packs a matrix as float32. Without vector instructions, unpacking weights
// for every token costs more than reading four times as many bytes.
func (l *loader) expand(t gguf.Tensor) (*gemm.Matrix, error) {
	n, k := t.Rows(), t.RowLen()
	m := l.arena.NewMatrix(gemm.F32, n, k)
	rows := make([][]float32, l.pool.Workers())
	errs := make([]error, l.pool.Workers())
	l.pool.For((n+gemm.Panel-1)/gemm.Panel, func(worker, panel int) {
		if rows[worker] == nil {
			rows[worker] = make([]float32, k)
		}
		for i := panel * gemm.Panel; i < min(n, (panel+1)*gemm.Panel); i++ {
			if err := t.Row(rows[worker], i); err != nil {
				errs[worker] = err
			}
			m.SetRow(i, rows[worker])
		}
	})
	return m, errors.Join(errs...)
}

func (l *loader) layer(c Config, i int) (layer, error) {
	name := func(s string) string { return fmt.Sprintf("blk.%d.%s", i, s) }
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	var w layer
	for _, m := range []struct {
		dst  **gemm.Matrix
		name string
		n, k int
	}{
		{&w.q, "attn_q.weight", q, c.Hidden},
		{&w.k, "attn_k.weight", kv, c.Hidden},
		{&w.v, "attn_v.weight", kv, c.Hidden},
		{&w.o, "attn_output.weight", c.Hidden, q},
		{&w.gate, "ffn_gate.weight", c.FFN, c.Hidden},
		{&w.up, "ffn_up.weight", c.FFN, c.Hidden},
		{&w.down, "ffn_down.weight", c.Hidden, c.FFN},
	} {
		var err error
		if *m.dst, err = l.matrix(name(m.name), m.n, m.k); err != nil {
			return layer{}, err
		}
	}
	bias := l.optional
	if c.Arch == "qwen2" {
		bias = l.vector // never without
	}
	for _, v := range []struct {
		dst  *[]float32
		name string
		n    int
		read func(string, int) ([]float32, error)
	}{
		{&w.attnNorm, "attn_norm.weight", c.Hidden, l.vector},
		{&w.ffnNorm, "ffn_norm.weight", c.Hidden, l.vector},
		{&w.qBias, "attn_q.bias", q, bias},
		{&w.kBias, "attn_k.bias", kv, bias},
		{&w.vBias, "attn_v.bias", kv, bias},
	} {
		var err error
		if *v.dst, err = v.read(name(v.name), v.n); err != nil {
			return layer{}, err
		}
	}
	return w, nil
}

// unused returns an error naming a tensor that nothing has taken.
func (l *loader) unused() error {
	for _, t := range l.f.Tensors() {
		if !l.taken[t.Name] {
			return fmt.Errorf("%w: tensor %s has no place in this architecture", ErrUnsupported, t.Name)
		}
	}
	return nil
}
