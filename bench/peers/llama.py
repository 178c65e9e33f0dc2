# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""A model's prefill, decode and time to first token by llama.cpp, driven through its C
interface. See harness.py.

Sequences express a graph: every source stands in a sequence of its own at positions
from 0, a target's sequence receives its sources by seq_cp, which copies no keys, and is
decoded from the next position. A token sees the cells of its sequence."""

import ctypes
import importlib.metadata
import os
import pathlib
import time

import numpy as np

from harness import Contender, main, token_ids

import llama_cpp.llama_cpp as L

BATCH = 512
CONTEXT = 8192
TYPE_F32, TYPE_F16 = 0, 1  # of the KV cache
KEY_TEXT, KEY_QUESTION = 1 << 10, 1 << 11

FORMATS = {"F32": 0, "F16": 1, "Q8_0": 7}  # beside the file as it is


def weights(spec: dict, name: str) -> str:
    """A file with the model's weights in another format, made once."""
    source = pathlib.Path(spec["model"])
    if name not in FORMATS:
        return str(source)
    path = pathlib.Path(spec["cache"]) / f"{source.stem}-as-{name}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        p = L.llama_model_quantize_default_params()
        p.ftype, p.allow_requantize, p.pure = FORMATS[name], True, True
        part = path.with_suffix(".part")
        if L.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(p)) != 0:
            raise RuntimeError(f"could not turn the weights into {name}")
        os.replace(part, path)
    return str(path)


class Batch:
    """Tokens for one llama_decode, made ahead of time. Logits of the last are wanted if
    last is set."""

    def __init__(self, tokens, last=False):
        """tokens are (id, position, sequence)."""
        self.b = L.llama_batch_init(len(tokens), 0, 1)
        self.b.n_tokens = len(tokens)
        for i, (token, pos, seq) in enumerate(tokens):
            self.b.token[i], self.b.pos[i] = token, pos
            self.b.n_seq_id[i], self.b.seq_id[i][0] = 1, seq
            self.b.logits[i] = last and i == len(tokens) - 1
        self.n = len(tokens)

    def __del__(self):
        L.llama_batch_free(self.b)


def batches(tokens, last=False) -> list:
    cut = [tokens[i : i + BATCH] for i in range(0, len(tokens), BATCH)]
    return [Batch(t, last and i == len(cut) - 1) for i, t in enumerate(cut)]


class Context:
    def __init__(self, model, flash: bool, kv: int, sequences: int):
        p = L.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch = CONTEXT, BATCH, BATCH
        p.n_seq_max, p.kv_unified = sequences, True
        p.flash_attn_type = int(flash)
        p.type_k = p.type_v = kv
        p.no_perf = True
        self.ctx = L.llama_init_from_model(model, p)
        if not self.ctx:
            raise RuntimeError("no context")
        self.mem = L.llama_get_memory(self.ctx)
        self.vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))

    def decode(self, batch: Batch):
        code = L.llama_decode(self.ctx, batch.b)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def all(self, list_):
        for b in list_:
            self.decode(b)

    def logits(self) -> np.ndarray:
        p = L.llama_get_logits_ith(self.ctx, -1)  # waits until they are there
        return np.ctypeslib.as_array(p, (self.vocab,))

    def clear(self):
        L.llama_memory_clear(self.mem, False)

    def copy(self, source: int, target: int):
        L.llama_memory_seq_cp(self.mem, source, target, -1, -1)

    def cut(self, sequence: int, start: int = -1):
        L.llama_memory_seq_rm(self.mem, sequence, start, -1)

    def free(self):
        L.llama_free(self.ctx)


class Llama(Contender):
    spec = None
    models = {}

    def __init__(self, fmt: str, flash: bool, kinds, kv=TYPE_F16):
        self.fmt, self.flash, self.kinds, self.kv = fmt, flash, kinds, kv
        self.name = f"llama.cpp {fmt}" + (", flash" if flash else "")
        self.context = None

    def can(self, case):
        return case["kind"] in self.kinds

    def checks(self, case):
        return False

    def open(self, threads, sequences=1):
        if self.fmt not in Llama.models:
            p = L.llama_model_default_params()
            m = L.llama_model_load_from_file(weights(Llama.spec, self.fmt).encode(), p)
            if not m:
                raise RuntimeError("no model")
            Llama.models[self.fmt] = m
        key = (threads, sequences)
        if self.context is None or self.context.key != key:
            if self.context is not None:
                self.context.free()
            self.context = Context(Llama.models[self.fmt], self.flash, self.kv, sequences)
            self.context.key = key
            L.llama_set_n_threads(self.context.ctx, threads, threads)
        self.context.clear()
        return self.context

    def ids(self, n, key):
        return token_ids(n, self.spec["vocab"], key)

    def start(self, case, threads):
        return getattr(self, case["kind"])(case, threads)

    def prefill(self, case, threads):
        c = self.open(threads)
        text = batches([(t, i, 0) for i, t in enumerate(self.ids(case["tokens"], KEY_TEXT))], last=True)

        def run():
            c.clear()
            c.all(text)
            c.logits()

        return run

    def decode(self, case, threads):
        c = self.open(threads)
        n = case["tokens"]
        c.all(batches([(t, i, 0) for i, t in enumerate(self.ids(n, KEY_TEXT))], last=True))
        first = int(c.logits().argmax())
        steps = [Batch([(0, n + i, 0)], last=True) for i in range(self.spec["decode"])]

        def run():
            token = first
            begin = time.perf_counter()
            for s in steps:
                s.b.token[0] = token
                c.decode(s)
                token = int(c.logits().argmax())
            took = time.perf_counter() - begin
            c.cut(0, n)
            return took

        return run

    # The cases over passages.

    def passage(self, i, sequence, start=0):
        p = self.spec["passages"]
        return [(t, start + j, sequence) for j, t in enumerate(self.ids(p["tokens"], i))]

    def question(self, start):
        p = self.spec["passages"]
        return Batch([(t, start + j, 0) for j, t in enumerate(self.ids(p["question"], KEY_QUESTION))], last=True)

    def text(self, order):
        """Passages one after the other in sequence 0."""
        p = self.spec["passages"]
        out = []
        for n, i in enumerate(order):
            out += self.passage(i, 0, n * p["tokens"])
        return out

    def graph(self, case, threads):
        p = self.spec["passages"]
        n, length = p["count"], p["tokens"]
        c = self.open(threads, 2 * n + 1)
        sources, targets = [], []
        for i in range(n):
            sources += self.passage(i, 1 + i)
            targets += self.passage(n + i, 1 + n + i, length)
        sources, targets = batches(sources), batches(targets)
        question = self.question(2 * length)

        def nodes():
            c.clear()
            c.all(sources)
            for t, list_ in enumerate(p["targets"]):
                for s in list_:
                    c.copy(1 + s, 1 + n + t)
            c.all(targets)

        def ask():
            for i in range(2 * n):
                c.copy(1 + i, 0)
            c.decode(question)
            return c.logits()

        def resident():
            begin = time.perf_counter()
            ask()
            took = time.perf_counter() - begin
            c.cut(0)
            return took

        def cold():
            nodes()
            ask()

        if case["variant"] == "cold":
            return cold
        nodes()
        return resident


