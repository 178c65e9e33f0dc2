// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/kvcache"
	"github.com/graphkv/graphkv/model"
	"github.com/graphkv/graphkv/model/gguf"
)

var background = context.Background()

// spec is a GGUF file in the making.
type spec struct {
	keys    []string
	values  map[string]any
	tensors []specTensor
}

type specTensor struct {
	name  string
	typ   gguf.Type
	shape []int
	data  []byte
}

// dims are the dimensions of a random decoder.
type dims struct {
	arch                            string
	layers, heads, kvHeads, headDim int
	ffn, vocab                      int
	base, eps                       float32
	tied, factors, biases           bool
}

// smallDims is the decoder that the tests below spoil.
var smallDims = dims{arch: "llama", layers: 2, heads: 4, kvHeads: 2, headDim: 8, ffn: 64, vocab: 12, base: 1e4, eps: 1e-5}

func small() *spec { return smallDims.spec(rand.New(rand.NewPCG(1, 2))) }

// spec fills a file with random weights.
func (d dims) spec(rng *rand.Rand) *spec {
	hidden, kv := d.heads*d.headDim, d.kvHeads*d.headDim
	s := &spec{}
	s.set("general.architecture", d.arch)
	for _, k := range []struct {
		key   string
		value any
	}{
		{"block_count", uint32(d.layers)}, {"embedding_length", uint32(hidden)}, {"feed_forward_length", uint32(d.ffn)},
		{"attention.head_count", uint32(d.heads)}, {"attention.head_count_kv", uint32(d.kvHeads)},
		{"context_length", uint32(512)}, {"rope.freq_base", d.base}, {"attention.layer_norm_rms_epsilon", d.eps},
	} {
		s.set(d.arch+"."+k.key, k.value)
	}
	normal := func(name string, spread float64, shape ...int) {
		n := 1
		for _, x := range shape {
			n *= x
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * spread)
		}
		s.tensor(name, x, shape...)
	}
	uniform := func(name string, from, to float32, n int) {
		x := make([]float32, n)
		for i := range x {
			x[i] = from + (to-from)*rng.Float32()
		}
		s.tensor(name, x, n)
	}
	wide := func(k int) float64 { return 1.4 / math.Sqrt(float64(k)) }
	normal("token_embd.weight", 1, hidden, d.vocab)
	uniform("output_norm.weight", 0.5, 1.5, hidden)
	if !d.tied {
		normal("output.weight", wide(hidden), hidden, d.vocab)
	}
	if d.factors {
		uniform("rope_freqs.weight", 1, 8, d.headDim/2)
	}
	for i := range d.layers {
		blk := fmt.Sprintf("blk.%d.", i)
		uniform(blk+"attn_norm.weight", 0.5, 1.5, hidden)
		uniform(blk+"ffn_norm.weight", 0.5, 1.5, hidden)
		normal(blk+"attn_q.weight", wide(hidden), hidden, hidden)
		normal(blk+"attn_k.weight", wide(hidden), hidden, kv)
		normal(blk+"attn_v.weight", wide(hidden), hidden, kv)
		normal(blk+"attn_output.weight", wide(hidden), hidden, hidden)
		normal(blk+"ffn_gate.weight", wide(hidden), hidden, d.ffn)
		normal(blk+"ffn_up.weight", wide(hidden), hidden, d.ffn)
		normal(blk+"ffn_down.weight", wide(d.ffn), d.ffn, hidden)
		if d.arch == "qwen2" || d.biases {
			normal(blk+"attn_q.bias", 0.5, hidden)
			normal(blk+"attn_k.bias", 0.5, kv)
			normal(blk+"attn_v.bias", 0.5, kv)
		}
	}
	return s
}

// readSpec takes a file apart.
func readSpec(t testing.TB, path string) *spec {
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	s := &spec{}
	for _, k := range f.Keys() {
		v, _ := f.Value(k)
		s.set(k, v)
	}
	for _, x := range f.Tensors() {
		s.tensors = append(s.tensors, specTensor{x.Name, x.Type, slices.Clone(x.Shape), slices.Clone(x.Data)})
	}
	return s
}

