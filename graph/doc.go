// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package graph holds the topology of a prompt: segments of text, and directed
// edges source → target that let the target read the source's keys and values.
//
// # Representation
//
// A [Graph] is immutable and stored twice as compressed sparse rows (CSR): one
// row of sources for every target, in the order in which the edges were added,
// and one sorted row of targets for every source. An edge costs eight bytes, a
// node eight bytes beside its [Segment] and its entry in the id table, so a
// million segments and ten million edges stay far below 1 GiB. Maps of maps cost
// ten times the memory and tens of times the build time, and their order is
// random, while the order of sources is meaningful here: layouts place sources
// one after the other in this order.
//
// Ids and dense indices are both first class. The index of a segment is its
// place in the order of insertion, 0 … Len−1; it is also its gonum node id and
// the value stored in the [roaring.Bitmap] sets of this package. Sets are roaring
// because they are kept, exchanged and combined; the searches that make them run
// over the rows with a flat bitset.
//
// # Edges
//
// There is at most one edge for each ordered pair. An edge from a segment to
// itself means that a later encoding of the segment reads an earlier one, which
// needs rounds, so a [Builder] refuses it unless [SelfEdges] is given.
//
// # Depth and rounds
//
// [Graph.Levels] gives every segment the round-free depth at which it can be
// encoded. It exists only for graphs without cycles; a self edge is a cycle of
// length one. [Graph.Unroll] handles every graph: nodes become pairs
// (segment, round), each round reads the round before, and a self edge reads the
// segment's own previous round. One round of Unroll over [Full] with self edges
// is the published Graph-KV topology, over [TopK] its top-k variant.
//
// # Neighbourhoods
//
// A corpus is larger than a prompt. [Graph.HopNeighbourhoods] and
// [Graph.WalkNeighbourhoods] cut the surroundings of a segment out of it as ordered
// sequences, [Graph.PersonalizedPageRank] ranks what a question's segments have most
// to read from, [Graph.Fit] keeps as much of a sequence as a number of tokens
// allows, and [Graph.Induced] makes a graph of the rest. [Graph.TopSources] chooses
// the sources of every segment at once. Sequences ascend in relevance throughout,
// and what does not fit is dropped from their front.
//
// # Interchange
//
// A Graph is a gonum graph.Directed, so gonum's algorithms run on it unchanged;
// [FromDirected] goes the other way. JSON and Graphviz DOT are read and written;
// both readers treat their input as hostile.
package graph
