// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	return path
}

func readText(t testing.TB, text string, format Format) (*Dataset, error) {
	t.Helper()
	return Read(writeFile(t, filepath.Join(t.TempDir(), "data"), text), format)
}

// The published RAG data: documents by ascending score, equals as they are; answers in a
// list, in a list of lists, or alone.
func TestReadRAG(t *testing.T) {
	d, err := readText(t, `{"prompt": "x", "question": "Who?", "answers": ["A", "B"], "generated": "", "inputs": {}, "documents": [
 {"title": "t1", "text": "one", "score": 0.9}, {"title": "t2", "text": "two", "score": -1}, {"title": "t3", "text": "three", "score": -1}]}`, "")
	require.ErrorContains(t, err, "line 1: it ends in the middle of the object")
	require.Nil(t, d)
	d, err = readText(t, `{"prompt": "x", "question": "Who?", "answers": ["A", "B"], "inputs": {}, "documents": [{"title": "t1", "text": "one", "score": 0.9}, {"title": "t2", "text": "two", "score": -1}, {"title": "t3", "text": "three", "score": -1}]}

{"question": "Which?", "answers": [["C"], ["D", "E"]], "type": "bridge", "documents": [{"title": "t", "text": "x", "score": null}]}
{"question": "How many?", "answer": "F", "_id": 3, "documents": [{"text": "x"}], "no_of_hops": 3}
`, "")
	require.NoError(t, err)
	require.Equal(t, RAG, d.Format)
	require.Equal(t, []Item{
		{ID: "1", Question: "Who?", Answers: []string{"A", "B"}, Documents: []Document{{"t2", "two"}, {"t3", "three"}, {"t1", "one"}}, Center: -1},
		{ID: "3", Question: "Which?", Answers: []string{"C", "D", "E"}, Documents: []Document{{"t", "x"}}, Center: -1, Kind: "bridge"},
		{ID: "4", Question: "How many?", Answers: []string{"F"}, Documents: []Document{{"", "x"}}, Center: -1, Hops: 3},
	}, d.Items)
}

// Orders and edges refer to documents by where the data lists them, and follow when the
// documents are put in order.
func TestReadOwn(t *testing.T) {
	d, err := readText(t, `{"id": "q", "question": "Who?", "answers": ["A"], "candidates": ["A", "B"], "kind": "film", "hops": 2, "gold": [0],
 `+`"documents": [{"title": "t0", "text": "0"}, {"title": "t1", "text": "1"}, {"title": "t2", "text": "2"}], "orders": [[0, 1, 2], [2, 0, 1]], "order_gold_last": [2, 1, 0], "edges": [[0, 2]]}`+"\n"+
		`{"id": 7, "question": "Who?", "answers": ["A"], "documents": [{"text": "x", "title": ""}]}`, RAG)
	require.ErrorContains(t, err, "line 1")
	require.Nil(t, d)
	line := `{"id": "q", "question": "Who?", "answers": ["A"], "candidates": ["A", "B"], "kind": "film", "hops": 2, "gold": [0], ` +
		`"documents": [{"title": "t0", "text": "0"}, {"title": "t1", "text": "1"}, {"title": "t2", "text": "2"}], "orders": [[0, 1, 2], [2, 0, 1]], "order_gold_last": [2, 1, 0], "edges": [[0, 2]]}`
	d, err = readText(t, line+"\n"+`{"id": 7, "question": "Who?", "answers": ["A"], "documents": [{"text": "x"}]}`, "")
	require.NoError(t, err)
	require.Equal(t, Item{
		ID: "q", Question: "Who?", Answers: []string{"A"}, Candidates: []string{"A", "B"}, Kind: "film", Hops: 2, Center: -1,
		Documents: []Document{{"t2", "2"}, {"t1", "1"}, {"t0", "0"}}, Orders: [][]int{{2, 1, 0}, {0, 2, 1}}, Edges: [][2]int{{2, 0}},
	}, d.Items[0])
	require.Equal(t, "7", d.Items[1].ID)
}

func TestReadMultiHop(t *testing.T) {
	d, err := readText(t, ` [{"query": "Who?", "answer": "A", "question_type": "inference_query",
 "retrieval_list": [{"text": "[Excerpt from document]\ntitle: T\nbody", "score": 2}, {"text": "two", "score": 1}], "gold_list": []}]`, "")
	require.NoError(t, err)
	require.Equal(t, MultiHop, d.Format)
	x := d.Items[0]
	require.Equal(t, "inference_query", x.Kind)
	require.Equal(t, []string{"A"}, x.Answers)
	require.Equal(t, "two\n", d.Format.Block(x.Documents[0]))
	require.Equal(t, "Title: T\nbody\n", d.Format.Block(x.Documents[1]))
}

func TestReadMoreHop(t *testing.T) {
	d, err := readText(t, `{"question": "When?", "answers": "1999", "no_of_hops": 2, "documents": ["one", "two"]}`, "")
	require.NoError(t, err)
	require.Equal(t, MoreHop, d.Format)
	require.Equal(t, []Document{{"", "one"}, {"", "two"}}, d.Items[0].Documents)
	require.Equal(t, "one\n", d.Format.Block(d.Items[0].Documents[0]))
}

