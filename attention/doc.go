// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package attention computes grouped-query attention over parts.
//
// A part is one source as one reader sees it: a run of keys and values that lie
// somewhere in memory, how far the reader stands from them, and how loudly and
// sharply they speak. For the query row i and the query head h, which uses the
// key/value head h/(Heads/KVHeads), the kernel computes
//
//	out[i] = Σ_p Σ_j softmax over all (p, j) of ( scale·scale_p·(R(Shift_p+i)·q_i)·k_pj + bias_p[h] ) · v_pj
//
// where p runs over the reader's parts and j over the keys of the part that row
// i may see. R is a rotary embedding. Because it is relative,
//
//	(R(m)q)·(R(n)k) = (R(m−b)q)·(R(n−b)k),
//
// keys are stored once, rotated at local positions 0…Len−1, and the kernel
// rotates the query instead, once per part. Keys and values are therefore read
// in place: a cached segment that moves to another position costs one rotation
// of a query tile, and neither a pass over the cache nor a copy. The absence of
// a part is a hard mask, and it costs nothing. What is finer than a part is a
// causal bound or a [Bitmap]. [Kernel.AttendMask] does the same over one flat
// sequence and a block-sparse mask.
//
// # Kernels
//
// Keys and values are packed when they are stored, once, in the order in which
// they will be read: a [KV] has sixteen keys side by side, so that sixteen
// scores are one chain of vector operations. The loop is the blocked online
// softmax of FlashAttention (Dao et al. 2022, algorithm 1; Milakov and
// Gimelshein 2018): panels of up to 14 lanes (pairs of a query row and a head,
// 6 with AVX2) walk over blocks of 128 keys and keep, per lane, a running
// maximum, the sum of the exponentials and the weighted sum of the values. All
// query heads that share a key/value head travel in one tile, with as many
// rows as keep its queries and sums in the second-level cache, so that a block
// is loaded from memory once for hundreds of lanes; while a panel is computed,
// the block that follows is brought closer. A causal bound is kept panel by
// panel: what lies above the diagonal is not computed, but for the few keys
// that some lanes of a panel see and others do not.
//
// Exponentials are to base 2, of scores that the packed queries carry times
// log₂e, by a polynomial of degree 5 with a relative error below 2⁻²². What
// weighs less than 2⁻¹²⁵ of the heaviest key weighs nothing.
//
// Besides float32, keys and values may be stored in 16 or 8 bits, see [Format].
// They are widened block by block, or where few lanes use them, as they are
// read; the scales of 8-bit ones multiply scores and weights, once for a key.
// Everything is summed in float32.
//
// A step of generation is one row over long parts. [Query.Decode] splits it
// into ranges of 512 keys, whatever the number of workers, whose results are
// joined like those of [Merge].
//
// Besides the output the kernel returns the log-sum-exp of the scores, with
// which [Merge] joins results over disjoint sets of keys exactly.
//
// # Determinism
//
// Parts are summed in the order given, and keys in their order. The result of
// one row and head depends on nothing else: to the last bit it is the same
// whatever other rows, queries or heads are computed with it and however many
// workers take part, and AVX2 and AVX-512 agree. Reordering parts, and
// Query.Decode, change results by rounding only; a caller who needs bitwise
// equality sorts parts.
//
// # Infinities and NaN
//
// A key that a row may not see is skipped, not multiplied by zero. NaN or ±Inf
// in a key, value or query reaches the rows that attend to it and no other. A
// key that is visible takes part even when its weight underflows to 0, so an
// infinite value there yields NaN. A score of −Inf has weight 0. A score of
// +Inf, such as the overflow of a dot product times log₂e, makes the output and log-sum-exp
// of its row and head NaN, as it does in the definition of the softmax. A row
// that sees no key, or only scores of −Inf, has output 0 and log-sum-exp −Inf.
package attention
