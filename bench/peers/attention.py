# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Attention and matrix products by PyTorch and onnxruntime. See harness.py."""

import time

import numpy as np

from harness import SEED_K, SEED_Q, Contender, Problem, main, values

import torch
import torch.nn.functional as F

try:
    import onnx
    import onnxruntime
except ImportError:
    onnxruntime = None

torch.set_grad_enabled(False)


class Attention(Contender):
    """Keeps what the last case needed."""

    problem = None  # shared: contenders run the same case one after the other
    spec = None

    def __init__(self):
        self.key = None

    def can(self, case):
        return case["kind"] == "attention"

    def start(self, case, threads):
        torch.set_num_threads(threads)
        if Attention.problem is None or Attention.problem.id != case["id"]:
            Attention.problem = Problem(Attention.spec, case)
        if self.key != (case["id"], threads):
            self.run = self.key = None
            self.compile_seconds = 0.0
            self.run = self.build(Attention.problem, threads)
            self.key = (case["id"], threads)
        return self.run

    def check(self, case, threads):
        self.start(case, threads)()
        return self.output(Attention.problem)

    def output(self, p):
        """Rows of self.out, [rows][heads][d]."""
        return self.out[p.check_rows].reshape(-1)


def heads_first(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(1, 0, 2)))


class SDPA(Attention):
    """One call over all tokens with a boolean mask."""

    name = "torch sdpa"

    def build(self, p, threads):
        q, k, v = (heads_first(x)[None] for x in (p.q, p.k, p.v))
        mask, causal = None, False
        if len(p.segments) > 1:
            mask = torch.from_numpy(p.mask())
        elif p.rows > 1:
            causal = True  # needs no mask

        def run():
            self.out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=True)

        return run

    def output(self, p):
        return self.out[0].transpose(0, 1)[p.check_rows].reshape(-1)


class Flex(Attention):
    """FlexAttention, compiled, with a block mask."""

    name = "torch flex"

    def build(self, p, threads):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 64
        q, k, v = (heads_first(x)[None] for x in (p.q, p.k, p.v))
        segment = torch.zeros(p.tokens, dtype=torch.int64)
        sees = torch.zeros(len(p.segments), len(p.segments), dtype=torch.bool)
        for i, s in enumerate(p.segments):
            segment[p.start[i] : p.start[i] + s["tokens"]] = i
            sees[i, s["sources"]] = True
        token = torch.from_numpy(p.row_tokens)

        def visible(b, h, row, key):
            t = token[row]
            return sees[segment[t], segment[key]] | ((segment[t] == segment[key]) & (key <= t))

        begin = time.perf_counter()
        block = create_block_mask(visible, None, None, p.rows, p.tokens, device="cpu", BLOCK_SIZE=128)
        flex = torch.compile(flex_attention, dynamic=False)

        def run():
            self.out = flex(q, k, v, block_mask=block, enable_gqa=True)

        run()
        self.compile_seconds = time.perf_counter() - begin
        return run

    def output(self, p):
        return self.out[0].transpose(0, 1)[p.check_rows].reshape(-1)


class Segments(Attention):
    """A loop over segments. Query heads that share a key head are a batch entry's heads,
    so keys and values are never copied for them."""

    def build(self, p, threads):
        q, k, v = (heads_first(x) for x in (p.q, p.k, p.v))
        q = q.view(p.kv_heads, p.group, p.rows, p.d)
        self.out = torch.empty(p.kv_heads, p.group, p.rows, p.d)
        calls = [self.segment(p, i, q, k, v) for i in range(len(p.segments))]

        def run():
            for call in calls:
                call()

        return run

    def output(self, p):
        return self.out.reshape(p.heads, p.rows, p.d).transpose(0, 1)[p.check_rows].reshape(-1)


def gather(runs, x):
    """The stretches of x [kv_heads][tokens][d] one after the other: a view if it is one."""
    if len(runs) == 1:
        return x[:, runs[0][0] : runs[0][1]]
    return torch.cat([x[:, a:b] for a, b in runs], dim=1)


class LSE(Segments):
    """Sources without a mask and the segment itself causally, merged by log-sum-exp.
    Only a private operator gives the log-sum-exp."""

    name = "torch segments, lse"

    def segment(self, p, i, q, k, v):
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        s, runs = p.segments[i], p.runs(i)
        own = slice(p.start[i], p.start[i] + s["tokens"])
        rows = slice(p.row[i], p.row[i] + s["rows"])
        query, out = q[:, :, rows], self.out[:, :, rows]
        ko, vo = k[:, None, own], v[:, None, own]
        if s["rows"] > 1:
            assert s["rows"] == s["tokens"]  # is_causal is aligned to the top left
            ko, vo = ko.expand(-1, p.group, -1, -1), vo.expand(-1, p.group, -1, -1)
            own_query, causal = query, True
        else:  # sees all of its segment: query heads can be rows
            own_query, causal = query.reshape(p.kv_heads, 1, p.group, p.d), False
        source_query = query.reshape(p.kv_heads, 1, p.group * s["rows"], p.d)

        def call():
            o, lse = flash(own_query, ko, vo, is_causal=causal)
            if not runs:
                out.copy_(o.reshape(out.shape))
                return
            o2, lse2 = flash(source_query, gather(runs, k)[:, None], gather(runs, v)[:, None])
            weight = torch.sigmoid(lse2.view_as(lse) - lse)
            torch.lerp(o, o2.reshape(o.shape), weight[..., None], out=out)

        return call


