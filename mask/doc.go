// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package mask lowers a position layout to a block-sparse attention mask.
//
// The token axis is the layout's nodes laid end to end in encoding order. Query token i may see key token j if both belong to
// one node and j ≤ i or the node is bidirectional, or if i's node lists j's node as a source; nodes that are encoded together
// may list later ones. Cutting both axes into blocks of the same size gives a
// matrix of blocks that are empty (nothing allowed), full (everything allowed) or partial; only the last kind needs a test
// per token. This is the form in which kernels such as FlexAttention take a mask, and the form to look at.
//
// # Cost
//
// A Mask keeps, per row of blocks, the sorted columns and kinds of the blocks that are not empty (BSR), five bytes each. It
// is built in time proportional to edges plus such blocks; the square of the number of tokens is never touched. Two facts
// make this possible. Each key token belongs to one node and a node is listed once per reader, so the allowed pairs of a
// block are a disjoint union of rectangles and triangles, and counting cells decides between full and partial without
// drawing a bit. And rows of blocks that lie within one node repeat the same columns, which are worked out once.
//
// The bits of partial blocks are not stored, since ragged segments would make nearly every edge pay for several bitmaps:
// Bitmap draws them on demand from the layout.
package mask
