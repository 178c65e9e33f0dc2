"""Writes the tiny random models of this directory (*.gguf), the logits that Hugging Face transformers computes from the
very weights in the files, as a reader dequantises them (*.f32, little-endian float32, one row per prompt token), and
variants.json, which says what is what. Tensors are named and laid out, and metadata keys written, as llama.cpp's
converter does.

    pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0 numpy==2.4.6
    python3 generate.py
"""

import json
import math
import os
from dataclasses import dataclass, field

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
GREEDY = 8


@dataclass
class Variant:
    name: str
    arch: str  # llama or qwen2
    what: str
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 96
    vocab: int = 64
    context: int = 256
    head_dim: int = 0  # 0: hidden / heads, and no key_length in the file
    rotary: int = 0  # 0: head_dim
    base: float = 10000.0
    eps: float = 1e-5
    tied: bool = False
    rope: dict = field(default_factory=dict)  # transformers' rope parameters
    attn_factor: float = 0.0  # rope.scaling.attn_factor
    types: dict = field(default_factory=dict)  # tensor name without blk.N. and .weight -> type; "" is the default
    prompt: int = 20
    # What makes the variant special: without these keys or tensors the logits must differ (or the file be refused).
    essential: list = field(default_factory=list)

    @property
    def d(self):
        return self.head_dim or self.hidden // self.heads