// set adds or replaces a key.
func (s *spec) set(key string, value any) {
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	if s.values == nil {
		s.values = map[string]any{}
	}
	s.values[key] = value
}

// tensor adds or replaces a tensor of type F32.
func (s *spec) tensor(name string, x []float32, shape ...int) {
	var data []byte
	for _, v := range x {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	s.put(specTensor{name, gguf.F32, shape, data})
}

// zeros adds or replaces a tensor whose data is all zero.
func (s *spec) zeros(name string, typ gguf.Type, shape ...int) {
	elems, size := typ.Block()
	n := size
	for _, d := range shape {
		n *= d
	}
	s.put(specTensor{name, typ, shape, make([]byte, n/elems)})
}

func (s *spec) put(x specTensor) {
	if i := s.find(x.name); i >= 0 {
		s.tensors[i] = x
		return
	}
	s.tensors = append(s.tensors, x)
}

func (s *spec) find(name string) int {
	return slices.IndexFunc(s.tensors, func(x specTensor) bool { return x.name == name })
}

// drop removes a key or tensor, which must be there.
func (s *spec) drop(t require.TestingT, name string) {
	if i := s.find(name); i >= 0 {
		s.tensors = slices.Delete(s.tensors, i, i+1)
		return
	}
	require.Contains(t, s.keys, name)
	s.keys = slices.DeleteFunc(s.keys, func(k string) bool { return k == name })
	delete(s.values, name)
}

func (s *spec) bytes(t require.TestingT) []byte {
	var b gguf.Builder
	for _, k := range s.keys {
		require.NoError(t, b.Set(k, s.values[k]))
	}
	for _, x := range s.tensors {
		require.NoError(t, b.Add(x.name, x.typ, x.shape, x.data))
	}
	var out bytes.Buffer
	_, err := b.WriteTo(&out)
	require.NoError(t, err)
	return out.Bytes()
}

// open writes and opens the file; on systems that cannot remove an open file it is
// removed when it is closed by the operating system's own cleaning.
func (s *spec) open(t require.TestingT) *gguf.File {
	dir, err := os.MkdirTemp("", "graphkv-model")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.gguf")
	require.NoError(t, os.WriteFile(path, s.bytes(t), 0o600))
	f, err := gguf.Open(path)
	require.NoError(t, err)
	return f
}

// load loads the file until the test ends.
func (s *spec) load(t testing.TB) (*model.Model, error) {
	f := s.open(t)
	t.Cleanup(func() { f.Close() })
	return model.Load(f, nil)
}

// refusal is a way to spoil a file and what the error must say.
type refusal struct {
	name  string
	spoil func(t *testing.T, s *spec)
	is    error    // that the error wraps, if any
	says  []string // parts of its text
}

func set(key string, value any) func(*testing.T, *spec) {
	return func(_ *testing.T, s *spec) { s.set(key, value) }
}

func drop(name string) func(*testing.T, *spec) {
	return func(t *testing.T, s *spec) { s.drop(t, name) }
}

func zeros(name string, typ gguf.Type, shape ...int) func(*testing.T, *spec) {
	return func(_ *testing.T, s *spec) { s.zeros(name, typ, shape...) }
}

func all(f ...func(*testing.T, *spec)) func(*testing.T, *spec) {
	return func(t *testing.T, s *spec) {
		for _, f := range f {
			f(t, s)
		}
	}
}

// What would change the arithmetic is refused, and the error names it.
func TestRefusesFeatures(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	scaling := func(kind string, factor float32) func(*testing.T, *spec) {
		return all(set("llama.rope.scaling.type", kind), set("llama.rope.scaling.factor", factor))
	}
	no := model.ErrUnsupported
	checkRefusals(t, []refusal{
		{"another architecture", set("general.architecture", "gemma2"), no, []string{`"gemma2"`, "llama, qwen2"}},
		{"an architecture that only begins alike", set("general.architecture", "llama4"), no, []string{`"llama4"`}},
		{"no architecture", drop("general.architecture"), gguf.ErrMissing, []string{"general.architecture"}},
		{"a number for an architecture", set("general.architecture", uint32(1)), gguf.ErrType, []string{"general.architecture"}},
		{"experts", set("llama.expert_count", uint32(8)), no, []string{"8 experts"}},
		{"a sliding window", set("llama.attention.sliding_window", uint32(128)), no, []string{"sliding window", "128"}},
		{"a logit scale", set("llama.logit_scale", float32(0.5)), no, []string{"llama.logit_scale", "0.5"}},
		{"an embedding scale", set("llama.embedding_scale", float32(12)), no, []string{"llama.embedding_scale"}},
		{"a residual scale", set("llama.residual_scale", float32(0.2)), no, []string{"llama.residual_scale"}},
		{"an attention scale", set("llama.attention.scale", float32(0.1)), no, []string{"llama.attention.scale"}},
		{"clamped queries", set("llama.attention.clamp_kqv", float32(8)), no, []string{"llama.attention.clamp_kqv"}},
		{"soft-capped scores", set("llama.attn_logit_softcapping", float32(50)), no, []string{"llama.attn_logit_softcapping"}},
		{"soft-capped logits", set("llama.final_logit_softcapping", float32(30)), no, []string{"llama.final_logit_softcapping"}},
		{"narrower values", set("llama.attention.value_length", uint32(2)), no, []string{"value heads of 2", "key heads of 8"}},

		{"longrope", scaling("longrope", 4), no, []string{`"longrope"`}},
		{"dynamic scaling", scaling("dynamic", 4), no, []string{`"dynamic"`}},
		{"llama3 scaling as a type", scaling("llama3", 8), no, []string{`"llama3"`}},
		{"an unknown scaling", scaling("stretch", 4), no, []string{`"stretch"`}},
		{"a number for a scaling", set("llama.rope.scaling.type", uint32(1)), gguf.ErrType, []string{"llama.rope.scaling.type"}},
		{"linear scaling without a factor", set("llama.rope.scaling.type", "linear"), nil, []string{"linear", "factor"}},
		{"linear scaling by NaN", scaling("linear", nan), nil, []string{"linear", "factor"}},
		{"linear scaling by less than 1", scaling("linear", 0.5), nil, []string{"linear", "factor 0.5"}},
		{"YaRN without a factor", set("llama.rope.scaling.type", "yarn"), nil, []string{"yarn", "factor"}},
		{"YaRN by an infinite factor", scaling("yarn", inf), nil, []string{"yarn", "factor"}},
		{"YaRN of a context of 0", all(scaling("yarn", 4), set("llama.rope.scaling.original_context_length", uint32(0))), nil,
			[]string{"original_context_length"}},
		{"YaRN with a NaN magnitude", all(scaling("yarn", 4), set("llama.rope.scaling.attn_factor", nan)), nil, []string{"attn_factor"}},
		{"a text for a factor", all(scaling("linear", 4), set("llama.rope.scaling.factor", "4")), gguf.ErrType, []string{"rope.scaling.factor"}},
		{"a RoPE base of 0", set("llama.rope.freq_base", float32(0)), nil, []string{"RoPE base 0"}},
		{"a RoPE base of NaN", set("llama.rope.freq_base", nan), nil, []string{"RoPE base NaN"}},
		{"an odd rotary dimension", set("llama.rope.dimension_count", uint32(3)), nil, []string{"rotary dimension 3"}},
		{"a rotary dimension wider than the head", set("llama.rope.dimension_count", uint32(10)), nil, []string{"rotary dimension 10", "head dimension 8"}},
		{"no rotary dimension", set("llama.rope.dimension_count", uint32(0)), nil, []string{"rope.dimension_count"}},
		{"too many frequency factors", zeros("rope_freqs.weight", gguf.F32, 3), nil, []string{"3 frequency factors", "want 4"}},
		{"frequency factors in two rows", zeros("rope_freqs.weight", gguf.F32, 2, 2), nil, []string{"rope_freqs.weight", "one row"}},
		{"frequency factors of 0", zeros("rope_freqs.weight", gguf.F32, 4), nil, []string{"frequency factor 0 is 0"}},
	})
}

// Dimensions that are absent, of the wrong type, absurd or at odds with each other.
func TestRefusesDimensions(t *testing.T) {
	sizes := []string{"block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length", "context_length"}
	var cases []refusal
	for _, key := range sizes {
		name := "llama." + key
		if key != "attention.head_count_kv" {
			cases = append(cases, refusal{"no " + key, drop(name), gguf.ErrMissing, []string{name}})
		}
		cases = append(cases,
			refusal{key + " of 0", set(name, uint32(0)), nil, []string{name, "is 0"}},
			refusal{key + " of −1", set(name, int32(-1)), gguf.ErrType, []string{name}},
			refusal{key + " of 2⁶³", set(name, uint64(1)<<63), nil, []string{name}},
			refusal{key + " of 2⁶⁴−1", set(name, uint64(math.MaxUint64)), nil, []string{name}},
			refusal{key + " as a text", set(name, "16"), gguf.ErrType, []string{name}},
			refusal{key + " per layer", set(name, []uint32{4, 4}), gguf.ErrType, []string{name}},
		)
	}
	eps := "llama.attention.layer_norm_rms_epsilon"
	for _, x := range []float64{math.NaN(), math.Inf(1), 0, -1e-5, 1} {
		cases = append(cases, refusal{fmt.Sprintf("an epsilon of %g", x), set(eps, float32(x)), nil, []string{eps, "out of range"}})
	}
	checkRefusals(t, append(cases, []refusal{
		{"no epsilon", drop(eps), gguf.ErrMissing, []string{eps}},
		{"heads that do not divide", set("llama.attention.head_count_kv", uint32(3)), nil, []string{"4 query heads", "3 key/value heads"}},
		{"more KV heads than heads", set("llama.attention.head_count_kv", uint32(8)), nil, []string{"4 query heads", "8 key/value heads"}},
		{"more heads than dimensions", all(set("llama.attention.head_count", uint32(64))), nil, []string{"head dimension 0"}},
		{"a head dimension that does not fit", set("llama.attention.key_length", uint32(16)), nil, []string{"blk.0.attn_q.weight", "[32 32]", "[32 64]"}},
		{"a huge head", set("llama.attention.key_length", uint32(1<<20)), nil, []string{"head dimension 1048576"}},
		{"one layer too many", set("llama.block_count", uint32(3)), nil, []string{"blk.2.attn_q.weight", "missing"}},
		{"as many layers as may be", set("llama.block_count", uint32(1<<12)), nil, []string{"blk.2.attn_q.weight", "missing"}},
		{"as wide as may be", all(set("llama.embedding_length", uint32(1<<20)), set("llama.attention.head_count", uint32(1<<18)),
			set("llama.attention.head_count_kv", uint32(1<<18))), nil, []string{"token_embd.weight", "[32 12]", "[1048576 12]"}},
		{"as many inner dimensions as may be", set("llama.feed_forward_length", uint32(1<<20)), nil, []string{"blk.0.ffn_gate.weight", "[32 1048576]"}},
		{"a wider residual stream", set("llama.embedding_length", uint32(64)), nil, []string{"token_embd.weight", "[32 12]", "[64 12]"}},
		{"a larger vocabulary", zeros("token_embd.weight", gguf.F32, 32, 13), nil, []string{"output.weight", "[32 12]", "[32 13]"}},
	}...))
}

// unreadable is a type, Q5_0, that the reader of GGUF files knows but cannot expand.
const unreadable gguf.Type = 6

// Every tensor must be there, have its shape and a readable type, and no tensor may be left over.
func TestRefusesTensors(t *testing.T) {
	var cases []refusal
	for _, x := range small().tensors {
		wider, longer := slices.Clone(x.shape), slices.Clone(x.shape)
		wider[0] += 2
		longer[len(longer)-1]++
		cases = append(cases, refusal{x.name + " with wider rows", zeros(x.name, gguf.F32, wider...), nil, []string{x.name, "shape"}})
		if x.name != "token_embd.weight" { // it says how large the vocabulary is, and see TestRefusesAnUnreadableEmbedding
			cases = append(cases,
				refusal{x.name + " one row longer", zeros(x.name, gguf.F32, longer...), nil, []string{x.name, "shape"}},
				refusal{x.name + " of another type", zeros(x.name, unreadable, x.shape...), gguf.ErrUnsupported, []string{x.name, "Q5_0"}},
			)
		}
		if x.name != "output.weight" { // without it the output is the embedding
			cases = append(cases, refusal{"no " + x.name, drop(x.name), nil, []string{x.name, "missing"}})
		}
	}
	for _, name := range []string{
		"blk.0.attn_q_norm.weight", "blk.0.attn_output.bias", "blk.0.ffn_gate_inp.weight", "blk.1.ffn_up.bias", "blk.2.attn_q.weight",
		"blk.0.post_attention_norm.weight", "blk.0.attn_sinks.weight", "output.bias", "output_norm.bias", "token_embd_norm.weight",
		"rope_factors_long.weight",
	} {
		cases = append(cases, refusal{"with " + name, zeros(name, gguf.F32, 32), model.ErrUnsupported, []string{name}})
	}
	checkRefusals(t, append(cases,
		refusal{"a short bias", zeros("blk.1.attn_k.bias", gguf.F32, 4), nil, []string{"blk.1.attn_k.bias", "[4]"}},
		refusal{"a transposed matrix", zeros("blk.0.attn_k.weight", gguf.F32, 16, 32), nil, []string{"blk.0.attn_k.weight", "[16 32]", "[32 16]"}},
	))
}

// checkRefusals loads the spoilt files. A refusal is cheap, whatever a file claims.
func checkRefusals(t *testing.T, cases []refusal) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range cases {
		require.False(t, seen[c.name], "two cases %q", c.name)
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			s := small()
			c.spoil(t, s)
			f := s.open(t)
			defer f.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := model.Load(f, nil)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
			for _, part := range c.says {
				assert.ErrorContains(t, err, part)
			}
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "bytes allocated before refusing")
		})
	}
}

