// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"fmt"

	"github.com/graphkv/graphkv/attention"
	"github.com/graphkv/graphkv/internal/gemm"
	"github.com/graphkv/graphkv/internal/pool"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/posenc"
)

// Model is a decoder ready to run. It is immutable and safe for concurrent use;
// each goroutine brings its own [Workspace].
type Model struct {
	config Config
	pool   *pool.Pool
	rope   *posenc.RoPE
	kernel *attention.Kernel
	plain  *attention.Kernel // without positions

	embedding gguf.Tensor // rows are expanded one by one as tokens ask for them
	layers    []layer
	norm      []float32
	output    *gemm.Matrix
}

// Load reads a model's weights from f, which must stay open as long as the model
// is used (token embeddings are read from it). Weights stay quantised as they are
// in the file, repacked for internal/gemm. A nil pool means the process-wide one.
func Load(f *gguf.File, p *pool.Pool) (*Model, error) {
	c, err := ReadConfig(f)
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = pool.Default()
	}
	m := &Model{config: c, pool: p}
	if m.rope, err = posenc.NewRoPE(c.RoPE); err != nil {
		return nil, err
	}
	m.kernel, err = attention.New(attention.Config{Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, RoPE: m.rope})
	if err != nil {
		return nil, err
	}
	if m.plain, err = attention.New(attention.Config{Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim}); err != nil {
		return nil, err
	}
	l := &loader{f: f, pool: p, taken: map[string]bool{ropeFactorsTensor: true}}
	if m.embedding, err = l.tensor("token_embd.weight", c.Hidden, c.Vocab); err != nil {
		return nil, err
	}
	if !m.embedding.Type.Supported() {
		return nil, fmt.Errorf("model: tensor token_embd.weight of type %s: %w", m.embedding.Type, gguf.ErrUnsupported)
	}
	if m.norm, err = l.vector("output_norm.weight", c.Hidden); err != nil {
		return nil, err
	}
	m.layers = make([]layer, c.Layers)
	for i := range m.layers {
		if m.layers[i], err = l.layer(c, i); err != nil {
			return nil, err
		}
	}
	if c.Tied {
		m.output, err = l.pack(m.embedding)
	} else {
		m.output, err = l.matrix("output.weight", c.Vocab, c.Hidden)
	}
	if err != nil {
		return nil, err
	}
	if err := l.unused(); err != nil {
		return nil, err
	}
	return m, nil
}

// Config returns the model's dimensions.
func (m *Model) Config() Config { return m.config }

// RoPE returns the model's rotary embedding.
func (m *Model) RoPE() *posenc.RoPE { return m.rope }

// WeightBytes returns the memory that the packed weights take.
func (m *Model) WeightBytes() int64 {
	n := m.output.Bytes()
	for i := range m.layers {
		w := &m.layers[i]
		for _, x := range []*gemm.Matrix{w.q, w.k, w.v, w.o, w.gate, w.up, w.down} {
			n += x.Bytes()
		}
	}
	return n
}

var errNoTokens = errors.New("model: a run has no tokens")

// checkTokens names the first id that the vocabulary does not have.
func (m *Model) checkTokens(tokens []int32) error {
	if len(tokens) == 0 {
		return errNoTokens
	}
	for i, id := range tokens {
		if id < 0 || int(id) >= m.config.Vocab {
			return fmt.Errorf("model: token %d at %d is not in the vocabulary of %d", id, i, m.config.Vocab)
		}
	}
	return nil
}
