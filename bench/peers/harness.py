# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""What the peers have in common: the spec, the numbers, the clock and the protocol.

A peer is run as `python peer.py spec.json [--threads n] [--case prefix]` and prints a
line of JSON per measurement. With --serve it reads commands instead, one JSON object
per line: {"command": "measure" or "check", "case": id, "threads": n, "who": [names]},
answers each with its lines and ends the answer with {"done": true}. Everything else
goes to standard error."""

import argparse
import base64
import gc
import json
import os
import sys
import time
import traceback

# Without these glibc gives large buffers back after every call, and page faults
# dominate what is measured. They must be there when the process starts.
SETTINGS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1099511627776"}
if any(os.environ.get(k) != v for k, v in SETTINGS.items()) and os.name == "posix":
    os.environ.update(SETTINGS)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np  # noqa: E402

# Lines go to the standard output that the process was started with; libraries that
# print find standard error in its place.
_out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

SEED_Q, SEED_K, SEED_V, SEED_TOKENS = 1, 2, 3, 4

# As in measure.go.
MEASURE_FOR, MIN_REPS, MAX_REPS, LONG_RUN = 0.4, 3, 200, 2.0


def _hash(i: np.ndarray, seed: int) -> np.ndarray:
    u = np.uint32
    x = i.astype(u) * u(0x9E3779B9) + u(seed * 0x85EBCA6B & 0xFFFFFFFF)
    x ^= x >> u(16)
    x *= u(0x7FEB352D)
    x ^= x >> u(15)
    x *= u(0x846CA68B)
    return x ^ (x >> u(16))


def values(n: int, seed: int) -> np.ndarray:
    x = (_hash(np.arange(n, dtype=np.uint32), seed) >> np.uint32(8)).astype(np.float32)
    return (x / np.float32(1 << 23) - np.float32(1)) * np.float32(1.7320508)


def token_ids(n: int, vocab: int, key: int) -> list:
    i = np.arange(n, dtype=np.uint32) + np.uint32(key << 16 & 0xFFFFFFFF)
    return (64 + _hash(i, SEED_TOKENS) % np.uint32(vocab - 64)).tolist()


def rotate(x: np.ndarray, positions: np.ndarray, base: float) -> np.ndarray:
    """Rotary embedding of x [tokens][heads][d], dimensions paired by halves."""
    d = x.shape[-1]
    angle = positions[:, None] * base ** (-2 * np.arange(d // 2) / d)
    sin, cos = np.sin(angle)[:, None, :], np.cos(angle)[:, None, :]
    a, b = x[..., : d // 2].astype(np.float64), x[..., d // 2 :].astype(np.float64)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(np.float32)


class Problem:
    """An attention case: every token rotated to its absolute position, which is what an
    engine over one text would have at hand. The rotation is not timed."""

    def __init__(self, spec: dict, case: dict):
        self.id = case["id"]
        self.check_rows = case["check_rows"]
        shape = spec["shapes"][case["shape"]]
        self.heads, self.kv_heads, self.d = shape["heads"], shape["kv_heads"], shape["head_dim"]
        self.group = self.heads // self.kv_heads
        self.segments = next(x for x in spec["layouts"] if x["name"] == case["layout"])["segments"]
        self.start, self.row = [], []  # a segment's first token and first row
        tokens, rows = [], 0
        n = 0
        for s in self.segments:
            self.start.append(n)
            self.row.append(rows)
            tokens += range(n + s["tokens"] - s["rows"], n + s["tokens"])  # of each row
            n += s["tokens"]
            rows += s["rows"]
        self.tokens, self.rows = n, rows
        self.row_tokens = np.array(tokens)
        base = spec["rope_base"]
        q = values(rows * self.heads * self.d, SEED_Q).reshape(rows, self.heads, self.d)
        k = values(n * self.kv_heads * self.d, SEED_K).reshape(n, self.kv_heads, self.d)
        self.q = rotate(q, self.row_tokens, base)
        self.k = rotate(k, np.arange(n), base)
        self.v = values(n * self.kv_heads * self.d, SEED_V).reshape(n, self.kv_heads, self.d)

    def runs(self, s: int) -> list:
        """Segment s's sources as stretches of neighbouring tokens [from, to)."""
        out = []
        for src in self.segments[s]["sources"]:
            a = self.start[src]
            b = a + self.segments[src]["tokens"]
            if out and out[-1][1] == a:
                out[-1] = (out[-1][0], b)
            else:
                out.append((a, b))
        return out

    def mask(self) -> np.ndarray:
        m = np.zeros((self.rows, self.tokens), dtype=bool)
        for i, s in enumerate(self.segments):
            rows = slice(self.row[i], self.row[i] + s["rows"])
            for a, b in self.runs(i):
                m[rows, a:b] = True
            a, b = self.start[i], self.start[i] + s["tokens"]
            m[rows, a:b] = np.arange(a, b)[None, :] <= self.row_tokens[rows, None]
        return m


