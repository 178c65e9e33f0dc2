// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package gguf_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv/model/gguf"
)

const tiny = "../testdata/tiny/"

// safetensors reads the original weights: a JSON header, then BF16 or F32 data.
func safetensors(t *testing.T, path string) map[string][]float32 {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	n := binary.LittleEndian.Uint64(data)
	var index map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data[8:8+n], &index))
	delete(index, "__metadata__")
	out := map[string][]float32{}
	for name, raw := range index {
		var e struct {
			DType   string `json:"dtype"`
			Offsets [2]int `json:"data_offsets"`
		}
		require.NoError(t, json.Unmarshal(raw, &e))
		b := data[8+n:][e.Offsets[0]:e.Offsets[1]]
		var x []float32
		switch e.DType {
		case "BF16":
			for ; len(b) > 0; b = b[2:] {
				x = append(x, math.Float32frombits(uint32(binary.LittleEndian.Uint16(b))<<16))
			}
		case "F32":
			for ; len(b) > 0; b = b[4:] {
				x = append(x, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
		default:
			t.Fatalf("%s has dtype %s", name, e.DType)
		}
		out[name] = x
	}
	return out
}

// original maps a GGUF tensor name of a Llama model to its Hugging Face name.
func original(name string) string {
	name = strings.NewReplacer(
		"token_embd", "model.embed_tokens", "output_norm", "model.norm", "output.", "lm_head.",
		"blk.", "model.layers.", "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
		"attn_output", "self_attn.o_proj", "attn_", "self_attn.",
		"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj",
	).Replace(name)
	for _, p := range []string{"q", "k", "v"} {
		name = strings.Replace(name, "self_attn."+p+".", "self_attn."+p+"_proj.", 1)
	}
	return name
}

// permute reorders the rows of every head from Hugging Face's halves (first
// elements of all RoPE pairs, then the second ones) to interleaved pairs, as
// llama.cpp's converter does for q and k.
func permute(w []float32, rowLen, headDim int) []float32 {
	out := make([]float32, 0, len(w))
	for head := 0; head < len(w)/rowLen; head += headDim {
		for i := range headDim / 2 {
			for _, row := range []int{head + i, head + i + headDim/2} {
				out = append(out, w[row*rowLen:(row+1)*rowLen]...)
			}
		}
	}
	return out
}

func TestTinyModels(t *testing.T) {
	weights := safetensors(t, tiny+"model.safetensors")
	for _, name := range []string{"F32", "F16", "Q8_0", "Q4_0", "Q4_1"} {
		t.Run(name, func(t *testing.T) {
			f, err := gguf.Open(tiny + "tiny-" + name + ".gguf")
			require.NoError(t, err)
			defer f.Close()
			arch, err := f.String("general.architecture")
			require.NoError(t, err)
			require.Equal(t, "llama", arch)
			require.Len(t, f.Tensors(), len(weights))

			quantised := 0
			for _, x := range f.Tensors() {
				want, ok := weights[original(x.Name)]
				require.True(t, ok, "%s is %s", x.Name, original(x.Name))
				if strings.Contains(x.Name, "attn_q.") || strings.Contains(x.Name, "attn_k.") {
					want = permute(want, x.RowLen(), 16)
				}
				got := expand(t, x)
				if x.Type == gguf.F32 || x.Type == gguf.F16 {
					sameFloats(t, want, got, x.Name)
					continue
				}
				quantised++
				// Half a step of the coarsest rounding that the type allows for:
				// its steps span a block's range (Q4_1), its largest magnitude
				// both ways (Q8_0), or −8…7 of it, whose upper end is cut (Q4_0).
				for b := 0; b < len(want); b += 32 {
					lo, hi := want[b], want[b]
					for _, v := range want[b : b+32] {
						lo, hi = min(lo, v), max(hi, v)
					}
					peak := max(-lo, hi)
					step := map[gguf.Type]float32{gguf.Q8_0: peak / 127 / 2, gguf.Q4_0: peak / 8, gguf.Q4_1: (hi - lo) / 15 / 2}[x.Type]
					require.NotZero(t, step, x.Type)
					for i := b; i < b+32; i++ {
						// d and m are themselves rounded to half precision.
						require.InDelta(t, want[i], got[i], float64(step+peak/500), "%s[%d]", x.Name, i)
					}
				}
			}
			assert.Equal(t, strings.HasPrefix(name, "Q"), quantised > 0)
		})
	}
}

// A model file that holds the same weights is the same model, wherever its
// tensors lie, and is another one as soon as anything that counts differs.
func TestFingerprint(t *testing.T) {
	f, err := gguf.Open(tiny + "tiny-Q4_1.gguf")
	require.NoError(t, err)
	defer f.Close()
	base := f.Fingerprint()
	assert.Equal(t, base, f.Fingerprint())

	const drop = "\x00drop"
	rewrite := func(reverse bool, set map[string]any, change func(*gguf.Tensor)) [32]byte {
		var b gguf.Builder
		keys, tensors := f.Keys(), f.Tensors()
		if reverse {
			for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
				keys[i], keys[j] = keys[j], keys[i]
			}
			for i, j := 0, len(tensors)-1; i < j; i, j = i+1, j-1 {
				tensors[i], tensors[j] = tensors[j], tensors[i]
			}
		}
		seen := map[string]bool{}
		for _, k := range keys {
			seen[k] = true
			var x any
			x, _ = f.Value(k)
			if y, ok := set[k]; ok {
				x = y
			}
			if x != drop {
				require.NoError(t, b.Set(k, x))
			}
		}
		for k, x := range set {
			if !seen[k] {
				require.NoError(t, b.Set(k, x))
			}
		}
		for _, x := range tensors {
			if change != nil {
				change(&x)
			}
			require.NoError(t, b.Add(x.Name, x.Type, x.Shape, x.Data))
		}
		g, err := gguf.Parse(write(t, &b))
		require.NoError(t, err)
		return g.Fingerprint()
	}

	assert.Equal(t, base, rewrite(false, nil, nil), "rewritten")
	assert.Equal(t, base, rewrite(true, nil, nil), "other order")
	for k, v := range map[string]any{
		"general.name": "other", "general.alignment": uint32(64),
		"tokenizer.chat_template": "other", "quantize.imatrix.file": "x",
	} {
		assert.Equal(t, base, rewrite(false, map[string]any{k: v}, nil), k)
	}

	seen := map[[32]byte]string{base: "unchanged"}
	differs := func(what string, got [32]byte) {
		assert.Empty(t, seen[got], "%s has the fingerprint of another", what)
		seen[got] = what
	}
	for k, v := range map[string]any{
		"general.architecture": "qwen2", "llama.rope.freq_base": float32(9999), "llama.vocab_size": drop,
		"llama.block_count": uint64(3), "llama.new": []string{"a", "b"}, "llama.new2": []string{"ab", ""},
	} {
		differs(k, rewrite(false, map[string]any{k: v}, nil))
	}
	for _, name := range []string{"token_embd.weight", "output_norm.weight"} {
		x, ok := f.Tensor(name)
		require.True(t, ok)
		for _, at := range []int{0, len(x.Data) - 1} {
			differs(fmt.Sprintf("%s byte %d", name, at), rewrite(false, nil, func(x *gguf.Tensor) {
				if x.Name == name {
					x.Data = append([]byte(nil), x.Data...)
					x.Data[at] ^= 1
				}
			}))
		}
		differs(name+" renamed", rewrite(false, nil, func(x *gguf.Tensor) {
			if x.Name == name {
				x.Name += "2"
			}
		}))
		differs(name+" with a dimension more", rewrite(false, nil, func(x *gguf.Tensor) {
			if x.Name == name {
				x.Shape = append(append([]int(nil), x.Shape...), 1)
			}
		}))
	}
	differs("transposed shape", rewrite(false, nil, func(x *gguf.Tensor) {
		if x.Name == "token_embd.weight" {
			x.Shape = []int{x.Shape[1], x.Shape[0]}
		}
	}))
}
