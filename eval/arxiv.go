// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readArxiv reads the ego graphs of a folder, or the one in the file data at path. files
// are all bytes that were read, in a fixed order.
func readArxiv(path string, data []byte) (items []Item, where []string, files [][]byte, err error) {
	root, names := path, []string(nil)
	if data != nil {
		root, names = filepath.Dir(filepath.Dir(path)), []string{filepath.Base(path)}
	} else {
		entries, err := os.ReadDir(filepath.Join(root, "text_data"))
		if err != nil {
			return nil, nil, nil, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				names = append(names, e.Name())
			}
		}
		slices.SortFunc(names, byNumber)
	}
	for _, name := range names {
		id := strings.TrimSuffix(name, ".json")
		at := filepath.Join("text_data", name)
		parts := make([][]byte, 3)
		for i, file := range []string{at, filepath.Join("questions", id+".txt"), filepath.Join("answers", id+".txt")} {
			if parts[i], err = os.ReadFile(filepath.Join(root, file)); err != nil {
				return nil, nil, nil, err
			}
			files = append(files, parts[i])
		}
		x, err := parseEgo(id, parts[0], string(parts[1]), string(parts[2]))
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		items, where = append(items, x), append(where, at)
	}
	return items, where, files, nil
}

// byNumber orders 2.json before 10.json.
func byNumber(a, b string) int {
	if d := len(a) - len(b); d != 0 && isNumber(a) && isNumber(b) {
		return d
	}
	return strings.Compare(a, b)
}

func isNumber(name string) bool {
	_, err := strconv.ParseUint(strings.TrimSuffix(name, ".json"), 10, 64)
	return err == nil
}

// parseEgo reads {paper: {"0": text, "1": {cited paper: text or null…}}}. What is cited
// comes in the order of the file, without those of which there is no text.
func parseEgo(id string, data []byte, question, answer string) (Item, error) {
	if !utf8.Valid(data) {
		return Item{}, errors.New("it is not valid UTF-8")
	}
	var papers map[string]struct {
		Center     string          `json:"0"`
		Neighbours json.RawMessage `json:"1"`
	}
	if err := json.Unmarshal(data, &papers); err != nil {
		return Item{}, err
	}
	if len(papers) != 1 {
		return Item{}, fmt.Errorf("it has %d papers, want one", len(papers))
	}
	x := Item{ID: id, Question: question}
	if answer = strings.TrimSpace(answer); answer != "" {
		x.Answers = []string{answer}
	}
	for title, p := range papers {
		var err error
		if x.Documents, err = orderedTexts(p.Neighbours); err != nil {
			return Item{}, err
		}
		if p.Center == "" {
			return Item{}, fmt.Errorf("paper %q has no text", title)
		}
		x.Center = len(x.Documents)
		x.Documents = append(x.Documents, Document{Title: title, Text: p.Center})
	}
	for i := range x.Center {
		x.Edges = append(x.Edges, [2]int{i, x.Center})
	}
	return x, x.check()
}

// orderedTexts reads an object of texts in the order in which they are written.
func orderedTexts(data []byte) ([]Document, error) {
	if len(data) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New(`"1" is not an object of cited papers`)
	}
	var out []Document
	for {
		t, err := d.Token()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		title, ok := t.(string)
		if !ok { // the closing brace
			return out, nil
		}
		var text *string
		if err := d.Decode(&text); err != nil {
			return nil, fmt.Errorf("cited paper %q: %w", title, err)
		}
		if text != nil && *text != "" {
			out = append(out, Document{Title: title, Text: *text})
		}
	}
}
