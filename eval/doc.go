// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package eval measures how well, and how soon, a model answers under the presets of
// package graphkv.
//
// [Read] takes questions over documents in the formats of the published Graph-KV data
// and in our own, which extends them by candidates, orders and edges. A [Runner] asks
// every question under every [Variant] of a preset and in several orders of its
// documents, and a [Log] keeps each answer as a line of JSON as soon as it is there, so
// that a run that ends early goes on where it was. [Summarise] makes figures of what
// the log has, and a [Summary] prints tables and draws plots.
//
// # What is compared
//
// The wording around documents and question, the form of a document, and the order of
// the documents, by ascending relevance, are those of the published evaluation
// ([Wording], [Block]); around them stands the chat template of the model at hand. Pieces
// are tokenised separately under every preset. Decoding is greedy.
//
// An answer counts by best-subspan exact match (the published measure: some right answer
// occurs in it), by exact match and by token F1, on text normalised as SQuAD's
// evaluation does. Where an item has candidates, [graphkv.Engine.Score] also ranks them: the
// choice is right if the likeliest is a right answer. A small model that rambles can
// still rank, so this is the less noisy measure, and chance is known.
//
// Scores are of items: the mean over an item's orders counts once. Intervals are 95 %
// percentile bootstraps over items (10,000 resamples, seeded), and all variants share the
// resamples, so that the interval of a difference between two of them is a paired one. How much
// the order matters is said by the share of items whose answer is not the same in
// all orders, by how often two orders agree, and by the variance of an item's score
// over its orders.
//
// The time to the first token is measured apart from the answers, one request at a
// time on an engine of its own: with nothing cached, then for the same documents in
// reverse order, then for the same request again. These say what a preset can reuse.
package eval
