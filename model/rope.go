// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"

	"github.com/graphkv/graphkv/posenc"
)

// ropeFactorsTensor divides RoPE's frequencies one by one; Llama 3.1 and later
// carry their context extension in it.
const ropeFactorsTensor = "rope_freqs.weight"

// rope reads the rotary embedding. GGUF stores "llama" weights with each head's
// rows reordered for the interleaved pairing, and "qwen2" ones as trained, in the
// half-split pairing.
func (r *reader) rope(c Config) (posenc.Config, error) {
	p := posenc.Config{
		HeadDim:   c.HeadDim,
		RotaryDim: r.sizeOr("rope.dimension_count", maxWidth, c.HeadDim),
		Base:      r.floatOr("rope.freq_base", 10000),
		Pairing:   posenc.Interleaved,
	}
	if c.Arch == "qwen2" {
		p.Pairing = posenc.HalfSplit
	}
	if err := r.ropeScaling(&p.Scaling, c); err != nil {
		return p, err
	}
	if t, ok := r.f.Tensor(ropeFactorsTensor); ok {
		p.Scaling.FreqFactors = make([]float32, t.RowLen())
		if t.Rows() != 1 {
			return p, fmt.Errorf("model: tensor %s has shape %v, want one row", ropeFactorsTensor, t.Shape)
		}
		if err := t.Row(p.Scaling.FreqFactors, 0); err != nil {
			return p, err
		}
	}
	return p, r.err
}

func (r *reader) ropeScaling(s *posenc.Scaling, c Config) error {
	kind := ""
	if r.has("rope.scaling.type") {
		var err error
		if kind, err = r.f.String(r.arch + ".rope.scaling.type"); err != nil {
			return err
		}
	}
	factor := r.floatOr("rope.scaling.factor", r.floatOr("rope.scale_linear", 0))
	if kind == "" && factor != 0 {
		kind = string(posenc.LinearScaling) // a factor without a type
	}
	attention := r.floatOr("rope.scaling.attn_factor", 1)
	s.Kind = posenc.ScalingKind(kind)
	switch s.Kind {
	case posenc.NoScaling, "none":
		s.Kind = posenc.NoScaling
	case posenc.LinearScaling:
		s.Factor = factor
	case posenc.YaRNScaling:
		s.Factor = factor
		s.OriginalContext = r.sizeOr("rope.scaling.original_context_length", 1<<30, c.Context)
		s.BetaFast = r.floatOr("rope.scaling.yarn_beta_fast", 0)
		s.BetaSlow = r.floatOr("rope.scaling.yarn_beta_slow", 0)
		if !(attention > 0) {
			return fmt.Errorf("model: %s.rope.scaling.attn_factor is %g, want more than 0", r.arch, attention)
		}
		s.AttentionFactor = posenc.YaRNMagnitude(factor, 1, 0) * attention
		return r.neutral(map[string]float64{
			"rope.scaling.yarn_ext_factor": 1, "rope.scaling.yarn_attn_factor": 1, "rope.scaling.yarn_log_multiplier": 0,
		})
	default:
		return fmt.Errorf("%w: RoPE scaling %q", ErrUnsupported, kind)
	}
	return r.neutral(map[string]float64{"rope.scaling.attn_factor": 1})
}

// neutral refuses keys with any other value than the one that changes nothing.
func (r *reader) neutral(keys map[string]float64) error {
	for key, want := range keys {
		if v := r.floatOr(key, want); v != want {
			return fmt.Errorf("%w: %s.%s = %g", ErrUnsupported, r.arch, key, v)
		}
	}
	return r.err
}
