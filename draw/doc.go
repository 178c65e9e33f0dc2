// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package draw writes pictures as SVG: a [Graph] of nodes with edges as wide as what
// flows along them, and the [Mask] that goes with it.
//
// A picture is one self-contained element, to be written to a file or put into a page
// as it is. It follows the reader's preference for light or dark, has a title and a
// description for those who cannot see it, and a title on everything one can point at.
// Classes begin with "gk-", so that a page can restyle it. All text is escaped. The same
// input gives the same picture.
//
// A graph is drawn in layers from left to right (Sugiyama, Tagawa and Toda, 1981): a
// node stands to the right of all that it reads, nodes that read one another stand in
// one column, and long edges are led between the nodes of the columns that they cross.
// Where edges meet their reader they lie side by side on a bar, as in a Sankey diagram:
// the bar's height is all of the reader's attention.
package draw