// The format has no tensors without elements, so a vocabulary of 0 ends at Open.
func TestRefusesAnEmptyVocabulary(t *testing.T) {
	s := small()
	data := s.bytes(t)
	at := bytes.Index(data, []byte("token_embd.weight")) + len("token_embd.weight") + 4 + 8
	require.Equal(t, uint64(12), binary.LittleEndian.Uint64(data[at:]))
	binary.LittleEndian.PutUint64(data[at:], 0)
	path := filepath.Join(t.TempDir(), "model.gguf")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, err := gguf.Open(path)
	require.ErrorIs(t, err, gguf.ErrCorrupt)
	require.ErrorContains(t, err, "token_embd.weight")
}

// Embeddings are read as tokens ask for them; of a type that cannot be read they
// end in an error no later than with the first token.
func TestRefusesAnUnreadableEmbedding(t *testing.T) {
	s := small()
	s.zeros("token_embd.weight", unreadable, 32, 12)
	m, err := s.load(t)
	if err == nil {
		run := model.Run{Tokens: []int32{1}, KV: kvcache.NewKV(m.Config().KVShape(), 1)}
		err = m.Forward(background, &model.Workspace{}, []model.Run{run})
	}
	require.ErrorIs(t, err, gguf.ErrUnsupported)
	require.ErrorContains(t, err, "token_embd.weight")
}