class Exact(Llama):
    """Float32 throughout, to compare numbers with. It is not timed."""

    def __init__(self):
        super().__init__("F32", False, ("prefill", "graph"), kv=TYPE_F32)

    def can(self, case):
        return False

    def checks(self, case):
        return case["kind"] == "prefill" or (case["kind"] == "graph" and case["variant"] == "cold")

    def check(self, case, threads):
        self.start(case, threads)()
        return self.context.logits().copy()


class Recompute(Llama):
    """The passages and the question as one text, without anything kept."""

    def __init__(self, fmt, flash):
        super().__init__(fmt, flash, ())
        self.name += ", recomputing"

    def can(self, case):
        return case["kind"] == "ttft" and case["variant"] in ("cold", "new-order")

    def start(self, case, threads):
        p = self.spec["passages"]
        c = self.open(threads)
        order = range(p["count"]) if case["variant"] == "cold" else reversed(range(p["count"]))
        text, question = batches(self.text(order)), self.question(p["count"] * p["tokens"])

        def run():
            c.clear()
            c.all(text)
            c.decode(question)
            c.logits()

        return run


class Prefix(Llama):
    """The passages as one text that is there already."""

    def __init__(self, fmt, flash):
        super().__init__(fmt, flash, ())
        self.name += ", prefix hit"

    def can(self, case):
        return case["kind"] == "ttft" and case["variant"] == "same-order"

    def start(self, case, threads):
        p = self.spec["passages"]
        c = self.open(threads)
        n = p["count"] * p["tokens"]
        c.all(batches(self.text(range(p["count"]))))
        question = self.question(n)

        def run():
            begin = time.perf_counter()
            c.decode(question)
            c.logits()
            took = time.perf_counter() - begin
            c.cut(0, n)
            return took

        return run


class Sequences(Llama):
    """Every passage in a sequence of its own, all on the same positions (so that none
    has to be moved), copied into the question's."""

    def __init__(self, fmt, flash):
        super().__init__(fmt, flash, ())
        self.name += ", seq_cp"

    def can(self, case):
        return case["kind"] == "ttft" and case["variant"] != "cold"

    def start(self, case, threads):
        p = self.spec["passages"]
        n = p["count"]
        c = self.open(threads, n + 1)
        passages = []
        for i in range(n):
            passages += self.passage(i, 1 + i)
        c.all(batches(passages))
        question = self.question(p["tokens"])
        order = list(range(n)) if case["variant"] == "same-order" else list(reversed(range(n)))

        def run():
            begin = time.perf_counter()
            for i in order:
                c.copy(1 + i, 0)
            c.decode(question)
            c.logits()
            took = time.perf_counter() - begin
            c.cut(0)
            return took

        return run


@L.llama_log_callback
def quiet(level, text, data):
    if level >= 4:  # errors
        os.write(2, text)


def make(spec):
    Llama.spec = spec
    if not spec["model"]:
        return []
    L.llama_log_set(quiet, None)
    L.llama_backend_init()
    file = pathlib.Path(spec["model"]).stem.rpartition(".")[2]  # its weights' format
    out = [Exact()]
    for flash in (True, False):
        for fmt in (file, *FORMATS):
            out.append(Llama(fmt, flash, ("prefill", "decode") + (("graph",) if fmt == file else ())))
        out += [c(file, flash) for c in (Recompute, Prefix, Sequences)]
    return out


def versions():
    info = L.llama_print_system_info().decode()
    return {"llama-cpp-python": importlib.metadata.version("llama-cpp-python"), "llama.cpp": info.strip(" |")}


if __name__ == "__main__":
    main(make, versions)
