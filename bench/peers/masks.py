# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Runs attention under exported masks, by PyTorch and by what FlashInfer documents.

usage: masks.py problems.json

A problem is a folder beside the file, with a mask in every form. Queries, keys and
values are the numbers of harness.values, rotated to the mask's position_ids unless
rope_base is 0. Every way of reading the mask writes its output there, [tokens][heads][d];
the names are printed. load_* show how each form is used."""

import json
import pathlib
import sys

from harness import SEED_K, SEED_Q, SEED_V, _out, rotate, values

import numpy as np
import scipy
import scipy.sparse
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

torch.set_grad_enabled(False)


def load(path: pathlib.Path) -> dict:
    """The tensors of a .safetensors or .npz file."""
    if path.suffix == ".safetensors":
        return load_file(path)
    with np.load(path) as f:
        return {k: torch.from_numpy(f[k]) for k in f.files if f[k].dtype.kind in "biuf"}


def pairs(num, indices):
    """The blocks of a list of rows, as their rows and columns."""
    num, indices = num[0, 0], indices[0, 0]
    used = torch.arange(indices.shape[1]) < num[:, None]
    return used.nonzero()[:, 0], indices[used].long()


def load_mask_mod(t: dict):
    """The function of pairs that goes with a BlockMask's tensors. Eager FlexAttention looks
    at nothing else; compiled kernels call it in partial blocks."""
    size = int(t["BLOCK_SIZE"][0])
    blocks = t["kv_num_blocks"].shape[-1]
    bits = t["partial_bits"]
    table = torch.full((blocks, blocks), -1, dtype=torch.int32)
    table[pairs(t["full_kv_num_blocks"], t["full_kv_indices"])] = -2
    table[pairs(t["kv_num_blocks"], t["kv_indices"])] = torch.arange(len(bits), dtype=torch.int32)

    def mask_mod(b, h, q, k):
        p = table[q // size, k // size]
        byte = bits[p.clamp(min=0), q % size, k % size // 8].to(torch.int32)
        return (p == -2) | ((p >= 0) & (((byte >> (k % size % 8)) & 1) == 1))

    return mask_mod


def load_block_mask(t: dict, mask_mod) -> BlockMask:
    """A BlockMask of exactly these tensors."""
    return BlockMask(
        seq_lengths=tuple(t["seq_lengths"].tolist()),
        **{n: t[n] for n in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices")},
        **{n: t[n] for n in ("q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices")},
        BLOCK_SIZE=tuple(t["BLOCK_SIZE"].tolist()),
        mask_mod=mask_mod,
    )


def check_block_mask(ours: BlockMask):
    """Compares the tensors with those that PyTorch makes: of the mask_mod alone, evaluated
    everywhere, and of the rows alone, transposed."""
    n, m = ours.seq_lengths
    from_mod = create_block_mask(ours.mask_mod, None, None, n, m, device="cpu", BLOCK_SIZE=ours.BLOCK_SIZE)
    from_rows = BlockMask.from_kv_blocks(
        ours.kv_num_blocks, ours.kv_indices, ours.full_kv_num_blocks, ours.full_kv_indices,
        BLOCK_SIZE=ours.BLOCK_SIZE, mask_mod=ours.mask_mod, seq_lengths=ours.seq_lengths,
    )
    for kind in ("kv", "full_kv", "q", "full_q"):
        num, indices = f"{kind}_num_blocks", f"{kind}_indices"
        want = pairs(getattr(from_mod, num), getattr(from_mod, indices))
        for other in (ours, from_rows):
            got = pairs(getattr(other, num), getattr(other, indices))
            assert all(torch.equal(a, b) for a, b in zip(want, got)), kind


def load_flashinfer(t: dict):
    """The arguments indptr, indices and mask of BlockSparseAttentionWrapper.plan: mask is
    unpacked, [blocks, R, C]."""
    m, r, c = (int(t[n]) for n in "MRC")
    indptr, packed = t["indptr"].numpy(), t["packed_mask"].numpy()
    mask = np.zeros((indptr[-1], r, c), dtype=bool)
    for i in range(len(indptr) - 1):
        rows, blocks = min(r, m - i * r), indptr[i + 1] - indptr[i]
        segment = packed[t["mask_indptr"][i] : t["mask_indptr"][i + 1]]
        bits = np.unpackbits(segment, count=rows * blocks * c, bitorder="little")
        mask[indptr[i] : indptr[i + 1], :rows] = bits.reshape(rows, blocks, c).transpose(1, 0, 2)
    return indptr, t["indices"].numpy(), mask


def flashinfer(t: dict, q, k, v, scale):
    """What BlockSparseAttentionWrapper.run computes: for every row of blocks attention over
    the pages that its indices name, under the mask. Keys are padded to N."""
    indptr, indices, mask = load_flashinfer(t)
    m, n, r, c = (int(t[x]) for x in "MNRC")
    group = q.shape[1] // k.shape[1]
    pad = ((0, n - m), (0, 0), (0, 0))
    k, v = (np.pad(x, pad).reshape(-1, c, *x.shape[1:]) for x in (k, v))
    out = np.empty_like(q)
    for i in range(len(indptr) - 1):
        row, blocks = slice(i * r, min((i + 1) * r, m)), slice(indptr[i], indptr[i + 1])
        kk, vv = (x[indices[blocks]].reshape(-1, *x.shape[2:]).repeat(group, axis=1) for x in (k, v))
        allowed = mask[blocks].transpose(1, 0, 2).reshape(r, -1)[: row.stop - row.start]
        s = np.einsum("qhd,khd->hqk", q[row], kk) * scale
        s = np.where(allowed, s, -np.inf)
        p = np.exp(s - s.max(axis=-1, keepdims=True))
        out[row] = np.einsum("hqk,khd->qhd", p / p.sum(axis=-1, keepdims=True), vv)
    return out


def load_csr_blocks(path: pathlib.Path) -> np.ndarray:
    """The dense mask of a csr_matrix of blocks."""
    m = scipy.sparse.load_npz(path)
    with np.load(path) as f:
        size, tokens, bits = int(f["block_size"]), int(f["tokens"]), f["partial_bits"]
    dense = np.zeros((m.shape[0], size, m.shape[1], size), dtype=bool)
    m = m.tocoo()
    next = 0
    for i, j, kind in zip(m.row, m.col, m.data):
        dense[i, :, j, :] = True
        if kind == 1:
            dense[i, :, j, :] = np.unpackbits(bits[next], axis=1, count=size, bitorder="little")
            next += 1
    assert next == len(bits)
    return dense.reshape(m.shape[0] * size, -1)[:tokens, :tokens]


class Problem:
    def __init__(self, folder: pathlib.Path, p: dict):
        self.folder, self.p, self.names = folder / p["name"], p, []
        additive = load(self.folder / "additive.safetensors")
        n = additive["attention_mask"].shape[-1]
        heads, kv_heads, d = p["heads"], p["kv_heads"], p["head_dim"]
        self.q = values(n * heads * d, SEED_Q).reshape(n, heads, d)
        self.k = values(n * kv_heads * d, SEED_K).reshape(n, kv_heads, d)
        self.v = values(n * kv_heads * d, SEED_V).reshape(n, kv_heads, d)
        if p["rope_base"]:
            at = additive["position_ids"][0].numpy()
            self.q, self.k = rotate(self.q, at, p["rope_base"]), rotate(self.k, at, p["rope_base"])
        else:
            assert "position_ids" not in additive

    def heads_first(self):
        return (torch.from_numpy(np.ascontiguousarray(x.transpose(1, 0, 2)))[None] for x in (self.q, self.k, self.v))

    def write(self, name: str, out):
        """Keeps an output [tokens][heads][d]."""
        np.save(self.folder / f"out-{name}.npy", np.ascontiguousarray(out).reshape(-1))
        self.names.append(f"out-{name}.npy")

    def sdpa(self, name: str, mask):
        q, k, v = self.heads_first()
        mask = mask if torch.is_tensor(mask) else torch.from_numpy(mask)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        self.write(name, out[0].transpose(0, 1).numpy())

    def flex(self, name: str, block_mask, run=flex_attention):
        q, k, v = self.heads_first()
        self.write(name, run(q, k, v, block_mask=block_mask, enable_gqa=True)[0].transpose(0, 1).numpy())

    def run(self):
        f = self.folder
        self.sdpa("sdpa-additive-npy", np.load(f / "additive.npy"))
        for suffix in ("safetensors", "npz"):
            self.sdpa(f"sdpa-additive-{suffix}", load(f / f"additive.{suffix}")["attention_mask"])
        if self.p["additive"]:
            return
        self.sdpa("sdpa-dense-npy", np.load(f / "dense.npy"))
        for suffix in ("safetensors", "npz"):
            self.sdpa(f"sdpa-dense-{suffix}", load(f / f"dense.{suffix}")["mask"])
            t = load(f / f"flex.{suffix}")
            block_mask = load_block_mask(t, load_mask_mod(t))
            check_block_mask(block_mask)
            self.flex(f"flex-{suffix}", block_mask)
            t = load(f / f"flashinfer.{suffix}")
            self.write(f"flashinfer-{suffix}", flashinfer(t, self.q, self.k, self.v, self.p["head_dim"] ** -0.5))
        self.sdpa("sdpa-scipy-csr", scipy.sparse.load_npz(f / "csr.npz").toarray())
        self.sdpa("sdpa-scipy-csr-blocks", load_csr_blocks(f / "csr-blocks.npz"))
        if self.p["compiled"]:
            torch._dynamo.reset()
            self.flex("flex-compiled", block_mask, torch.compile(flex_attention, dynamic=False))


def main():
    spec = pathlib.Path(sys.argv[1])
    outputs = {}
    for p in json.loads(spec.read_text()):
        problem = Problem(spec.parent, p)
        problem.run()
        outputs[p["name"]] = problem.names
    versions = {"torch": torch.__version__, "scipy": scipy.__version__, "numpy": np.__version__}
    print(json.dumps({"versions": versions, "outputs": outputs}), file=_out)


if __name__ == "__main__":
    main()