// Keys that say what is so anyway change nothing.
func TestAcceptsNeutralKeys(t *testing.T) {
	plain, err := small().load(t)
	require.NoError(t, err)
	want := causal(t, plain, []int32{1, 2, 3})
	for name, change := range map[string]func(*testing.T, *spec){
		"no experts":                  set("llama.expert_count", uint32(0)),
		"a window over the context":   set("llama.attention.sliding_window", uint32(512)),
		"a logit scale of 1":          set("llama.logit_scale", float32(1)),
		"a scaling of type none":      set("llama.rope.scaling.type", "none"),
		"linear scaling by 1":         all(set("llama.rope.scaling.type", "linear"), set("llama.rope.scaling.factor", float32(1))),
		"head dimensions spelled out": all(set("llama.attention.key_length", uint32(8)), set("llama.attention.value_length", uint64(8))),
		"every dimension rotated":     set("llama.rope.dimension_count", uint32(8)),
		"the default base left out":   drop("llama.rope.freq_base"),
		"factors of 1": func(_ *testing.T, s *spec) {
			s.tensor("rope_freqs.weight", []float32{1, 1, 1, 1}, 4)
		},
		"biases of 0": zeros("blk.0.attn_q.bias", gguf.F32, 32),
	} {
		t.Run(name, func(t *testing.T) {
			s := small()
			change(t, s)
			m, err := s.load(t)
			require.NoError(t, err)
			require.Equal(t, want, causal(t, m, []int32{1, 2, 3}))
		})
	}
	t.Run("as many KV heads as heads when their key is left out", func(t *testing.T) {
		d := smallDims
		d.kvHeads = d.heads
		s := d.spec(rand.New(rand.NewPCG(3, 4)))
		s.drop(t, "llama.attention.head_count_kv")
		m, err := s.load(t)
		require.NoError(t, err)
		require.Equal(t, d.kvHeads, m.Config().KVHeads)
	})
}

