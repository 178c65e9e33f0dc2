// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/graphkv/graphkv"
)

func header() Header {
	return Header{Version: 1, Data: "d", DataHash: "aa", Format: RAG, Model: "m", ModelHash: "bb", KVFormat: "f32", Frame: "cc", MaxTokens: 5, Seed: 1, Defaults: Defaults()}
}

func openLog(t require.TestingT, path string) *Log {
	l, err := OpenLog(path, header())
	require.NoError(t, err)
	return l
}

var someRecords = []Record{
	{Item: "a", Strategy: "block", Answer: &Answer{Text: "x\ny", Finish: graphkv.FinishStop, Candidates: []float64{-1.25, -3}}},
	{Item: "a", Strategy: "block", Order: 1, Answer: &Answer{Text: ""}},
	{Item: "a", Strategy: "block", Timing: &Timing{Cold: Moment{1.5, 7, 0}}},
	{Item: "b", Strategy: "block", Error: "too long"},
}

// A process may be killed at any byte: what was whole is read again, and the log goes on.
func TestLogAfterAnyByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	l := openLog(t, path)
	for _, r := range someRecords {
		require.NoError(t, l.Append(r))
	}
	require.NoError(t, l.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o666))
		l := openLog(t, path)
		kept := max(0, bytes.Count(whole[:n], []byte("\n"))-1)
		require.Equal(t, someRecords[:kept], append([]Record{}, l.Records()...), "after %d bytes", n)
		for _, r := range someRecords[kept:] {
			require.False(t, l.has(r.key()))
			require.NoError(t, l.Append(r))
			require.True(t, l.has(r.key()))
		}
		require.NoError(t, l.Close())
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(whole), string(again))
	}
}

// A file of other data, another model or other settings is refused and left as it is.
func TestLogOfAnotherRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	require.NoError(t, openLog(t, path).Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for want, change := range map[string]func(h *Header){
		"for other data: SHA-256 aa, not zz":                 func(h *Header) { h.DataHash = "zz" },
		"for data in format rag, not arxiv":                  func(h *Header) { h.Format = ArxivQA },
		"with another model: m, fingerprint bb, not zz":      func(h *Header) { h.ModelHash = "zz" },
		"with KVs in f32, not f16":                           func(h *Header) { h.KVFormat = "f16" },
		"with another chat template: SHA-256 cc, not zz":     func(h *Header) { h.Frame = "zz" },
		"with answers of at most 5, not 6":                   func(h *Header) { h.MaxTokens = 6 },
		"with the seed 1, not 2":                             func(h *Header) { h.Seed = 2 },
		`not {"top_k":9,"rounds":1,"query":""}; use another`: func(h *Header) { h.Defaults.TopK = 9 },
	} {
		h := header()
		change(&h)
		_, err := OpenLog(path, h)
		require.ErrorContains(t, err, want)
	}
	renamed := header()
	renamed.Data, renamed.Model = "elsewhere", "by another name"
	l, err := OpenLog(path, renamed)
	require.NoError(t, err, "names are not what data and models are told by")
	require.NoError(t, l.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

func TestLogMistakes(t *testing.T) {
	line := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return string(b) + "\n"
	}
	head, record := line(header()), line(someRecords[0])
	for _, c := range []struct{ text, want string }{
		{"my notes, without an end of line", "not a file of results"},
		{"my notes\n", "line 1: it is not a file of results"},
		{"{}\n" + record, "line 1: it is not a file of results"},
		{head + record + "{\"item\": \n" + record, "line 3: "},
		{head + "\n" + record, "line 2: "},
		{head + record + record, "line 3: item \"a\" under block in order 0 is there already"},
		{head + `{"item": "a", "strategy": "block", "order": 0}` + "\n", "line 2: it is not a record of one"},
		{head + `{"strategy": "block", "order": 0, "error": "x"}` + "\n", "line 2: it is not a record of one"},
		{head + `{"item": "a", "strategy": "block", "order": 0, "answer": {}, "error": "x"}` + "\n", "line 2: it is not a record of one"},
		{head + `{"item": "a", "strategy": "block", "oder": 0, "error": "x"}` + "\n", `unknown field "oder"`},
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "results.jsonl"), c.text)
		_, err := OpenLog(path, header())
		require.ErrorContains(t, err, c.want)
		left, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, c.text, string(left), "a file that is not ours is left as it is")
	}
	_, err := OpenLog(filepath.Join(t.TempDir(), "no", "such"), header())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Whatever a model says is read as it was written.
func TestLogKeepsText(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "results.jsonl")
		os.Remove(path)
		want := Record{Item: rapid.StringN(1, 9, -1).Draw(t, "item"), Strategy: "block", Answer: &Answer{Text: rapid.String().Draw(t, "text"), Candidates: rapid.SliceOfN(rapid.Float64(), 1, 3).Draw(t, "p")}}
		l := openLog(t, path)
		require.NoError(t, l.Append(want))
		require.NoError(t, l.Close())
		l = openLog(t, path)
		require.Equal(t, []Record{want}, l.Records())
		require.NoError(t, l.Close())
	})
}