// A folder of ego graphs, and one of them: what is cited in its order, the centre last.
func TestReadArxiv(t *testing.T) {
	dir := t.TempDir()
	for id, ego := range map[string]string{
		"2":  `{"Paper": {"0": "centre", "1": {"Z": "last letter first", "M": null, "A": "then a"}}}`,
		"10": `{"Other": {"0": "alone", "1": {}}}`,
	} {
		writeFile(t, filepath.Join(dir, "text_data", id+".json"), ego)
		writeFile(t, filepath.Join(dir, "questions", id+".txt"), "What about "+id+"?")
		writeFile(t, filepath.Join(dir, "answers", id+".txt"), "This.\n")
	}
	d, err := Read(dir, "")
	require.NoError(t, err)
	require.Equal(t, []Item{
		{ID: "2", Question: "What about 2?", Answers: []string{"This."}, Center: 2,
			Documents: []Document{{"Z", "last letter first"}, {"A", "then a"}, {"Paper", "centre"}}, Edges: [][2]int{{0, 2}, {1, 2}}},
		{ID: "10", Question: "What about 10?", Answers: []string{"This."}, Documents: []Document{{"Other", "alone"}}},
	}, d.Items)
	one, err := Read(filepath.Join(dir, "text_data", "2.json"), "")
	require.NoError(t, err)
	require.Equal(t, d.Items[:1], one.Items)
	require.NotEqual(t, d.Digest, one.Digest)

	writeFile(t, filepath.Join(dir, "questions", "10.txt"), "")
	_, err = Read(dir, "")
	require.ErrorContains(t, err, filepath.Join("text_data", "10.json")+": it has no question")
	writeFile(t, filepath.Join(dir, "text_data", "2.json"), `{"Paper": {"0": "centre", "1": {"Z": 5}}}`)
	_, err = Read(dir, ArxivQA)
	require.ErrorContains(t, err, `cited paper "Z"`)
	require.NoError(t, os.Remove(filepath.Join(dir, "answers", "2.txt")))
	_, err = Read(dir, ArxivQA)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Every mistake is named by its line.
func TestReadMistakes(t *testing.T) {
	const good = `{"question": "q", "answers": ["a"], "documents": [{"text": "x"}]}` + "\n"
	for _, c := range []struct{ line, want string }{
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}]`, "ends in the middle"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}]} {}`, "something follows"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": 5}]}`, "text"},
		{`{"question": "q", "answers": 5, "documents": [{"text": "x"}]}`, "neither a string nor a list"},
		{`{"answers": ["a"], "documents": [{"text": "x"}]}`, "no question"},
		{`{"question": "q", "documents": [{"text": "x"}]}`, "no answers"},
		{`{"question": "q", "answers": [""], "documents": [{"text": "x"}]}`, "answer 0 is empty"},
		{`{"question": "q", "answers": ["a"], "candidates": ["a", ""], "documents": [{"text": "x"}]}`, "candidate 1 is empty"},
		{`{"question": "q", "answers": ["a"], "documents": []}`, "no documents"},
		{`{"question": "q", "answers": ["a"], "documents": [{"title": "t"}]}`, "document 0 has no text"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x", "score": 1}, {"text": "y"}]}`, "1 of 2 documents have a score"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "orders": [[1]]}`, "order 0 is not one of 1 documents"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "order_gold_last": [0, 0]}`, "order_gold_last is not"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "edges": [[0, 1]]}`, "edge [0 1] leads out of 1 documents"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "edges": [[0, 0]]}`, "to itself"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "id": {"a": 1}}`, "neither a plain string nor a number"},
		{`{"question": "q", "answers": ["a"], "documents": [{"text": "x"}], "id": 1}`, `id "1" is that of line 1 already`},
		{"{\"question\": \"\xff\", \"answers\": [\"a\"], \"documents\": [{\"text\": \"x\"}]}", "not valid UTF-8"},
		{`nonsense`, "invalid character"},
	} {
		_, err := readText(t, good+"\n"+c.line+"\n"+good, "")
		require.ErrorContains(t, err, "line 3: ", c.line)
		require.ErrorContains(t, err, c.want, c.line)
	}
	for text, want := range map[string]string{
		"":                            "none of the formats",
		"5":                           "none of the formats",
		`{"a": 1, "b": 2}`:            "neither documents nor a paper",
		`[]`:                          "no questions",
		`[{"query": "q"}]`:            "entry 1: it has no answers",
		`[{"query": "q"`:              "unexpected end",
		strings.Repeat(" ", 10) + "x": "none of the formats",
	} {
		_, err := readText(t, text, "")
		require.ErrorContains(t, err, want, text)
	}
	_, err := readText(t, good, "csv")
	require.ErrorContains(t, err, `format "csv" is not one of`)
	_, err = Read(filepath.Join(t.TempDir(), "missing"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"question": "q", "answers": ["a"], "documents": [{"text": "x", "score": 1}, {"text": "y", "score": 0}], "orders": [[1, 0]], "edges": [[0, 1]]}`,
		`[{"query": "q", "answer": [["a"]], "retrieval_list": ["x"]}]`, `{"p": {"0": "c", "1": {"n": "x"}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
		d, err := Read(path, "")
		if err != nil {
			return
		}
		a := &asker{data: d, seed: 1}
		for i := range d.Items {
			x := &d.Items[i]
			require.NoError(t, x.check())
			for _, o := range append(a.orders(x, 2), reversed(x)) {
				require.True(t, permutation(o, len(x.Documents)))
			}
		}
	})
}

// The set that README's command runs on.
func TestReadQA(t *testing.T) {
	d, err := Read("testdata/qa.jsonl", "")
	require.NoError(t, err)
	require.Len(t, d.Items, 100)
	for _, x := range d.Items {
		require.Len(t, x.Orders, 3)
		last := x.Documents[len(x.Documents)-1]
		require.True(t, strings.Contains(last.Text, x.Answers[0]) || strings.Contains(last.Title, x.Answers[0]) ||
			strings.Contains(x.Documents[len(x.Documents)-2].Text, x.Answers[0]), "%s: what is needed stands last", x.ID)
	}
}
