// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// merging is byte-pair encoding by its definition: the lowest rank among all neighbours, leftmost first, on strings.
func merging(word []string, ranks map[string]int) []string {
	word = slices.Clone(word)
	for {
		best, at := len(ranks), -1
		for i := 0; i+1 < len(word); i++ {
			if r, ok := ranks[word[i]+" "+word[i+1]]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return word
		}
		word = slices.Replace(word, at, at+2, word[at]+word[at+1])
	}
}

// grown draws a vocabulary over a few letters: every merge joins two tokens there are already.
var grown = rapid.Custom(func(t *rapid.T) Config {
	c := Config{Tokens: []string{"a", "b", "c"}, Pre: "gpt-2", BOS: NoToken, EOS: NoToken}
	seen := map[string]bool{}
	for range rapid.IntRange(0, 40).Draw(t, "merges") {
		left, right := rapid.SampledFrom(c.Tokens).Draw(t, "left"), rapid.SampledFrom(c.Tokens).Draw(t, "right")
		if m := left + " " + right; !seen[m] && len(left+right) < 40 {
			seen[m] = true
			c.Merges = append(c.Merges, m)
			if !slices.Contains(c.Tokens, left+right) {
				c.Tokens = append(c.Tokens, left+right)
			}
		}
	}
	return c
})

func TestMergeIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := grown.Draw(t, "vocabulary")
		ranks := map[string]int{}
		for i, m := range c.Merges {
			ranks[m] = i
		}
		tok, err := New(c)
		require.NoError(t, err)
		for range 5 {
			letters := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 120).Draw(t, "word")
			want := merging(letters, ranks)
			word := strings.Join(letters, "")
			var got []string
			for _, id := range tok.Encode(nil, word, false) {
				got = append(got, tok.Token(id))
			}
			require.Equal(t, want, got)

			// Both ways on any length.
			for name, f := range map[string]func(*workspace) []int32{"short": tok.merges.mergeShort, "long": tok.merges.mergeLong} {
				w := &workspace{}
				for _, l := range letters {
					id, _ := tok.ID(l)
					w.ids = append(w.ids, id)
				}
				var got []string
				for _, id := range f(w) {
					got = append(got, tok.Token(id))
				}
				require.Equal(t, want, got, name)
			}
		}
	})
}

func TestMergeTable(t *testing.T) {
	table := newMergeTable(1000)
	for i := range int32(1000) {
		s := table.slot(makePair(i, i*7919))
		require.Equal(t, uint32(noRank), s.rank)
		*s = mergeSlot{key: makePair(i, i*7919), rank: uint32(i), id: i + 5}
	}
	for i := range int32(1000) {
		rank, id := table.find(i, i*7919)
		require.EqualValues(t, i, rank)
		require.Equal(t, i+5, id)
		if i != 0 {
			rank, _ = table.find(i*7919, i)
			require.EqualValues(t, noRank, rank)
		}
	}
	empty := newMergeTable(0)
	rank, _ := empty.find(0, 0)
	assert.EqualValues(t, noRank, rank)
}
