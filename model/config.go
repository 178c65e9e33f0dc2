// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"fmt"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model/gguf"
	"github.com/graphkv/graphkv/posenc"
)

// ErrUnsupported marks models that this package cannot run exactly: another
// architecture, experts, a sliding window, a position scaling it does not know.
var ErrUnsupported = errors.New("model: not supported")

// Config holds a decoder's dimensions as its file declares them.
type Config struct {
	Arch    string // "llama" or "qwen2"
	Name    string // general.name, for people
	Layers  int
	Hidden  int // width of the residual stream
	Heads   int // query heads
	KVHeads int // key/value heads; divides Heads
	HeadDim int
	FFN     int // width of the gated feed-forward layer
	Vocab   int
	Context int // positions the model was trained on
	NormEps float32
	Tied    bool // the output matrix is the embedding
	RoPE    posenc.Config
}

// KVShape returns the shape of the keys and values that one token leaves behind.
func (c Config) KVShape() kvcache.Shape {
	return kvcache.Shape{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim}
}

// Parameters returns the number of weights.
func (c Config) Parameters() int64 {
	h := int64(c.Hidden)
	n := int64(c.Vocab)*h + h + int64(c.Layers)*(2*h+c.layerMatrices())
	if !c.Tied {
		n += int64(c.Vocab) * h
	}
	return n
}

// layerMatrices returns the number of weights in the matrices of a layer.
func (c Config) layerMatrices() int64 {
	h, q, kv := int64(c.Hidden), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	return 2*h*q + 2*h*kv + 3*h*int64(c.FFN)
}

// Work returns how many multiplications it takes to encode tokens of which each
// attends, on average, to pairs/tokens keys: in the matrices of all layers, and in
// attention.
func (c Config) Work(tokens int, pairs int64) float64 {
	return float64(c.Layers) * (float64(tokens)*float64(c.layerMatrices()) + 2*float64(c.Heads*c.HeadDim)*float64(pairs))
}

// Limits on what a file may declare; far above any real model, they keep a
// hostile header from asking for absurd memory or overflowing a product.
const (
	maxLayers = 1 << 12
	maxWidth  = 1 << 20
	maxVocab  = 1 << 24
)

// ReadConfig reads the dimensions from a file's metadata and checks that they
// fit together. A feature that changes the arithmetic and that this package does not
// have is refused with an error that wraps [ErrUnsupported].
func ReadConfig(f *gguf.File) (Config, error) {
	arch, err := f.String("general.architecture")
	if err != nil {
		return Config{}, err
	}
	if arch != "llama" && arch != "qwen2" {
		return Config{}, fmt.Errorf("%w: architecture %q (have llama, qwen2)", ErrUnsupported, arch)
	}
	r := reader{f: f, arch: arch}
	c := Config{
		Arch:    arch,
		Layers:  r.size("block_count", maxLayers),
		Hidden:  r.size("embedding_length", maxWidth),
		Heads:   r.size("attention.head_count", maxWidth),
		FFN:     r.size("feed_forward_length", maxWidth),
		Context: r.size("context_length", 1<<30),
		NormEps: float32(r.float("attention.layer_norm_rms_epsilon")),
	}
	c.KVHeads = r.sizeOr("attention.head_count_kv", maxWidth, c.Heads)
	if r.err != nil {
		return Config{}, r.err
	}
	c.Name, _ = f.String("general.name")
	c.HeadDim = r.sizeOr("attention.key_length", maxWidth, c.Hidden/c.Heads)
	valueDim := r.sizeOr("attention.value_length", maxWidth, c.HeadDim)
	embd, ok := f.Tensor("token_embd.weight")
	if !ok {
		return Config{}, errors.New("model: tensor token_embd.weight is missing")
	}
	c.Vocab = embd.Rows()
	_, untied := f.Tensor("output.weight")
	c.Tied = !untied
	if err := r.refuse(c); err != nil {
		return Config{}, err
	}
	if c.RoPE, err = r.rope(c); err != nil {
		return Config{}, err
	}
	if r.err != nil {
		return Config{}, r.err
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return Config{}, fmt.Errorf("model: %d query heads are not a multiple of %d key/value heads", c.Heads, c.KVHeads)
	case c.HeadDim == 0 || c.Heads*c.HeadDim > maxWidth:
		return Config{}, fmt.Errorf("model: head dimension %d of %d heads is out of range", c.HeadDim, c.Heads)
	case valueDim != c.HeadDim:
		return Config{}, fmt.Errorf("%w: value heads of %d beside key heads of %d", ErrUnsupported, valueDim, c.HeadDim)
	case c.Vocab == 0 || c.Vocab > maxVocab:
		return Config{}, fmt.Errorf("model: vocabulary of %d is out of range", c.Vocab)
	case !(c.NormEps > 0 && c.NormEps < 1):
		return Config{}, fmt.Errorf("model: %s.attention.layer_norm_rms_epsilon %g is out of range", arch, c.NormEps)
	}
	return c, nil
}