class Concat(Segments):
    """One call per segment over its sources' and its own keys, with a small mask."""

    name = "torch segments, concatenated"

    def segment(self, p, i, q, k, v):
        s, runs = p.segments[i], p.runs(i)
        runs = runs + [(p.start[i], p.start[i] + s["tokens"])]
        if len(runs) > 1 and runs[-2][1] == runs[-1][0]:
            runs[-2:] = [(runs[-2][0], runs[-1][1])]
        n = sum(b - a for a, b in runs)
        rows = slice(p.row[i], p.row[i] + s["rows"])
        query, out = q[:, :, rows], self.out[:, :, rows]
        mask = None
        if s["rows"] > 1:
            mask = torch.zeros(s["rows"], n)
            mask[:, n - s["rows"] :].masked_fill_(
                torch.ones(s["rows"], s["rows"], dtype=torch.bool).triu(1), float("-inf")
            )
        causal = mask is not None and n == s["rows"]
        if causal:
            mask = None

        def call():
            kk = gather(runs, k)[:, None].expand(-1, p.group, -1, -1)
            vv = gather(runs, v)[:, None].expand(-1, p.group, -1, -1)
            out.copy_(F.scaled_dot_product_attention(query, kk, vv, attn_mask=mask, is_causal=causal))

        return call


class ORT(Attention):
    """GroupQueryAttention called for every segment with the sources' keys and values as
    its past, which were put there before the clock starts."""

    name = "onnxruntime gqa"

    def can(self, case):
        return onnxruntime is not None and super().can(case)

    def build(self, p, threads):
        h, t = onnx.helper, onnx.TensorProto
        names = ["query", "key", "value", "past_key", "past_value"]
        inputs = [h.make_tensor_value_info(n, t.FLOAT, None) for n in names]
        inputs += [h.make_tensor_value_info(n, t.INT32, None) for n in ("last", "total")]
        outputs = [h.make_tensor_value_info(n, t.FLOAT, None) for n in ("out", "present_key", "present_value")]
        node = h.make_node(
            "GroupQueryAttention", names + ["last", "total"], ["out", "present_key", "present_value"],
            domain="com.microsoft", num_heads=p.heads, kv_num_heads=p.kv_heads,
        )
        graph = h.make_graph([node], "gqa", inputs, outputs)
        model = h.make_model(
            graph, ir_version=10, opset_imports=[h.make_opsetid("", 21), h.make_opsetid("com.microsoft", 1)]
        )
        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads = threads
        o.inter_op_num_threads = 1
        # Idle threads must not spin while somebody else is measured.
        o.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(model.SerializeToString(), o, providers=["CPUExecutionProvider"])
        self.out = np.empty((p.rows, p.heads, p.d), dtype=np.float32)
        bindings, self.keep = [], []
        for i in range(len(p.segments)):
            bindings.append(self.bind(p, i, session))

        def run():
            for b in bindings:
                session.run_with_iobinding(b)

        return run

    def bind(self, p, i, session):
        s = p.segments[i]
        rows, first = s["rows"], p.start[i] + s["tokens"] - s["rows"]
        before = p.runs(i) + ([(p.start[i], first)] if first > p.start[i] else [])
        own = slice(first, first + rows)
        total = sum(b - a for a, b in before) + rows

        def cache(x):  # past and present share one buffer, so the past is not copied
            buffer = np.zeros((1, p.kv_heads, total, p.d), dtype=np.float32)
            at = 0
            for a, b in before:
                buffer[0, :, at : at + b - a] = x[a:b].transpose(1, 0, 2)
                at += b - a
            return onnxruntime.OrtValue.ortvalue_from_numpy(buffer)

        io = session.io_binding()
        width = p.kv_heads * p.d
        pk, pv = cache(p.k), cache(p.v)
        arrays = {
            "query": p.q[p.row[i] : p.row[i] + rows].reshape(1, rows, p.heads * p.d),
            "key": p.k[own].reshape(1, rows, width),
            "value": p.v[own].reshape(1, rows, width),
            "last": np.array([total - 1], dtype=np.int32),
            "total": np.array(total, dtype=np.int32),
        }
        bound = {n: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x)) for n, x in arrays.items()}
        bound |= {"past_key": pk, "past_value": pv}
        for n, x in bound.items():
            io.bind_ortvalue_input(n, x)
        view = self.out[p.row[i] : p.row[i] + rows]
        io.bind_output("out", "cpu", 0, np.float32, (1, rows, p.heads * p.d), view.ctypes.data)
        io.bind_ortvalue_output("present_key", pk)
        io.bind_ortvalue_output("present_value", pv)
        self.keep.append((bound, arrays))
        return io


class MatMul(Contender):
    """A linear layer."""

    name = "torch linear"

    def can(self, case):
        return case["kind"] == "gemm"

    def checks(self, case):
        return False

    def start(self, case, threads):
        torch.set_num_threads(threads)
        rows, n, k = case["size"]
        a = torch.from_numpy(values(rows * k, SEED_Q).reshape(rows, k))
        w = torch.from_numpy(values(n * k, SEED_K).reshape(n, k))

        def run():
            F.linear(a, w)

        return run


def make(spec):
    Attention.spec = spec
    return [SDPA(), Flex(), LSE(), Concat(), ORT(), MatMul()]


def versions():
    v = {"torch": torch.__version__}
    if onnxruntime:
        v["onnxruntime"] = onnxruntime.__version__
    return v


if __name__ == "__main__":
    main(make, versions)