VARIANTS = [
    Variant("qwen2-tied", "qwen2", "half-split RoPE, q/k/v biases, tied embeddings, 8 heads on 2", heads=8, kv_heads=2,
            base=1e6, eps=1e-6, tied=True, types={"": T.F16},
            essential=["blk.0.attn_q.bias", "blk.1.attn_k.bias", "blk.0.attn_v.bias"]),
    Variant("llama3", "llama", "Llama 3.1 frequency factors, untied, BF16", heads=2, kv_heads=1, base=500000.0, prompt=40,
            types={"": T.BF16}, essential=["rope_freqs.weight"],
            rope={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 32}),
    Variant("llama-linear", "llama", "linear scaling by 4 of a context of 16", context=64, prompt=40, types={"": T.Q8_0},
            rope={"rope_type": "linear", "factor": 4.0},
            essential=["llama.rope.scaling.type+llama.rope.scaling.factor"]),
    Variant("llama-yarn", "llama", "YaRN by 4 of a context of 16", heads=2, kv_heads=2, ffn=80, context=64, prompt=40,
            types={"": T.F32}, rope={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
            essential=["llama.rope.scaling.type+llama.rope.scaling.factor", "llama.rope.scaling.original_context_length"]),
    Variant("qwen2-yarn", "qwen2", "YaRN by 2.5 of a context of 16 with an attention factor of 0.8", heads=2, kv_heads=1,
            context=40, prompt=40, base=1000.0, types={"": T.F16}, attn_factor=0.8,
            rope={"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 16},
            essential=["qwen2.rope.scaling.type+qwen2.rope.scaling.factor+qwen2.rope.scaling.attn_factor", "qwen2.rope.scaling.attn_factor"]),
    Variant("llama-heads", "llama", "heads wider than hidden/heads, 24 of their 32 dimensions rotated", hidden=48, heads=3,
            kv_heads=3, head_dim=32, rotary=24, base=100.0, types={"": T.F16}, essential=["llama.rope.dimension_count"]),
    Variant("qwen2-heads", "qwen2", "heads narrower than hidden/heads, 8 of their 12 dimensions rotated", heads=4, kv_heads=2,
            head_dim=12, rotary=8, base=100.0, types={"": T.F16}, essential=["qwen2.rope.dimension_count"]),
    Variant("llama-kquants", "llama", "Q4_K and Q6_K matrices, the others Q4_0, Q4_1 and Q8_0", hidden=256, ffn=256, heads=4,
            kv_heads=2, layers=1,
            types={"": T.Q4_K, "attn_v": T.Q6_K, "ffn_down": T.Q6_K, "output": T.Q6_K, "token_embd": T.Q4_0,
                   "attn_output": T.Q4_1, "ffn_up": T.Q8_0}),
]


def k_blocks(rng, t, rows, cols, scale):
    """Random valid blocks: the gguf package reads K-quants but does not write them. Super-block scales are drawn so that
    the weights have a spread of about scale; Q6_K's fall into float16's subnormals, as small scales do."""
    n, (_, size) = rows * cols // 256, gguf.GGML_QUANT_SIZES[t]
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    half = lambda x: np.asarray(x, np.float16).view(np.uint8).reshape(n, 2)
    spread = rng.uniform(0.7, 1.3, n) * scale
    if t == T.Q4_K:  # d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of quants
        raw[:, 0:2], raw[:, 2:4] = half(spread / 200), half(spread / 200 * 7.5)
    else:  # Q6_K: 128 + 64 bytes of quants, 16 scales, d
        raw[:, 208:210] = half(spread / 1400 * rng.choice([-1, 1], n))
    return raw.reshape(rows, -1)


def permute(w, heads):
    """Rows of every head from half-split to interleaved pairs, as llama.cpp's converter does for llama."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def order(v):
    """For every row of a head as transformers wants it (pair p is rows p and p+d/2), the row of the file's head."""
    d, n = v.d, v.rotary or v.d
    half = n // 2
    if v.arch == "llama":
        turned = [(2 * p, 2 * p + 1) for p in range(half)]
    else:
        turned = [(p, p + half) for p in range(half)]
    still = [(n + 2 * i, n + 2 * i + 1) for i in range((d - n) // 2)]
    return [a for a, _ in turned + still] + [b for _, b in turned + still]


def shapes(v):
    q, kv = v.heads * v.d, v.kv_heads * v.d
    yield "token_embd.weight", (v.vocab, v.hidden)
    yield "output_norm.weight", (v.hidden,)
    if not v.tied:
        yield "output.weight", (v.vocab, v.hidden)
    for i in range(v.layers):
        for name, shape in [("attn_norm.weight", (v.hidden,)), ("attn_q.weight", (q, v.hidden)), ("attn_k.weight", (kv, v.hidden)),
                            ("attn_v.weight", (kv, v.hidden)), ("attn_output.weight", (v.hidden, q)),
                            ("ffn_norm.weight", (v.hidden,)), ("ffn_gate.weight", (v.ffn, v.hidden)),
                            ("ffn_up.weight", (v.ffn, v.hidden)), ("ffn_down.weight", (v.hidden, v.ffn))]:
            yield f"blk.{i}.{name}", shape
        if v.arch == "qwen2":
            yield from ((f"blk.{i}.attn_{x}.bias", (n,)) for x, n in (("q", q), ("k", kv), ("v", kv)))


def llama3_factors(v):
    r, dim = v.rope, v.d
    old, low, high = r["original_max_position_embeddings"], r["low_freq_factor"], r["high_freq_factor"]
    out = []
    for freq in 1.0 / (v.base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
        wavelength = 2 * math.pi / freq
        if wavelength < old / high:
            out.append(1.0)
        elif wavelength > old / low:
            out.append(r["factor"])
        else:
            smooth = (old / wavelength - low) / (high - low)
            out.append(1 / ((1 - smooth) / r["factor"] + smooth))
    assert 1.0 in out and r["factor"] in out and any(1 < f < r["factor"] for f in out)
    return np.array(out, np.float32)


def write(v, path, rng):
    w = gguf.GGUFWriter(path, v.arch)
    w.add_name(f"graphkv test model {v.name}")
    w.add_context_length(v.context)
    w.add_embedding_length(v.hidden)
    w.add_block_count(v.layers)
    w.add_feed_forward_length(v.ffn)
    w.add_head_count(v.heads)
    w.add_head_count_kv(v.kv_heads)
    w.add_layer_norm_rms_eps(v.eps)
    w.add_rope_freq_base(v.base)
    if v.head_dim:
        w.add_key_length(v.head_dim)
        w.add_value_length(v.head_dim)
    if v.arch == "llama" or v.rotary:
        w.add_rope_dimension_count(v.rotary or v.d)
    if v.rope.get("rope_type") in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(v.rope["rope_type"]))
        w.add_rope_scaling_factor(v.rope["factor"])
        if v.rope["rope_type"] == "yarn":
            w.add_rope_scaling_orig_ctx_len(v.rope["original_max_position_embeddings"])
    if v.attn_factor:
        w.add_rope_scaling_attn_factors(v.attn_factor)
    if v.rope.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(v))
    for name, shape in shapes(v):
        if name.endswith("norm.weight"):
            w.add_tensor(name, rng.uniform(0.5, 1.5, shape).astype(np.float32))
        elif len(shape) == 1:
            w.add_tensor(name, rng.normal(0, 0.5, shape).astype(np.float32))
        else:
            short = name.split(".")[-2]
            scale = {"token_embd": 1.0, "attn_q": 2.0, "attn_k": 2.0}.get(short, 1.3) / math.sqrt(1 if short == "token_embd" else shape[1])
            if v.tied and short == "token_embd":
                scale = 0.3
            t = v.types.get(short, v.types[""])
            if t in (T.Q4_K, T.Q6_K):
                data = k_blocks(rng, t, *shape, scale)
            else:
                x = rng.normal(0, scale, shape).astype(np.float32)
                if v.arch == "llama" and not v.rotary and short in ("attn_q", "attn_k"):
                    x = permute(x, v.heads if short == "attn_q" else v.kv_heads)
                data = gguf.quants.quantize(x, t)
            w.add_tensor(name, data, raw_dtype=t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def load(v, path):
    """The transformers model with the file's weights, dequantised by the gguf package."""
    state = {}
    for t in gguf.GGUFReader(path).tensors:
        if t.name == "rope_freqs.weight":
            continue  # transformers computes its own from the rope parameters
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64)
        x = x.reshape(tuple(int(n) for n in reversed(t.shape)))
        *block, short, kind = t.name.split(".")
        if short in ("attn_q", "attn_k"):
            x = x.reshape(-1, v.d, *x.shape[1:])[:, order(v)].reshape(x.shape)
        prefix = f"model.layers.{block[1]}." if block else ""
        state[f"{prefix}{NAMES[short]}.{kind}"] = torch.from_numpy(np.ascontiguousarray(x))
    rope = dict(v.rope) or {"rope_type": "default"}
    rope["rope_theta"] = v.base
    if v.attn_factor:
        rope["attention_factor"] = v.attn_factor * (0.1 * math.log(rope["factor"]) + 1)
    config, model = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[v.arch]
    m = model(config(
        vocab_size=v.vocab, hidden_size=v.hidden, intermediate_size=v.ffn, num_hidden_layers=v.layers,
        num_attention_heads=v.heads, num_key_value_heads=v.kv_heads, head_dim=v.d, max_position_embeddings=v.context,
        rms_norm_eps=v.eps, tie_word_embeddings=v.tied, rope_parameters=rope, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None, pad_token_id=None)).double().eval()
    missing, extra = m.load_state_dict(state, strict=False)
    assert not extra and set(missing) <= ({"lm_head.weight"} if v.tied else set()), (missing, extra)
    if v.tied:
        m.tie_weights()
        assert m.lm_head.weight is m.model.embed_tokens.weight
    if v.rotary:  # transformers turns whole heads; a frequency of 0 leaves a pair as it is
        f = [v.base ** (-2 * i / v.rotary) for i in range(v.rotary // 2)]
        m.model.rotary_emb.inv_freq = torch.tensor(f + [0.0] * ((v.d - v.rotary) // 2), dtype=torch.float32)
    return m


def run(v, seed):
    """Writes the model and returns its reference, or None if a greedy choice is too close to call."""
    rng = np.random.default_rng(seed)
    path = os.path.join(HERE, v.name + ".gguf")
    write(v, path, rng)
    m = load(v, path)
    tokens = [int(x) for x in rng.integers(0, v.vocab, v.prompt)]
    with torch.no_grad():
        logits = m(torch.tensor([tokens]), use_cache=False).logits[0].numpy()
        text, greedy, margin = list(tokens), [], math.inf
        for _ in range(GREEDY):
            row = np.sort(last := m(torch.tensor([text]), use_cache=False).logits[0, -1].numpy())
            margin = min(margin, row[-1] - row[-2])
            greedy.append(int(last.argmax()))
            text.append(greedy[-1])
    if margin < 0.02 or len(set(greedy)) < 3:
        return None
    logits.astype("<f4").tofile(os.path.join(HERE, v.name + ".f32"))
    print(f"{v.name:14} seed {seed} spread {logits.std():.2f} margin {margin:.3f} bytes {os.path.getsize(path)}")
    return {"name": v.name, "what": v.what, "arch": v.arch, "tokens": tokens, "vocab": v.vocab, "greedy": greedy,
            "essential": [e.split("+") for e in v.essential]}


if __name__ == "__main__":
    check = np.arange(3 * 8 * 5).reshape(24, 5)  # order undoes permute
    assert (permute(check, 3).reshape(3, 8, 5)[:, order(Variant("", "llama", "", head_dim=8))].reshape(24, 5) == check).all()
    out = [next(r for seed in range(100) if (r := run(v, seed))) for v in VARIANTS]
    with open(os.path.join(HERE, "variants.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(v) for v in out) + "\n]\n")
