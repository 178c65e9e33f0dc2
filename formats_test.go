// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package graphkv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/graphkv/graphkv"
	"github.com/graphkv/graphkv/attention"
)

// What KV formats do to the answers of the real model, over all golden cases: the table in the README. Differences are those from float32 KVs. Greedy
// agreement counts the tokens of each answer up to the first that differs.
func TestFormatsSmolLM2(t *testing.T) {
	bounds := map[attention.Format]struct{ logit, agreement float64 }{
		attention.F16: {0.03, 0.99}, attention.BF16: {0.2, 0.95}, attention.I8: {0.6, 0.85},
	}
	exact := smolLM2(t)
	cases := readGolden(t)
	answer := func(e *graphkv.Engine, c goldenCase) *graphkv.Result {
		p, err := graphkv.ParsePlan(c.Plan)
		require.NoError(t, err)
		r, err := e.Generate(t.Context(), p.WithMaxTokens(32), graphkv.WithLogits())
		require.NoError(t, err)
		return r
	}
	var want []*graphkv.Result
	for _, c := range cases {
		want = append(want, answer(exact, c))
	}
	for f, bound := range bounds {
		e := openSmolLM2(t, graphkv.WithKVFormat(f))
		var worst, sum float64
		agree, tokens, whole := 0, 0, 0
		for i, c := range cases {
			r := answer(e, c)
			d := maxDiff(r.Logits, want[i].Logits)
			worst = max(worst, d)
			sum += d
			n := 0
			for n < min(len(r.Tokens), len(want[i].Tokens)) && r.Tokens[n] == want[i].Tokens[n] {
				n++
			}
			agree += n
			tokens += len(want[i].Tokens)
			if n == len(want[i].Tokens) {
				whole++
			}
		}
		shape := e.Model().Config().KVShape()
		shape.Format = f
		const block = 160 // any number of whole panels
		bytes, err := shape.Bytes(block)
		require.NoError(t, err)
		share := float64(agree) / float64(tokens)
		t.Logf("%-4v %6d bytes a token, max |Δlogit| %.4f, mean of maxima %.4f, greedy tokens %d/%d (%.1f%%), whole answers %d/%d",
			f, bytes/block, worst, sum/float64(len(cases)), agree, tokens, 100*share, whole, len(cases))
		require.LessOrEqual(t, worst, bound.logit)
		require.GreaterOrEqual(t, share, bound.agreement)
		require.NoError(t, e.Close())
	}
}
