// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package kvcache names and stores the keys and values of encoded segments.
//
// # Node keys
//
// The KV of a node depends on the model, the form the KV is stored in, the
// rotary embedding, the node's tokens and, for every source, that source's own
// KV, where it stands relative to the node and the edge's scale and bias. A
// [Key] is the SHA-256 of exactly these, with every source named by its key:
// equal keys mean equal KV, whatever request produced it, and a change in any
// ancestor changes every key below it (a Merkle DAG). The bytes that are hashed
// are given at [Scope.Key]; they are the same on every machine and in every
// process, and they never change within a version.
//
// Attention over sources is a sum, and sources that share a position range form
// a set. So sources are put in one canonical order ([Source.Compare]) before
// hashing; callers sum the parts in the same order, which makes the result equal
// to the last bit too.
//
// A KV may hold several nodes that were encoded together and see one another. Who keys
// them makes them one node of the graph of keys, in a form of its own ([Scope.KeyAs]).
//
// # KV storage
//
// A [KV] is one block of memory, layer by layer, each as attention.KV describes it
// and at a multiple of [Align] bytes. One block rather than one per layer: the garbage
// collector tracks a single object without pointers, the size is exact (a large Go
// object is rounded up to a page, once instead of once per layer), and a lower tier can
// write or map it in one piece. Nothing wants part of a KV: a node is encoded, used and
// dropped whole.
//
// # Memory
//
// [Memory] is a store with a byte budget, ref-counted handles, eviction by cost and
// recency, and single-flight encoding. What it promises:
//
//   - The bytes it has indexed never exceed the budget. An entry costs
//     [KV.Bytes] in whole pages plus [EntryOverhead].
//   - A [Handle] keeps its KV valid until Release. Deleting, evicting, replacing and
//     budget pressure take an entry out of the index, never out of a running request.
//   - The victim is the entry that is worth least of those that nobody holds; only when
//     all are held, of those. Worth is when and how often the entry was used, up to 16
//     times, times what it cost to encode a byte of it ([Info].Cost): GreedyDual-Size
//     with frequency, which package internal/evict describes. Of equal worth is the one
//     used last. Without costs, every byte counts the same.
//   - Dropping a held entry frees nothing until its last handle goes: until then it
//     counts as orphaned. Resident memory is Metrics.Bytes + Metrics.OrphanedBytes.
//   - An entry larger than the budget goes to whoever encoded it and to those who
//     waited for it, but is not kept (Metrics.Rejected). With a budget ≤ 0 this is
//     true of every entry: nothing is cached, single-flight still works.
//   - A KV of another store can be adopted as it is ([Flight.Adopt]); its handle is
//     released when the entry is neither indexed nor held.
//
// The store is one mutex around O(1) operations (a map access and a few counters; an
// insertion evicts as many entries as it must, each O(log n) and paid for by its own
// insertion). It is not sharded. Shards would each own part of the budget, so a large
// entry could be refused, or a valuable one evicted, while another shard has room:
// neither the order nor the budget would be exact. And
// there is little to gain: a lookup stands for the encoding of a whole segment,
// milliseconds of arithmetic against a fraction of a microsecond under the lock
// (BenchmarkGetContended).
//
// # Flights
//
// [Memory.Claim] makes the first caller for a missing key the owner of a
// [Flight], who encodes and calls Complete, or Fail; the others wait. An owner's
// failure is its own: its waiters get [ErrRetry] and claim again, and one of them
// becomes the next owner.
//
// A request claims many keys and may find some of them in flight elsewhere. Two
// requests, each waiting for the other, must not deadlock. The rule: a request
// waits only for a node of smaller depth than every unfinished flight it owns
// (the depth of a node is 0 without sources, otherwise 1 + the largest depth of
// a source; it is a property of the key). Working level by level does just that:
// at every level, run the own flights first (their sources are all at hand by
// then), after them wait for the foreign ones, then go on to the next level. In
// particular an owner never waits while a flight of its own is ready to run.
//
// Why this suffices: give every waiting request the smallest depth of the
// unfinished flights it owns. It waits for a flight of smaller depth, so the
// owner of that flight has a smaller number still. A chain of waiting requests
// goes strictly down, cannot be a circle, and ends at a request that is running.
//
// # Tiers
//
// [Tiered] is Memory and, below it, any [Store]s: a disk, a server. Claim looks into
// memory alone, under its one lock; whoever comes to own a flight then asks the lower
// tiers with [Tiered.Fetch], nearest first, and encodes if that finds nothing. So the
// lower tiers are asked once for a key, however many requests want it, and the rule above
// holds for fetching as for encoding.
//
//   - A hit moves up. Memory adopts the lower store's KV, mapped or read, as it is, and
//     releases it when it is evicted; the tiers between get it by a queued write.
//   - A store that is a [Streamer] hands a KV out as soon as it has found it. [Tiered.FetchLayers] lets the owner of the flight use
//     the first layers while others are on the way; the flight is complete when all of them were verified, and fails if one
//     was not. It then ends by itself and waits for no other, so to the rule above it is the flight of someone else.
//   - What is encoded is queued for all lower tiers, and each has one goroutine that
//     writes in order while there is something to write. The queue is bounded in number
//     and bytes, a write that does not fit is dropped, counted and reported: no request
//     waits for a write. A queued KV is held, and found even if memory evicts it.
//   - A tier that fails or does not answer within its time-out is out of use from then on,
//     which costs requests nothing, until a probe in the background is answered in time.
//     So a request pays for at most one time-out per tier, whether the store heeds its
//     context or not. A tier that cannot write (a full disk) is still read; a write is
//     tried now and then.
//   - Every tier's rate of fetching is measured. Where the caller says how long encoding
//     would take ([Estimate]), a tier that would take longer is skipped, but for a trial
//     now and then.
//   - Close does the queued writes, within a bound, and says how many it could not.
//
// A tier may forget, and does in all of these cases: that costs an encoding, never a wrong
// answer. A key stands for one KV, so it does not matter which tier, or which write, a hit
// comes from.
//
// # Tenants
//
// The namespace is part of a [Scope] and so of every key, and thereby of what every tier
// looks up: what another namespace has stored is to this one a key that nobody ever stored.
// Keys are for the code between a model and its stores. No API that takes requests from
// clients takes a key, and none should be built: who can name a key can find out, by an
// answer or by its time, whether somebody has stored it.
package kvcache