// Wrong arguments of Forward are named before anything is computed.
func TestForwardRefuses(t *testing.T) {
	m, err := small().load(t)
	require.NoError(t, err)
	shape := m.Config().KVShape()
	other := shape
	other.HeadDim *= 2
	short := shape
	short.Layers--
	kv := func(n int) *kvcache.KV { return kvcache.NewKV(shape, n) }
	ids := []int32{1, 2, 3}
	source := func(s model.Source) model.Run {
		return model.Run{Tokens: ids, KV: kv(3), Sources: []model.Source{{KV: kv(2)}, s}}
	}
	var ws model.Workspace
	for _, c := range []struct {
		name string
		run  model.Run
		says []string
	}{
		{"no tokens", model.Run{KV: kv(3)}, []string{"no tokens"}},
		{"a negative token", model.Run{Tokens: []int32{1, -1}, KV: kv(3)}, []string{"token -1 at 1", "12"}},
		{"a token past the vocabulary", model.Run{Tokens: []int32{1, 2, 12}, KV: kv(3)}, []string{"token 12 at 2", "vocabulary of 12"}},
		{"no KV", model.Run{Tokens: ids}, []string{"KV", "shape"}},
		{"a KV of another shape", model.Run{Tokens: ids, KV: kvcache.NewKV(other, 3)}, []string{"KV", "shape"}},
		{"rows before the KV", model.Run{Tokens: ids, KV: kv(3), At: -1}, []string{"3 rows from -1", "KV of 3 tokens"}},
		{"rows past the KV", model.Run{Tokens: ids, KV: kv(3), At: 1}, []string{"3 rows from 1", "KV of 3 tokens"}},
		{"a part of a row of logits", model.Run{Tokens: ids, KV: kv(3), Logits: make([]float32, 13)}, []string{"13 logits", "rows of 12"}},
		{"more logits than tokens", model.Run{Tokens: ids, KV: kv(3), Logits: make([]float32, 48)}, []string{"48 logits", "at most 3"}},
		{"a negative number of layers", model.Run{Tokens: ids, KV: kv(3), Layers: -1}, []string{"after -1 of"}},
		{"more layers than there are", model.Run{Tokens: ids, KV: kv(3), Layers: shape.Layers + 1}, []string{fmt.Sprintf("of %d layers", shape.Layers)}},
		{"logits of a run that ends early", model.Run{Tokens: ids, KV: kv(3), Layers: 1, Logits: make([]float32, 12)}, []string{"asked for more"}},
		{"a probe of a run that ends early", model.Run{Tokens: ids, KV: kv(3), Layers: 1, Probe: &model.Probe{}}, []string{"asked for more"}},
		{"a KV with too few layers", model.Run{Tokens: ids, KV: kvcache.NewKV(short, 3), Layers: shape.Layers}, []string{"KV", "shape"}},
		{"a source without a KV", source(model.Source{}), []string{"source 1"}},
		{"a source of another shape", source(model.Source{KV: kvcache.NewKV(other, 3)}), []string{"source 1", "shape"}},
		{"a source longer than its KV", source(model.Source{KV: kv(3), Len: 4}), []string{"source 1", "4 tokens"}},
		{"a source of negative length", source(model.Source{KV: kv(3), Len: -1}), []string{"source 1"}},
		{"a node inside a panel", model.Run{Tokens: ids, KV: kv(30), From: 8}, []string{"row 8", "multiple of 16"}},
		{"a node past the KV", model.Run{Tokens: ids, KV: kv(3), From: 16}, []string{"row 16", "KV of 3 tokens"}},
		{"rows past the end of the KV", model.Run{Tokens: ids, KV: kv(18), From: 16}, []string{"3 rows from 16", "KV of 18 tokens"}},
		{"half of a whole node", model.Run{Tokens: ids, KV: kv(4), At: 1, Whole: true}, []string{"3 tokens from 1 on", "whole node"}},
		{"half of a bidirectional node", model.Run{Tokens: ids, KV: kv(4), At: 1, Bidirectional: true}, []string{"3 tokens from 1 on", "whole node"}},
		{"a logit of a whole node", model.Run{Tokens: ids, KV: kv(3), Whole: true, Logits: make([]float32, 12)}, []string{"1 of 3 tokens", "none or all"}},
		{"a source inside a panel", source(model.Source{KV: kv(30), From: 15}), []string{"source 1", "row 15"}},
		{"a source past its KV", source(model.Source{KV: kv(30), From: 16, Len: 15}), []string{"source 1", "15 tokens"}},
		{"a short bias", source(model.Source{KV: kv(3), Bias: make([]float32, 3)}), []string{"bias"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := model.Run{Tokens: ids, KV: kv(3)}
			err := m.Forward(background, &ws, []model.Run{good, c.run})
			require.Error(t, err)
			for _, part := range c.says {
				require.Contains(t, strings.ToLower(err.Error()), strings.ToLower(part))
			}
			if !strings.Contains(c.name, "bias") {
				require.ErrorContains(t, err, "run 1")
			}
		})
	}
	both := kv(20)
	itself := model.Run{Tokens: ids, KV: both, Sources: []model.Source{{KV: both}}}
	require.ErrorContains(t, m.Forward(background, &ws, []model.Run{itself}), "run 0: source 0 is the run's own node")
	itself.Sources[0].From = 16
	require.NoError(t, m.Forward(background, &ws, []model.Run{itself}), "another node in the same KV")
	require.NoError(t, m.Forward(background, &ws, nil), "nothing to do")

	cancelled, cancel := context.WithCancel(background)
	cancel()
	run := model.Run{Tokens: ids, KV: kv(3), Logits: make([]float32, 36)}
	require.ErrorIs(t, m.Forward(cancelled, &ws, []model.Run{run}), context.Canceled)
	require.Equal(t, make([]float32, 36), run.Logits)
	late := &lateContext{Context: background, checks: 1}
	require.ErrorIs(t, m.Forward(late, &ws, []model.Run{run}), context.Canceled, "cancelled after the first layer")
	require.Equal(t, make([]float32, 36), run.Logits)

	// The workspace has seen all of this and works as a new one does.
	require.NoError(t, m.Forward(background, &ws, []model.Run{run}))
	require.Equal(t, causal(t, m, ids), run.Logits)
}

