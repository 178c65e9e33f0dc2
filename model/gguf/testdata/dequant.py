# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Writes dequant.gguf, the fixtures for the dequantisers.

For every type it holds two tensors: <type>, blocks of random bytes with random
scales and every edge case of a scale, and <type>.expect, what the Python
package `gguf` (which we did not write) makes of them, as float32. Metadata of
every kind tests the reader against that package's writer.

    pip install gguf==0.19.0 numpy==2.4.6 && python dequant.py dequant.gguf
"""
import sys
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T, GGUFValueType as V

rng = np.random.default_rng(20250101)

# Scales: ±0, smallest and largest subnormal, smallest and largest normal, ±1,
# infinities, a NaN, then ordinary ones.
EDGES = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF,
                  0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00], dtype=np.uint16)


def halves(n):
    ordinary = (rng.standard_normal(n) * 0.05).astype(np.float16).view(np.uint16)
    ordinary[:len(EDGES)] = EDGES
    return rng.permutation(ordinary).view(np.uint8).reshape(n, 2)


def blocks(t, n):
    elems, size = gguf.GGML_QUANT_SIZES[t]
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if t in (T.Q4_0, T.Q8_0):
        b[:, :2] = halves(n)
    elif t in (T.Q4_1, T.Q4_K):
        b[:, :2], b[:, 2:4] = halves(n), halves(n)
    elif t == T.Q6_K:
        b[:, -2:] = halves(n)
    return b


w = gguf.GGUFWriter(sys.argv[1], "fixture")
for v, x in [(V.UINT8, 250), (V.INT8, -100), (V.UINT16, 65000), (V.INT16, -30000),
             (V.UINT32, 4_000_000_000), (V.INT32, -2_000_000_000),
             (V.UINT64, 18_000_000_000_000_000_000), (V.INT64, -9_000_000_000_000_000_000),
             (V.FLOAT32, 0.1), (V.FLOAT64, 0.1), (V.BOOL, True), (V.STRING, "Ġé\n")]:
    w.add_key_value("one." + v.name.lower(), x, v)
w.add_array("array.int32", [-1, 0, 7])
w.add_array("array.float32", [0.5, -2.25])
w.add_array("array.bool", [True, False])
w.add_array("array.string", ["", "a", " b\n", "日本"])
w.add_array("array.nested", [[1, 2], [3]])

with np.errstate(all="ignore"):
    for t, n in [(T.F32, 512), (T.F16, 65536), (T.BF16, 512), (T.Q8_0, 64), (T.Q4_0, 64),
                 (T.Q4_1, 64), (T.Q4_K, 24), (T.Q6_K, 24)]:
        if t == T.F32:  # any bits
            raw = rng.integers(0, 2**32, n, dtype=np.uint32)
            expect = raw.view(np.float32)
            raw = expect
        elif t == T.F16:  # all of them
            raw = np.arange(n, dtype=np.uint16).view(np.float16)
            expect = raw.astype(np.float32)
        elif t == T.BF16:
            raw = rng.integers(0, 256, (1, 2 * n), dtype=np.uint8)
            expect = gguf.dequantize(raw, t)
        else:
            raw = blocks(t, n).reshape(4, -1)
            expect = gguf.dequantize(raw, t)
        name = t.name.lower()
        if t == T.F16:
            # 256 KB of expectations are not worth keeping: every value of a
            # half is checked by the sum of its bits instead, and 1024 in full.
            bits = expect.view(np.uint32).astype(np.uint64)
            nan = np.isnan(expect)
            w.add_uint64("f16.bits_sum", int((bits[~nan] * (np.arange(n)[~nan].astype(np.uint64) + 1)).sum(dtype=np.uint64)))
            pick = np.arange(0, n, 64) + rng.integers(0, 64, n // 64)
            raw, expect = raw[pick], expect[pick]
        w.add_tensor(name, raw, raw_dtype=None if t in (T.F32, T.F16) else t)
        w.add_tensor(name + ".expect", expect)

w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
