// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv

// about says in a line what a strategy does.
var about = map[Strategy]string{
	Sequential:  "one text: every passage reads all before it",
	Block:       "every passage alone; the question reads them one after the other",
	PCW:         "every passage alone, all at the same positions (Parallel Context Windows)",
	APE:         "as pcw, with a temperature and a scaling factor (Adaptive Parallel Encoding)",
	PINE:        "every passage reads every other, the most important nearest; their order changes nothing (PINE)",
	GraphKV:     "every passage alone, then again over all of them (Graph-KV)",
	GraphKVTopK: "as graphkv, the second time over the last k passages",
	Ego:         "one passage, the centre, reads all others",
	EgoBatch:    "several ego graphs side by side",
	DAG:         "every passage reads those that it links to, for any number of rounds",
	HDT:         "the sentences of Markdown passages, and anchors of sentences, sections and passages (Hierarchical Document Transformer)",
	CacheBlend:  "one text from passages encoded alone, of which the tokens that deviate most are encoded again",
	EPIC:        "one text from passages encoded alone, of which the first tokens are encoded again",
}

// About returns a line about the strategy, "" if there is none of that name.
func (s Strategy) About() string { return about[s] }