// lateContext is cancelled once its error has been asked for a number of times.
type lateContext struct {
	context.Context
	checks int
}

func (c *lateContext) Err() error {
	if c.checks--; c.checks < 0 {
		return context.Canceled
	}
	return nil
}

// A file that was closed under the model is an error, not a fault.
func TestForwardAfterClose(t *testing.T) {
	f := small().open(t)
	m, err := model.Load(f, nil)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	run := model.Run{Tokens: []int32{1}, KV: kvcache.NewKV(m.Config().KVShape(), 1)}
	var ws model.Workspace
	require.ErrorIs(t, m.Forward(background, &ws, []model.Run{run}), gguf.ErrClosed)
}

// workload is a graph batch and a decode step over it.
func workload(m *model.Model) (batch []model.Run, step []model.Run) {
	shape, vocab := m.Config().KVShape(), m.Config().Vocab
	a := model.Run{Tokens: []int32{1, 2, 3, 4, 5}, KV: kvcache.NewKV(shape, 5)}
	b := model.Run{Tokens: []int32{6, 7, 8}, KV: kvcache.NewKV(shape, 3), Sources: []model.Source{{KV: a.KV, Shift: 9}}}
	q := model.Run{Tokens: []int32{9, 10, 11, 0}, KV: kvcache.NewKV(shape, 6), Logits: make([]float32, 2*vocab),
		Sources: []model.Source{{KV: a.KV, Shift: 14}, {KV: b.KV, Shift: 14, Scale: 0.5, Bias: make([]float32, m.Config().Heads)}}}
	d := q
	d.Tokens, d.At, d.Logits = []int32{3}, 4, make([]float32, vocab)
	d.Sources = slices.Clone(q.Sources)
	for i := range d.Sources {
		d.Sources[i].Shift += 4
	}
	return []model.Run{a, b, q}, []model.Run{d}
}

