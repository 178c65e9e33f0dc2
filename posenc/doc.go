// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package posenc decides where things stand: it rotates vectors to positions (RoPE) and lays out the nodes of a
// request (Layout).
//
// # Positions live on edges
//
// Rotary embeddings are relative: (R(m)q)·(R(n)k) depends on m−n only. A segment's keys can therefore be rotated once, at
// the local positions 0…L−1, and be read by any query at any place: a query at position m that wants to see the segment at
// base b rotates itself by m−b. No key is ever rotated twice, and one stored copy serves every position scheme at once.
//
// It follows that a position is not a property of a token. The same source may stand at one base for one reader and at
// another base for the next (in the full Graph-KV layout it does), so a table "one position per token" cannot express
// these layouts. A Layout gives every node its own base, at which its own tokens stand while it is encoded, and gives every
// (reader, source) pair the base at which that reader sees that source.
//
// # Only static encodings
//
// The argument needs rotations that depend on the position alone. Encodings whose frequencies change with the length of
// the sequence at run time (dynamic NTK, LongRoPE's switch between two sets of factors) would make a stored key wrong as
// soon as the context grows; NewRoPE refuses them with ErrDynamicScaling.
//
// # Scores
//
// Besides where a source stands, an edge says how sharply and how loudly it speaks: a [Score]. Temperatures, scaling factors
// and structural biases are functions of an edge (Layout.WithScores).
//
// # Nodes encoded together
//
// Sources come before their readers, so that keys and values can be computed in order, once. Where segments read one another
// there is no such order. Nodes of a group (LayoutBuilder.AddGroup) are therefore encoded together, in one pass that
// goes layer by layer: what a node reads of another in a layer depends on what that has read in the layers before. A
// group is computed, cached and used again as one.
//
// Ranked sources (Seen.Ranked) go one step further than a base for every edge: the reader finds their order, and with it
// their bases, while it runs, in every layer anew. As ever it is the query that is rotated, so that costs no more than any
// other base.
//
// # Presets
//
// Sequential, Block, PCW, APE, PINE, GraphKV, GraphKVTopK, Ego, EgoBatch, DAG, HDT, CacheBlend and EPIC build the layouts of Graph-KV (Wang et
// al., 2025), of the systems it is compared with, and of any directed graph. Anything else can be put together with a LayoutBuilder.
package posenc