// reader reads architecture keys and keeps the first error.
type reader struct {
	f    *gguf.File
	arch string
	err  error
}

func (r *reader) size(key string, limit int) int {
	v, err := r.f.Uint(r.arch + "." + key)
	if err != nil {
		r.fail(err)
		return 0
	}
	if v == 0 || v > uint64(limit) {
		r.fail(fmt.Errorf("model: %s.%s is %d, not in 1…%d", r.arch, key, v, limit))
		return 0
	}
	return int(v)
}

func (r *reader) sizeOr(key string, limit, otherwise int) int {
	if !r.has(key) {
		return otherwise
	}
	return r.size(key, limit)
}

func (r *reader) float(key string) float64 {
	v, err := r.f.Float(r.arch + "." + key)
	if err != nil {
		r.fail(err)
	}
	return v
}

func (r *reader) floatOr(key string, otherwise float64) float64 {
	if !r.has(key) {
		return otherwise
	}
	return r.float(key)
}

func (r *reader) uintOr(key string, otherwise uint64) uint64 {
	if !r.has(key) {
		return otherwise
	}
	v, err := r.f.Uint(r.arch + "." + key)
	if err != nil {
		r.fail(err)
	}
	return v
}

func (r *reader) has(key string) bool { return r.present(r.arch + "." + key) }

func (r *reader) present(key string) bool {
	_, ok := r.f.Value(key)
	return ok
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// refuse names the first declared feature that would make this package's result wrong.
func (r *reader) refuse(c Config) error {
	if r.present("split.count") {
		n, err := r.f.Uint("split.count")
		if err != nil {
			return err
		}
		if n > 1 {
			return fmt.Errorf("%w: one of %d parts of a split model", ErrUnsupported, n)
		}
	}
	if n := r.uintOr("expert_count", 0); n > 0 {
		return fmt.Errorf("%w: a mixture of %d experts", ErrUnsupported, n)
	}
	if n := r.uintOr("attention.sliding_window", 0); n > 0 && n < uint64(c.Context) {
		return fmt.Errorf("%w: a sliding window of %d tokens", ErrUnsupported, n)
	}
	for _, key := range []string{"logit_scale", "embedding_scale", "residual_scale", "attention.scale"} {
		if v := r.floatOr(key, 0); v != 0 && v != 1 {
			return fmt.Errorf("%w: %s.%s = %g", ErrUnsupported, r.arch, key, v)
		}
	}
	for _, key := range []string{"attention.clamp_kqv", "attention.max_alibi_bias", "attn_logit_softcapping", "final_logit_softcapping"} {
		if v := r.floatOr(key, 0); v != 0 {
			return fmt.Errorf("%w: %s.%s = %g", ErrUnsupported, r.arch, key, v)
		}
	}
	for key, want := range map[string]bool{"attention.causal": true, "use_parallel_residual": false} {
		if !r.has(key) {
			continue
		}
		v, err := r.f.Bool(r.arch + "." + key)
		if err != nil {
			return err
		}
		if v != want {
			return fmt.Errorf("%w: %s.%s = %t", ErrUnsupported, r.arch, key, v)
		}
	}
	return r.err
}
