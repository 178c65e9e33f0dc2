// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"bufio"
	"bytes"
	"crypto/sha256"
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

// Format is how a data set is written down, and with it the task whose wording the
// published evaluation uses for it.
type Format string

const (
	// RAG is JSON Lines of {"question", "answers", "documents": [{"title", "text", "score"}…]},
	// as published for 2Wiki, HotpotQA, TriviaQA and Natural Questions. Our own data is
	// the same with, all optional, "id", "candidates", "kind", "hops", "orders" (lists of
	// indices of documents), "order_gold_last" (the order by ascending relevance where there are no
	// scores) and "edges" ([source, target] as indices of documents).
	RAG Format = "rag"
	// MultiHop is one JSON array of {"query", "answer", "retrieval_list", "question_type"}, as
	// published for MultiHop-RAG.
	MultiHop Format = "multihop"
	// MoreHop is JSON Lines as RAG's, whose documents are strings in their final order, as published
	// for MoreHopQA.
	MoreHop Format = "morehop"
	// ArxivQA is a folder of text_data/N.json, questions/N.txt and answers/N.txt, or one
	// such file text_data/N.json: {paper: {"0": text, "1": {cited: text…}}}, an ego graph of
	// a paper and what it cites.
	ArxivQA Format = "arxiv"
)

// Formats lists the formats.
func Formats() []Format { return []Format{RAG, MultiHop, MoreHop, ArxivQA} }

// maxItem is the length of the longest line or file of an item, in bytes.
const maxItem = 64 << 20

// Read reads a data set. Without a format, it is told by what is there. Errors name the file
// and the line, or the entry, both from 1. Fields that are not known are passed over,
// as published data has many.
func Read(path string, format Format) (*Dataset, error) {
	d, err := read(path, format)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	return d, nil
}

func read(path string, format Format) (*Dataset, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var data []byte
	if !info.IsDir() {
		if data, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if format == "" {
		if format, err = detect(data, info.IsDir()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	d := &Dataset{Name: filepath.Base(path), Format: format}
	var where []string
	switch format {
	case RAG, MoreHop:
		d.Items, where, err = readLines(data, format)
	case MultiHop:
		d.Items, where, err = readArray(data)
	case ArxivQA:
		var files [][]byte
		d.Items, where, files, err = readArxiv(path, data)
		h := sha256.New()
		for _, f := range files {
			fmt.Fprintf(h, "%d\n%s", len(f), f)
		}
		h.Sum(d.Digest[:0])
	default:
		return nil, fmt.Errorf("format %q is not one of %v", format, Formats())
	}
	if err == nil {
		err = checkIDs(d.Items, where)
	}
	if err == nil && len(d.Items) == 0 {
		err = errors.New("there are no questions")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if format != ArxivQA {
		d.Digest = sha256.Sum256(data)
	}
	return d, nil
}

// detect tells the format by how the data begins.
func detect(data []byte, folder bool) (Format, error) {
	if folder {
		return ArxivQA, nil
	}
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("[")) {
		return MultiHop, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var first map[string]json.RawMessage
	if err := d.Decode(&first); err != nil {
		return "", fmt.Errorf("it is in none of the formats %v: %w", Formats(), err)
	}
	documents, ok := first["documents"]
	switch {
	case ok && strings.HasPrefix(strings.TrimLeft(string(documents), "[ \t\r\n"), `"`):
		return MoreHop, nil
	case ok:
		return RAG, nil
	case len(first) == 1:
		return ArxivQA, nil
	}
	return "", fmt.Errorf("it is in none of the formats %v: its first object has neither documents nor a paper", Formats())
}

// record is an item as JSON has it, in any of the formats but ArxivQA.
type record struct {
	ID            json.RawMessage `json:"id"` // a string or a number
	Question      string          `json:"question"`
	Query         string          `json:"query"`
	Answers       texts           `json:"answers"`
	Answer        texts           `json:"answer"`
	Candidates    []string        `json:"candidates"`
	Documents     []passage       `json:"documents"`
	Retrieved     []passage       `json:"retrieval_list"`
	Orders        [][]int         `json:"orders"`
	OrderGoldLast []int           `json:"order_gold_last"`
	Edges         [][2]int        `json:"edges"`
	Kind          string          `json:"kind"`
	Type          string          `json:"type"`
	QuestionType  string          `json:"question_type"`
	Hops          int             `json:"hops"`
	NumberOfHops  int             `json:"no_of_hops"`
}

// texts is a string, a list of strings, or, in the published Natural Questions, a list of such lists.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	*t = nil
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	wrong := errors.New("answers are neither a string nor a list of strings")
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		return wrong
	}
	for _, raw := range list {
		var several []string
		switch {
		case json.Unmarshal(raw, &one) == nil:
			*t = append(*t, one)
		case json.Unmarshal(raw, &several) == nil:
			*t = append(*t, several...)
		default:
			return wrong
		}
	}
	return nil
}

// passage is an object, or a string.
type passage struct {
	Title string   `json:"title"`
	Text  string   `json:"text"`
	Score *float64 `json:"score"`
}

func (p *passage) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.Text) == nil {
		return nil
	}
	type plain passage
	return json.Unmarshal(data, (*plain)(p))
}

