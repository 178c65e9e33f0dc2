// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What a scan says about lines is what reading them again by their offsets gives, whatever blank lines and line ends there are.
func TestCorpusOffsets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zé"\\ ]{1,8}`), 1, 20, rapid.ID).Draw(rt, "ids")
		links := map[string][]string{}
		for _, id := range ids {
			text.WriteString(rapid.SampledFrom([]string{"", "\n", "  \r\n"}).Draw(rt, "before"))
			links[id] = rapid.SliceOfN(rapid.SampledFrom(ids), 0, 3).Draw(rt, "links")
			quoted := []string{}
			for _, l := range links[id] {
				quoted = append(quoted, fmt.Sprintf("%q", l))
			}
			fmt.Fprintf(&text, `{"id": %q, "text": %q, "links": [%s]}`, id, "text of "+id, strings.Join(quoted, ","))
			text.WriteString(rapid.SampledFrom([]string{"\n", "\r\n", "  \n"}).Draw(rt, "end"))
		}
		all := strings.TrimSuffix(text.String(), rapid.SampledFrom([]string{"", "\n"}).Draw(rt, "last"))
		x, err := indexLinks(strings.NewReader(all))
		require.NoError(rt, err)
		require.Len(rt, x.order, len(ids))
		for n, i := range x.order {
			require.Equal(rt, ids[n], x.names[i])
			l, err := x.read(strings.NewReader(all), i)
			require.NoError(rt, err)
			require.Equal(rt, []any{ids[n], "text of " + ids[n]}, []any{l.ID, l.Text})
			require.ElementsMatch(rt, links[ids[n]], l.Links)
		}
	})
}

func TestCorpusMistakes(t *testing.T) {
	good := `{"id": "a", "text": "x"}` + "\n"
	for _, c := range []struct{ name, corpus, want string }{
		{"not JSON", good + "hello", "line 2: invalid character"},
		{"unknown field", `{"id": "a", "text": "x", "title": "y"}`, `line 1: json: unknown field "title"; a line is`},
		{"no id", good + `{"text": "x"}`, "line 2: it has no id"},
		{"nothing in it", "\n\n" + `{"id": "a"}`, `line 3: segment "a" has neither text nor tokens`},
		{"both", `{"id": "a", "text": "x", "tokens": [1]}`, `segment "a" has both`},
		{"two on a line", `{"id": "a", "text": "x"} {"id": "b", "text": "x"}`, "line 1: something follows"},
		{"not UTF-8", "{\"id\": \"a\", \"text\": \"\xff\"}", "line 1: it is not valid UTF-8"},
		{"long", good + `{"id": "b", "text": "` + strings.Repeat("x", maxLine) + `"}`, "line 2 is longer than 64 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "corpus.jsonl")
			require.NoError(t, os.WriteFile(path, []byte(c.corpus), 0o600))
			for _, strategy := range []string{"block", "dag"} {
				_, _, err := run(t, "", "cache", "warm", path, "--model", tiny, "--strategy", strategy)
				require.ErrorContains(t, err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, corpus, want string }{
		{"unknown source", `{"id": "a", "text": "x", "links": ["b"]}`, `line 1: segment "a" links to "b", which the corpus does not have`},
		{"twice", good + good, `line 2: segment "a" is on line 1 already`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "corpus.jsonl")
			require.NoError(t, os.WriteFile(path, []byte(c.corpus), 0o600))
			_, _, err := run(t, "", "cache", "warm", path, "--model", tiny, "--strategy", "dag")
			require.ErrorContains(t, err, c.want)
			mustRun(t, "", "cache", "warm", path, "--model", tiny) // block looks neither at links nor at ids
		})
	}
}

func TestShard(t *testing.T) {
	for _, text := range []string{"", "1", "0/4", "5/4", "1/0", "-1/2", "1/2/3", "a/b"} {
		require.Error(t, new(shard).Set(text), text)
	}
	const n, ids = 7, 7000
	var counts [n]int
	for id := range ids {
		owners := 0
		for i := range n {
			var s shard
			require.NoError(t, s.Set(fmt.Sprintf("%d/%d", i+1, n)))
			if s.owns(fmt.Sprint(id)) {
				counts[i]++
				owners++
			}
		}
		require.Equal(t, 1, owners)
	}
	for _, c := range counts {
		require.InDelta(t, ids/n, c, 150) // five standard deviations
	}
	require.True(t, shard{3, 4}.owns("segment"), "which never changes: machines of other versions share the work") // 0x03e71c6d7dc6bd4e mod 4 is 2
	require.True(t, shard{}.owns("segment"))
}

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"4096": 4096, "1B": 1, "10GiB": 10 << 30, "1.5 MiB": 3 << 19, "500MB": 500e6, "2TB": 2e12} {
		var s size
		require.NoError(t, s.Set(text))
		require.Equal(t, want, s)
	}
	for _, text := range []string{"", "GiB", "-1", "0", "0.5", "NaN", "Inf", "1e30", "10 GiB or so", "1 PiB"} {
		var s size
		require.Error(t, s.Set(text), text)
	}
	for s, want := range map[size]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10 << 30: "10 GiB", 98 << 20: "98 MiB", 5<<40 + 1<<39: "5.5 TiB"} {
		require.Equal(t, want, s.String())
	}
}
