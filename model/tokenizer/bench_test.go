// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"strings"
	"testing"
)

var benchTexts = map[string]string{
	"english": strings.Repeat("Retrieved passages are encoded once and kept; a target then attends to its sources only, each at a position of its "+
		"own. In 2025 the authors reported shorter times to the first token, and nobody's answers got worse: \"it's the graph\", they said.\n", 40),
	"code": strings.Repeat("func (p *Pool) For(n int, body func(worker, i int)) {\n\tif n <= 0 {\n\t\treturn // nothing_to_do\n\t}\n\tx[i] += a*b<<3\n}\n",
		80),
	"chinese": strings.Repeat("检索到的段落只编码一次并保存；目标随后只关注它的来源，每个来源都有自己的位置。", 80),
	"random":  strings.Repeat("qzvxjkwpfg8HbTnRmLcDsYaEoIuXZQJ", 250),
	"run":     strings.Repeat("a", 1<<16),
}

func BenchmarkEncode(b *testing.B) {
	tok := smol(b, "")
	for name, text := range benchTexts {
		b.Run(name, func(b *testing.B) {
			var ids []int32
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ids = tok.Encode(ids[:0], text, true)
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, pre := range pres {
		b.Run(pre, func(b *testing.B) {
			p, _ := lookupPre(pre)
			text := benchTexts["english"]
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				for i := 0; i < len(text); {
					i = p.next(text, i)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := smol(b, "")
	text := benchTexts["english"]
	ids := tok.Encode(nil, text, false)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tok.Decode(ids)
	}
}

func BenchmarkNew(b *testing.B) {
	c, err := smolLM2()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(c); err != nil {
			b.Fatal(err)
		}
	}
}