class Contender:
    """A way to run cases. start returns a function that runs the case once, as often as it
    is called, and, where not all of a run counts, itself returns the seconds that do."""

    name = ""

    def can(self, case: dict) -> bool:
        raise NotImplementedError

    def checks(self, case: dict) -> bool:
        """Whether its results are exact enough to compare."""
        return self.can(case)

    def start(self, case: dict, threads: int):
        raise NotImplementedError

    def check(self, case: dict, threads: int) -> np.ndarray:
        """The values that contenders compare."""
        raise NotImplementedError

    compile_seconds = 0.0
    note = ""
    started = None  # the case and the threads that run_case is for: later turns go on with it


def measure(run) -> dict:
    def once():
        t = time.perf_counter()
        counted = run()
        return counted if isinstance(counted, float) else time.perf_counter() - t

    gc.collect()
    begin = time.perf_counter()
    first = once()
    if time.perf_counter() - begin > LONG_RUN:
        return {"seconds": first, "min_seconds": first, "reps": 1}
    times = []
    begin = time.perf_counter()
    while len(times) < MIN_REPS or (time.perf_counter() - begin < MEASURE_FOR and len(times) < MAX_REPS):
        times.append(once())
    times.sort()
    return {"seconds": times[len(times) // 2], "min_seconds": times[0], "reps": len(times)}


def emit(line: dict):
    _out.write(json.dumps(line) + "\n")
    _out.flush()


def answer(contenders: list, case: dict, command: str, threads: int, who):
    for c in contenders:
        if case.get("alone") or (who and c.name not in who):
            continue
        if not (c.checks(case) if command == "check" else c.can(case)):
            continue
        line = {"case": case["id"], "who": c.name, "threads": threads}
        try:
            if command == "check":
                out = np.ascontiguousarray(c.check(case, threads), dtype="<f4")
                emit(line | {"values": base64.b64encode(out.tobytes()).decode()})
                continue
            if c.started != (case["id"], threads):
                c.started = c.run_case = None
                c.run_case = c.start(case, threads)
                c.started = (case["id"], threads)
            t = measure(c.run_case)
            rate = case["work"] / t["seconds"] if case["work"] else t["seconds"]
            line |= {"value": rate, "unit": case["unit"]} | t
            if c.compile_seconds:
                line["compile_seconds"] = c.compile_seconds
            if c.note:
                line["note"] = c.note
            emit(line)
        except Exception as e:  # one contender's failure is a result too
            traceback.print_exc()
            emit(line | {"error": f"{type(e).__name__}: {e}"[:300]})


def main(make, versions):
    """Runs the contenders that make(spec) returns. versions is printed first."""
    p = argparse.ArgumentParser()
    p.add_argument("spec")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--case", default="", help="only cases whose id begins so")
    p.add_argument("--serve", action="store_true")
    args = p.parse_args()
    with open(args.spec) as f:
        spec = json.load(f)
    contenders = make(spec)
    emit({"versions": versions(), "contenders": [c.name for c in contenders]})
    if not args.serve:
        for case in spec["cases"]:
            if case["id"].startswith(args.case):
                answer(contenders, case, "measure", args.threads, None)
        return
    cases = {c["id"]: c for c in spec["cases"]}
    for line in sys.stdin:
        c = json.loads(line)
        answer(contenders, cases[c["case"]], c["command"], c["threads"], c.get("who"))
        emit({"done": True})
