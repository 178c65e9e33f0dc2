#!/usr/bin/env python3
# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Node keys, written from the description in the package documentation and not
from the Go code. Prints the test vectors:

    python3 nodekey.py > nodekeys.json
"""

import hashlib
import json
import random
import struct


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def lp(b):
    return struct.pack("<Q", len(b)) + b


def scope_id(scope):
    return hashlib.sha256(
        lp(b"graphkv/kvcache scope v1")
        + bytes.fromhex(scope["model"])
        + lp(scope["encoding"].encode("utf-8"))
        + lp(bytes.fromhex(scope["rope"]))
        + lp(scope["namespace"].encode("utf-8"))
    ).digest()


def canonical(source):
    scale = f32(source["scale"]) or 1.0
    bias = [f32(b) + 0.0 for b in source["bias"] or []]  # -0.0 + 0.0 is +0.0
    if not any(bias):
        bias = []
    power = f32(source.get("power", 0)) or 1.0
    return (power, source["base"], bytes.fromhex(source["key"]), scale, bias, source.get("ranked", False))


def node_key(scope, tokens, sources, form=""):
    out = lp(b"graphkv/kvcache node v1")
    if form:
        out = lp(b"graphkv/kvcache node v1 in a form") + lp(form.encode("utf-8"))
    out += scope_id(scope)
    out += struct.pack("<Q%di" % len(tokens), len(tokens), *tokens)
    out += struct.pack("<Q", len(sources))
    for power, base, key, scale, bias, ranked in sorted(canonical(s) for s in sources):
        marked = len(bias) + (2**62 if ranked else 0)
        if power == 1:
            out += struct.pack("<q32sfQ%df" % len(bias), base, key, scale, marked, *bias)
        else:
            marked += 2**63
            out += struct.pack("<q32sfQf%df" % len(bias), base, key, scale, marked, power, *bias)
    return hashlib.sha256(out).hexdigest()


def main():
    rng = random.Random(2025)
    vectors = []

    def add(name, scope, tokens, sources=(), form=""):
        sources = list(sources)
        key = node_key(scope, tokens, sources, form)
        vector = dict(name=name, scope=scope, tokens=tokens, sources=sources, key=key)
        if form:
            vector["form"] = form
        vectors.append(vector)
        return key

    def src(key, base, scale=0, bias=None):
        return dict(key=key, base=base, scale=scale, bias=bias)

    plain = dict(model="00" * 32, encoding="", rope="", namespace="")
    real = dict(model=bytes(range(32)).hex(), encoding="f32", rope="0040c35047", namespace="tenant-é")
    add("empty", plain, [])
    add("one token", plain, [1])
    a = add("segment a", real, [1, 2, 3])
    b = add("segment b", real, [4, 5, -6, 2147483647, -2147483648])
    t = add("target", real, [7, 8], [src(a, -3), src(b, -3)])
    add("target, sources swapped", real, [7, 8], [src(b, -3), src(a, -3)])
    add("target, neutral attributes", real, [7, 8], [src(b, -3, 1, [0, -0.0]), src(a, -3, -0.0, [])])
    add("target, scale and bias", real, [7, 8], [src(b, -3, 0.9, [0.25, -0.0]), src(a, -3, 2, [0, 1e-3])])
    powers = [dict(src(b, -3, 1.25, [0.5]), power=0.75), dict(src(a, -3), power=1), src(t, 2)]
    add("target, power", real, [7, 8], powers)
    add("target, ranked", real, [7, 8], [dict(src(b, -3), ranked=True), dict(src(a, -3, 0, [1]), ranked=True, power=2), src(b, -3)])
    add("bidirectional", real, [7, 8], [src(a, -3)], "bidirectional")
    add("a long form", plain, [], [], "ä" * 5000)
    add("grandchild", real, [9], [src(t, -2), src(a, 5), src(a, -5), src(a, -5)])
    add("far away", real, [9], [src(a, 2**62), src(a, -(2**63))])
    add("long", real, [i * i % 32003 for i in range(1500)], [src(a, -i) for i in range(40)])

    keys = [a, b, t]
    for i in range(40):
        scope = dict(
            model=rng.randbytes(32).hex(),
            encoding=rng.choice(["", "f32", "q8"]),
            rope=rng.randbytes(rng.randrange(6)).hex(),
            namespace=rng.choice(["", "f32", "x" * 300]),
        )
        tokens = [rng.randrange(-(2**31), 2**31) for _ in range(rng.randrange(8))]
        sources = [
            src(
                rng.choice(keys),
                rng.choice([-1, 0, 1, -(2**40)]),
                rng.choice([0, 1, 0.2, -1.5]),
                rng.choice([None, [0, 0], [0.1, 0], [0.1], [-3, 1e-40]]),
            )
            for _ in range(rng.randrange(7))
        ]
        keys.append(add("random %d" % i, scope, tokens, sources))

    print("[\n" + ",\n".join(json.dumps(v) for v in vectors) + "\n]")


if __name__ == "__main__":
    main()
