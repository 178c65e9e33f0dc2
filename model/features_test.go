// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
)

// Keys that change the arithmetic but are easily passed over.
func TestFeatures(t *testing.T) {
	nan := float32(math.NaN())
	yarn := all(set("llama.rope.scaling.type", "yarn"), set("llama.rope.scaling.factor", float32(4)), set("llama.rope.scaling.original_context_length", uint32(128)))
	no := model.ErrUnsupported
	checkRefusals(t, []refusal{
		{"YaRN with an extrapolation factor", all(yarn, set("llama.rope.scaling.yarn_ext_factor", float32(0.5))), no, []string{"yarn_ext_factor"}},
		{"YaRN with an attention factor", all(yarn, set("llama.rope.scaling.yarn_attn_factor", float32(0.5))), no, []string{"yarn_attn_factor"}},
		{"YaRN with a multiplier of its logarithm", all(yarn, set("llama.rope.scaling.yarn_log_multiplier", float32(0.5))), no, []string{"yarn_log_multiplier"}},
		{"an attention factor with linear scaling", all(set("llama.rope.scaling.type", "linear"), set("llama.rope.scaling.factor", float32(2)),
			set("llama.rope.scaling.attn_factor", float32(2))), nil, []string{"attn_factor"}},
		{"a NaN factor without a type", set("llama.rope.scaling.factor", nan), nil, []string{"factor"}},
		{"attention that is not causal", set("llama.attention.causal", false), no, []string{"causal"}},
		{"ALiBi", set("llama.attention.max_alibi_bias", float32(8)), no, []string{"max_alibi_bias"}},
		{"experts as a text", set("llama.expert_count", "8"), nil, []string{"expert_count"}},
		{"experts per layer", set("llama.expert_count", []uint32{8, 8}), nil, []string{"expert_count"}},
		{"a window per layer", set("llama.attention.sliding_window", []uint32{8, 8}), nil, []string{"sliding_window"}},
		{"an integer for a scale", set("llama.logit_scale", uint32(2)), nil, []string{"logit_scale"}},
		{"an unreadable embedding", zeros("token_embd.weight", unreadable, 32, 12), gguf.ErrUnsupported, []string{"token_embd.weight", "Q5_0"}},
	})
}

// A scaling factor without a type means linear scaling.
func TestFactorWithoutAType(t *testing.T) {
	typed, untyped := small(), small()
	all(set("llama.rope.scaling.type", "linear"), set("llama.rope.scaling.factor", float32(4)))(t, typed)
	set("llama.rope.scaling.factor", float32(4))(t, untyped)
	a, err := typed.load(t)
	require.NoError(t, err)
	b, err := untyped.load(t)
	require.NoError(t, err)
	require.Equal(t, a.Config().RoPE, b.Config().RoPE)
}

// YaRN's ramp is where the file says.
func TestYaRNRamp(t *testing.T) {
	s := small()
	all(set("llama.rope.scaling.type", "yarn"), set("llama.rope.scaling.factor", float32(4)),
		set("llama.rope.scaling.yarn_beta_fast", float32(3)), set("llama.rope.scaling.yarn_beta_slow", float32(0.5)))(t, s)
	m, err := s.load(t)
	require.NoError(t, err)
	require.Equal(t, 3.0, m.Config().RoPE.Scaling.BetaFast)
	require.Equal(t, 0.5, m.Config().RoPE.Scaling.BetaSlow)
}

// Qwen2 has biases; a file that lost one is not the model.
func TestQwen2Biases(t *testing.T) {
	d := smallDims
	d.arch = "qwen2"
	for _, name := range []string{"attn_q.bias", "attn_k.bias", "attn_v.bias"} {
		s := d.spec(rand.New(rand.NewPCG(1, 2)))
		s.drop(t, "blk.1."+name)
		_, err := s.load(t)
		require.ErrorContains(t, err, "blk.1."+name)
	}
}

// No model comes with an error.
func TestNilModel(t *testing.T) {
	s := small()
	s.zeros("output.bias", gguf.F32, 32)
	m, err := s.load(t)
	require.Error(t, err)
	require.True(t, m == nil)
}

// A start near the largest int is past the KV.
func TestAtOverflow(t *testing.T) {
	m, err := small().load(t)
	require.NoError(t, err)
	run := model.Run{Tokens: []int32{1, 2}, KV: kvcache.NewKV(m.Config().KVShape(), 3), At: math.MaxInt - 1}
	require.ErrorContains(t, m.Forward(background, &model.Workspace{}, []model.Run{run}), "do not fit")
}
