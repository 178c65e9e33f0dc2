"""Writes rope.json: inverse frequencies and attention factors of Hugging Face transformers' rope functions, and rotated
vectors of its Llama attention. Needs torch and transformers:  python3 rope.py > rope.json"""

import json
import sys

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

CASES = {
    "plain": (64, 10000.0, 1.0, {"rope_type": "default"}),
    "linear": (64, 10000.0, 1.0, {"rope_type": "linear", "factor": 4.0}),
    "linear-partial": (80, 10000.0, 0.4, {"rope_type": "linear", "factor": 2.0}),
    "llama31-8b": (128, 500000.0, 1.0, {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}),
    "llama32-1b": (64, 500000.0, 1.0, {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}),
    "yarn": (128, 10000.0, 1.0, {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096}),
    "yarn-qwen": (128, 1000000.0, 1.0, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
    "yarn-attention-factor": (64, 10000.0, 1.0, {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048, "attention_factor": 0.75,
        "beta_fast": 24.0, "beta_slow": 2.0}),
    "yarn-mscale": (64, 10000.0, 1.0, {
        "rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 1.0,
        "mscale_all_dim": 0.707}),
    "yarn-no-truncate": (64, 150000.0, 1.0, {
        "rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False}),
}
POSITIONS = [0, 1, 37, 1000]


def main():
    out = {"transformers": transformers.__version__, "cases": []}
    for name, (dim, theta, partial, rope) in CASES.items():
        config = LlamaConfig(
            hidden_size=dim * 2, num_attention_heads=2, head_dim=dim, max_position_embeddings=131072,
            rope_parameters={"rope_theta": theta, "partial_rotary_factor": partial, **rope})
        if rope["rope_type"] == "default":
            inv, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
        else:
            inv, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config)
        case = {"name": name, "head_dim": dim, "theta": theta, "rotary_dim": int(dim * partial), "rope": rope,
                "inv_freq": [float(f"{v:.9g}") for v in inv.tolist()], "attention_factor": factor}
        if partial == 1:
            torch.manual_seed(len(name))
            x = torch.round(torch.randn(1, 1, 1, dim) * 64) / 64  # short decimals
            emb = LlamaRotaryEmbedding(config)
            case["x"] = x.flatten().tolist()
            case["rotated"] = []
            for p in POSITIONS:
                cos, sin = emb(x, torch.tensor([[p]]))
                y, _ = apply_rotary_pos_emb(x, x, cos, sin)
                case["rotated"].append({"position": p, "y": [float(f"{v:.7g}") for v in y.flatten().tolist()]})
        out["cases"].append(case)
    sys.stdout.write('{"transformers": "%s", "cases": [\n' % out["transformers"])
    sys.stdout.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in out["cases"]))
    sys.stdout.write("\n]}\n")


main()