// A warm workspace serves prefill and decode without allocating.
func TestForwardDoesNotAllocate(t *testing.T) {
	for _, name := range []string{"llama-kquants", "llama3", "qwen2-tied"} {
		m := loadModel(t, filepath.Join(variantsDir, name+".gguf"))
		batch, step := workload(m)
		text := model.Run{Tokens: make([]int32, 40), KV: kvcache.NewKV(m.Config().KVShape(), 40), Logits: make([]float32, 20*m.Config().Vocab)}
		var ws model.Workspace
		for _, c := range []struct {
			name string
			runs []model.Run
		}{{"text", []model.Run{text}}, {"graph batch", batch}, {"decode step", step}} {
			n := testing.AllocsPerRun(8, func() {
				if err := m.Forward(background, &ws, c.runs); err != nil {
					t.Fatal(err)
				}
			})
			assert.Zero(t, n, "%s, %s", name, c.name)
		}
	}
}

// Goroutines with a workspace each share a model and read the same sources.
func TestForwardConcurrently(t *testing.T) {
	m := loadModel(t, "testdata/variants/qwen2-tied.gguf")
	var ws model.Workspace
	shared, step := workload(m)
	require.NoError(t, m.Forward(background, &ws, shared))
	require.NoError(t, m.Forward(background, &ws, step))
	wantPrefill, wantStep := shared[2].Logits, step[0].Logits
	require.NotEqual(t, make([]float32, len(wantStep)), wantStep)

	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			var ws model.Workspace
			for range 8 {
				own, step := workload(m)
				// The query reads the shared encoding of the segments.
				for i := range own[2].Sources {
					own[2].Sources[i].KV = shared[i].KV
					step[0].Sources[i].KV = shared[i].KV
				}
				if !assert.NoError(t, m.Forward(background, &ws, own)) || !assert.NoError(t, m.Forward(background, &ws, step)) {
					return
				}
				if !assert.Equal(t, wantPrefill, own[2].Logits) || !assert.Equal(t, wantStep, step[0].Logits) {
					return
				}
				for i := range own[:2] {
					for l := range m.Config().Layers {
						if !assert.Equal(t, shared[i].KV.Layer(l), own[i].KV.Layer(l)) {
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
}
