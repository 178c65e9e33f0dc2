# Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0
"""Writes one mask by the tools whose forms package exchange reads: needs PyTorch, SciPy,
NumPy and safetensors (bench/peers/requirements-attention.txt).

Token q of 37 sees token k if (7q + 3k) % 5 < 2, if both are below 16, or if k = q."""

import pathlib

import numpy as np
import scipy.sparse
import torch
from safetensors.torch import save_file
from torch.nn.attention.flex_attention import create_block_mask

HERE = pathlib.Path(__file__).resolve().parent
N, SIZE = 37, 8


def visible(b, h, q, k):
    return ((7 * q + 3 * k) % 5 < 2) | ((q < 16) & (k < 16)) | (q == k)


q, k = np.indices((N, N))
dense = visible(0, 0, q, k)

np.save(HERE / "dense.npy", dense)
np.savez_compressed(HERE / "dense.npz", mask=dense[None, None])
scipy.sparse.save_npz(HERE / "csr.npz", scipy.sparse.csr_matrix(dense.astype(np.float64)))

least = torch.finfo(torch.float16).min
additive = torch.where(torch.from_numpy(dense), 0.0, least).to(torch.float16)
save_file({"attention_mask": additive[None, None]}, HERE / "additive.safetensors")

m = create_block_mask(visible, None, None, N, N, device="cpu", BLOCK_SIZE=SIZE)
side = -(-N // SIZE)
padded = np.zeros((side * SIZE, side * SIZE), dtype=bool)
padded[:N, :N] = dense
blocks = padded.reshape(side, SIZE, side, SIZE).swapaxes(1, 2)
partial = [blocks[i, j] for i in range(side) for j in m.kv_indices[0, 0, i, : m.kv_num_blocks[0, 0, i]]]
t = {n: getattr(m, n).contiguous() for n in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices")}
t["seq_lengths"], t["BLOCK_SIZE"] = torch.tensor(m.seq_lengths), torch.tensor(m.BLOCK_SIZE)
t["partial_bits"] = torch.from_numpy(np.packbits(np.stack(partial), axis=-1, bitorder="little"))
save_file(t, HERE / "flex.safetensors", metadata={"from": "torch " + torch.__version__})
