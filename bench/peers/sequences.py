# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Executes plans of sequences ("graphkv mask export --format sequences") by llama.cpp.

usage: sequences.py model.gguf plan.json...     prints every plan's logits at the query's last token
       sequences.py --float32 model.gguf        prints where its float32 copy is, made once

Keys and values are float32, and activations where the weights are."""

import json
import sys

from harness import _out
from install import cache
from llama import TYPE_F32, Context, batches, quiet, weights

import llama_cpp.llama_cpp as L


def run(context: Context, plan: dict) -> list:
    """Decodes what stands between other steps in as few batches as possible."""
    context.clear()
    waiting = []

    def flush(last=False):
        context.all(batches(waiting, last))
        waiting.clear()

    for step in plan["steps"]:
        sequence = step["sequence"]
        if step["op"] == "decode":
            start = step.get("position", 0)
            waiting += [(t, start + i, sequence) for i, t in enumerate(step["tokens"])]
            continue
        flush()
        if step["op"] == "copy":
            L.llama_memory_seq_cp(context.mem, sequence, step.get("to", 0), step.get("first", 0), step["end"])
        else:
            context.cut(sequence)
    flush(last=True)
    return context.logits().tolist()


def main():
    L.llama_log_set(quiet, None)
    L.llama_backend_init()
    if sys.argv[1] == "--float32":
        path = weights({"model": sys.argv[2], "cache": cache()}, "F32")
        print(json.dumps(path), file=_out)
        return
    model = L.llama_model_load_from_file(sys.argv[1].encode(), L.llama_model_default_params())
    if not model:
        raise RuntimeError("no model")
    plans = []
    for path in sys.argv[2:]:
        with open(path) as f:
            plans.append(json.load(f))
    context = Context(model, flash=False, kv=TYPE_F32, sequences=max(p["sequences"] for p in plans))
    print(json.dumps([run(context, p) for p in plans]), file=_out)


if __name__ == "__main__":
    main()
