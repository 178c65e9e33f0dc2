// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package exchange writes and reads masks in the forms of the tools that models are trained and served with.
//
// What is written is any [Blocks], by its blocks and bitmaps alone: a [mask.Mask], or a [Matrix], which is what is read, so
// that every form can be turned into every other. A file is one of three containers of plain arrays, little endian and in C
// order: .safetensors, .npz as numpy.savez writes it, and .npy for a single array. Names are the ones that the tools
// themselves use.
//
//	flex        BLOCK_SIZE, seq_lengths [2] int64; kv_num_blocks, full_kv_num_blocks, q_num_blocks, full_q_num_blocks
//	            [1, 1, blocks] and kv_indices, full_kv_indices, q_indices, full_q_indices [1, 1, blocks, longest row] int32:
//	            the arguments of FlexAttention's BlockMask; partial_bits [partial blocks, size, ⌈size/8⌉] uint8
//	flashinfer  M, N, R, C int64; indptr, indices int32; packed_mask uint8: arguments of BlockSparseAttentionWrapper.plan;
//	            mask_indptr int32, where each row of blocks begins in packed_mask, in bytes
//	csr         data bool, indices, indptr int32 or int64, shape, format: scipy.sparse.load_npz gives a csr_matrix of tokens
//	csr-blocks  the same of blocks: data uint8, 1 for a partial and 2 for a full one; block_size, tokens int64; partial_bits
//	dense       mask [tokens, tokens] bool, as scaled_dot_product_attention takes it
//	additive    attention_mask [1, heads, tokens, tokens] float32, as Hugging Face's models take it: 0, or what the edge adds
//	            to the head's scores, and the most negative finite number, or −Inf, where nothing is seen
//
// # FlexAttention
//
// A BlockMask needs a mask_mod that agrees with it everywhere: eager FlexAttention looks at nothing else, and compiled
// kernels call it in partial blocks. It reads a table of blocks, −1 for an empty one, −2 for a full one and otherwise the
// block's place in partial_bits, which has them row after row in the order of kv_indices:
//
//	def mask_mod(b, h, q, k):
//	    p = table[q // size, k // size]
//	    byte = bits[p.clamp(min=0), q % size, k % size // 8]
//	    return (p == -2) | ((p >= 0) & ((byte >> (k % size % 8)) & 1 == 1))
//
// As in create_block_mask, blocks that the last token cuts off are partial. These tensors are rectangles, blocks by the
// longest row, which is the query's: where it sees everything, they grow with the square of the blocks. The other block
// forms do not. bench/peers/masks.py loads all forms, and runs them.
//
// # FlashInfer
//
// N counts keys padded to whole blocks, as plan wants them; keys and values are to be padded alike. plan, as of December
// 2025, counts mask_indptr in bits where it is given packed_mask rather than mask
// (https://github.com/flashinfer-ai/flashinfer/pull/2201); unpack the bits to its mask, or set the offsets.
//
// # Positions and scores
//
// These forms have one position per token, but a layout's source may stand at a place of its own for every reader.
// [Places] finds positions that suit all readers, if there are any, and files then have position_ids; else the metadata names
// the node that has none. With positions, rotary attention over flat tokens under the mask is the layout's. A layout
// whose edges change scores is refused by all forms but additive, and by that unless they only add.
//
// # Cost
//
// Block forms take time and memory proportional to blocks, that is to edges at a given length of nodes, plus the bits of
// partial blocks, which are drawn as they are written. A csr of tokens takes time proportional to the pairs, dense and
// additive to the square of the tokens; all of these are streamed. Whatever is larger than [WriteOptions].MaxBytes is
// refused by its size, before it is computed.
//
// # llama.cpp
//
// [PlanSequences] turns a layout into steps that an unmodified llama.cpp executes: nodes in sequences, and copies between
// them.
package exchange
