// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package bench

// RoPEBase is the rotary embedding's base in all attention cases. Dimensions are
// paired by halves.
const RoPEBase = 1e5

// Seeds of queries, keys, values and token ids.
const (
	seedQ = iota + 1
	seedK
	seedV
	seedTokens
)

// hash mixes i and seed; peers compute the same numbers.
func hash(i, seed uint32) uint32 {
	x := i*0x9E3779B9 + seed*0x85EBCA6B
	x ^= x >> 16
	x *= 0x7FEB352D
	x ^= x >> 15
	x *= 0x846CA68B
	return x ^ x>>16
}

// Values returns n numbers, uniform with variance 1, that depend on the seed alone.
func Values(n int, seed uint32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = (float32(hash(uint32(i), seed)>>8)/(1<<23) - 1) * 1.7320508
	}
	return x
}

// TokenIDs returns n ordinary token ids of a vocabulary, chosen by key.
func TokenIDs(n, vocab int, key uint32) []int32 {
	const special = 64 // the first ids of a vocabulary are special tokens and bytes
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(special + hash(uint32(i)+key<<16, seedTokens)%uint32(vocab-special))
	}
	return ids
}
