// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package outline finds the structure of a Markdown text: headings cut it into
// sections, and paragraphs, list items, code and headings into sentences. It is what a
// hierarchical strategy such as "hdt" builds its graph from.
//
// [Blocks] follows the block structure of CommonMark 0.31: ATX and setext headings,
// paragraphs with lazy lines, fenced and indented code, block quotes, bullet and ordered
// lists, thematic breaks. It leaves inline markup as it is written, which language models
// read well, and knows neither HTML blocks nor link reference definitions nor tables:
// their lines are paragraphs.
//
// [Parse] makes sections of the headings that stand in no list and no quote. There are
// two levels, not six: a heading of any level starts a section, and text before the
// first is a section without one. The heading is the section's first sentence. Every
// block of code is one sentence, line breaks and all; the lines of other blocks are
// joined by spaces and cut by [Sentences].
//
// Every text has a structure; there are no errors. Time is linear in the length of the
// text as long as lists and quotes are not nested deeply; markers nested deeper than
// 32 are text.
package outline
