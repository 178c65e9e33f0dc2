// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package graphkv answers questions over passages that form a graph.
//
// A language model reads its context as one flat sequence. Graph-KV (Wang et al.,
// 2025) encodes each text segment once and lets target segments attend only to the
// keys and values of their source segments and to themselves: a block mask in the
// shape of the graph, one step of message passing per round. What a segment's keys
// and values are depends on its sources only, so they can be kept and used again
// in any request, next to any other segments, at any position.
//
// A [Request] is a question over segments and edges. [Compile] lowers it to a
// [Plan]: nodes in encoding order, what each attends to, and where everything
// stands. An [Engine] holds a model and a cache; [Engine.Prepare] encodes the nodes
// of a plan that are missing, and [Engine.Generate] answers its query:
//
//	engine, err := graphkv.Open("model.gguf")
//	plan, err := engine.Compile(&graphkv.Request{Segments: …, Query: …})
//	result, err := engine.Generate(ctx, plan, graphkv.Stream(print))
//
// # Strategies
//
// P is the length of the prefix, L_i of segment i. The answer continues after the
// query.
//
//   - [Sequential]: one text, each piece attending to all before it.
//   - [Block]: every segment alone; the query sees the prefix and the segments one
//     after the other (Block-Attention, Ma et al., 2024).
//   - [PCW]: every segment alone, all at positions [P, P+L_i); the query stands at
//     P + max L (Parallel Context Windows, Ratner et al., 2023).
//   - [APE]: as PCW, with a temperature T on the segments' scores at the query and the
//     answer, and with their joint log-sum-exp times S·T, S being the scaling factor;
//     optionally the segments attend to the prefix (Adaptive Parallel Encoding, Yang
//     et al., 2025).
//   - [PINE]: every segment attends to the prefix, to every other segment, and to
//     itself; the segments are encoded together. In every layer a segment, and every
//     token of the query and the answer, sees the others end to end after the prefix,
//     the most important nearest; their order in the request changes no bit
//     (Position-Invariant Inference, Wang et al., 2024).
//   - [GraphKV]: round 0 encodes every segment alone. Round 1 encodes every segment
//     again over round 0 of all segments, which stand end to end from 0. The query
//     sees the prefix, round 0 and round 1, end to end.
//   - [GraphKVTopK]: the same with round 1 over the last k segments only.
//   - [Ego]: the centre attends to its sources, which share the positions after the
//     prefix; the query sees all.
//   - [EgoBatch]: several ego graphs side by side.
//   - [DAG]: any graph. A segment attends to its sources and itself; r rounds unroll
//     cycles. Segments of one depth share a range of positions or, on request, all
//     stand one after the other. The query sees every segment's last round, or the
//     rounds that the request names.
//   - [HDT]: a segment is a document of sections of sentences, found in its Markdown,
//     with an anchor for the document and for every section and sentence. Anchors see
//     their siblings, their parent and their children, words their sentence and its
//     anchor; a document is encoded as one and sees neither the prefix nor others. The
//     query sees the prefix and all anchors and words, end to end (Hierarchical Document
//     Transformer, He et al., 2024).
//   - [CacheBlend]: as Sequential, but of every segment that has something before it, it
//     takes the keys and values of the segment encoded alone, as in Block, and encodes
//     ⌈ρL_i⌉ of its tokens again: those whose keys and values in the second layer differ
//     most from what they would be in Sequential (Yao et al., 2024). With ρ = 0 it is
//     Block, with ρ = 1 Sequential.
//   - [EPIC]: the same with the first k tokens of every segment (LegoLink of Hu et al.,
//     2024).
//
// [Sequential], [Block], [GraphKV], [GraphKVTopK], [Ego] and [EgoBatch] are laid out
// exactly as the published system does.
//
// With [Request.Bidirectional], the tokens of a segment see those after them as well.
//
// # Biases
//
// Whatever the strategy, a request's [Biases] say how loudly its edges speak, per head:
// by the distance of segments in order or over edges, by random walks, by relation, by
// relevance to the query, or by any function. They are added to attention scores, and
// belong to the keys of what reads through them.
//
// # What was read
//
// [Engine.Explain] says how much of the attention of every target, of the query and of
// the answer went to each of its sources, per layer and head, and how alike a node's
// tokens become from layer to layer. [Engine.OrderSensitivity] says how much an answer
// depends on the order of the segments. [Plan.Graph] makes a picture of it all, see
// package draw.
//
// # What is exact
//
// Keys are rotated once, at local positions, when they are encoded; a source
// appears elsewhere because its reader's query is shifted. Sources that share
// positions are a set: the order in which a request lists them changes neither the
// cache key nor the last bit of a result. Whether a node was found in the cache,
// encoded, or evicted and encoded again, how batches are cut and how many workers
// share them: none of it changes a bit of the answer's logits. Sums go by the order of
// keys, so the namespace and the format of KVs, which keys depend on, do.
package graphkv