// readLines reads JSON Lines. Blank lines are passed over.
func readLines(data []byte, format Format) (items []Item, where []string, err error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(make([]byte, 64<<10), maxItem)
	number := 0
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		at := fmt.Sprintf("line %d", number)
		x, err := parseItem(line, strconv.Itoa(number), format)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		items, where = append(items, x), append(where, at)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, nil, fmt.Errorf("line %d is longer than %d MiB", number+1, maxItem>>20)
	}
	return items, where, lines.Err()
}

// readArray reads a JSON array.
func readArray(data []byte) (items []Item, where []string, err error) {
	var all []json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, nil, err
	}
	for i, raw := range all {
		at := fmt.Sprintf("entry %d", i+1)
		x, err := parseItem(raw, strconv.Itoa(i+1), MultiHop)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		items, where = append(items, x), append(where, at)
	}
	return items, where, nil
}

// parseItem reads one item. number is its id if it has none.
func parseItem(data []byte, number string, format Format) (Item, error) {
	if !utf8.Valid(data) {
		return Item{}, errors.New("it is not valid UTF-8")
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&r); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends in the middle of the object")
		}
		return Item{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Item{}, errors.New("something follows the object; give one a line")
	}
	x := Item{
		ID: number, Question: r.Question, Answers: slices.Concat(r.Answers, r.Answer), Candidates: r.Candidates,
		Orders: r.Orders, Edges: r.Edges, Center: -1, Kind: r.Kind, Hops: r.Hops,
	}
	for _, s := range []string{r.Type, r.QuestionType} {
		if x.Kind == "" {
			x.Kind = s
		}
	}
	if x.Question == "" {
		x.Question = r.Query
	}
	if x.Hops == 0 {
		x.Hops = r.NumberOfHops
	}
	if id := strings.Trim(string(r.ID), `"`); id != "" && id != "null" {
		if strings.ContainsAny(id, `{["\`) {
			return Item{}, fmt.Errorf("id %s is neither a plain string nor a number", r.ID)
		}
		x.ID = id
	}
	var scores []float64
	passages := slices.Concat(r.Documents, r.Retrieved)
	for _, p := range passages {
		x.Documents = append(x.Documents, Document{Title: p.Title, Text: p.Text})
		if p.Score != nil {
			scores = append(scores, *p.Score)
		}
	}
	if err := x.check(); err != nil {
		return Item{}, err
	}
	switch {
	case len(scores) == len(passages):
		x.arrange(ascending(scores))
	case len(scores) > 0:
		return Item{}, fmt.Errorf("%d of %d documents have a score; give all or none", len(scores), len(passages))
	case r.OrderGoldLast != nil:
		if !permutation(r.OrderGoldLast, len(passages)) {
			return Item{}, fmt.Errorf("order_gold_last is not one of %d documents: %v", len(passages), r.OrderGoldLast)
		}
		x.arrange(r.OrderGoldLast)
	}
	return x, nil
}
