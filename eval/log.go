// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/graphkv/graphkv"
)

// Header is the first line of a log: what its records belong to.
type Header struct {
	Version   int             `json:"graphkv_eval"`
	Data      string          `json:"data"`       // name
	DataHash  string          `json:"data_hash"`  // SHA-256
	Format    Format          `json:"format"`     // and with it the wording
	Model     string          `json:"model"`      // name
	ModelHash string          `json:"model_hash"` // fingerprint
	KVFormat  string          `json:"kv_format"`
	Frame     string          `json:"frame"` // SHA-256 of the chat template's tokens
	MaxTokens int             `json:"max_tokens"`
	Seed      uint64          `json:"seed"`
	Defaults  graphkv.Request `json:"defaults"`
}

// Record is what came of one question under one variant in one order: one of Answer,
// Timing and Error.
type Record struct {
	Item     string  `json:"item"`
	Strategy string  `json:"strategy"` // the variant's label
	Order    int     `json:"order"`    // 0 is the data's own
	Answer   *Answer `json:"answer,omitempty"`
	Timing   *Timing `json:"timing,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// Answer is what the model said.
type Answer struct {
	Text       string               `json:"text"`
	Finish     graphkv.FinishReason `json:"finish"`
	Candidates []float64            `json:"candidates,omitempty"` // log-probability of each
	Usage      graphkv.Usage        `json:"usage"`
}

// Timing is how soon the first token came, on an engine that had nothing else to do.
type Timing struct {
	Cold      Moment `json:"cold"`      // nothing cached
	Reordered Moment `json:"reordered"` // then the same documents in reverse order
	Again     Moment `json:"again"`     // then the same once more
}

// Moment is one time to the first token.
type Moment struct {
	Milliseconds float64 `json:"ms"`
	Encoded      int     `json:"encoded"` // tokens
	Reused       int     `json:"reused"`
}

// key names a record among those of a log.
type key struct {
	item, strategy string
	order          int
	timing         bool
}

func (r *Record) key() key {
	return key{r.Item, r.Strategy, r.Order, r.Timing != nil}
}

// Log holds records and, if it has a file, appends each to it as a line of JSON.
// It is safe for concurrent use.
type Log struct {
	path string
	file *os.File

	mu      sync.Mutex
	records []Record
	have    map[key]bool
}

// NewLog returns a log without a file.
func NewLog() *Log { return &Log{have: map[key]bool{}} }

// OpenLog opens a file of records, or begins one. A file that belongs to other data,
// another model or other settings is an error that says so, as is a line that cannot be
// read, by its number. A last line without its end, which a process left that was
// killed, is removed; what it held is to be done again.
func OpenLog(path string, h Header) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	l := NewLog()
	l.path, l.file = path, f
	if err := l.load(h); err != nil {
		return nil, errors.Join(fmt.Errorf("eval: %s: %w", path, err), f.Close())
	}
	return l, nil
}

func (l *Log) load(h Header) error {
	data, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	h.Version = 1
	first, err := json.Marshal(h)
	if err != nil {
		return err
	}
	first = append(first, '\n')
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 {
		if !bytes.HasPrefix(first, data) { // not even the beginning of a header
			return errors.New("it is not a file of results; use another")
		}
		if err := l.truncate(0); err != nil {
			return err
		}
		_, err := l.file.Write(first)
		return err
	}
	for i, line := range bytes.SplitAfter(data[:end], []byte("\n")) {
		switch {
		case len(line) == 0: // after the last
		case i == 0:
			if err := h.compare(line); err != nil {
				return err
			}
		default:
			if err := l.parse(line); err != nil {
				return fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	return l.truncate(int64(end))
}

// truncate cuts the file off and goes on from there.
func (l *Log) truncate(size int64) error {
	if err := l.file.Truncate(size); err != nil {
		return err
	}
	_, err := l.file.Seek(size, 0)
	return err
}

func (l *Log) parse(line []byte) error {
	var r Record
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{r.Answer != nil, r.Timing != nil, r.Error != ""} {
		if is {
			given++
		}
	}
	if r.Item == "" || r.Strategy == "" || given != 1 {
		return errors.New("it is not a record of one answer, timing or error")
	}
	if l.have[r.key()] {
		return fmt.Errorf("item %q under %s in order %d is there already; did two runs write to the file?", r.Item, r.Strategy, r.Order)
	}
	l.add(r)
	return nil
}

func (l *Log) add(r Record) {
	l.records = append(l.records, r)
	l.have[r.key()] = true
}

// compare says in what the header of a file differs from h.
func (h *Header) compare(line []byte) error {
	var old Header
	if err := json.Unmarshal(line, &old); err != nil || old.Version == 0 {
		return errors.New("line 1: it is not a file of results; use another")
	}
	defaults := func(h *Header) string {
		b, _ := json.Marshal(h.Defaults) // of numbers and strings
		return string(b)
	}
	for _, f := range []struct {
		what     string
		old, new any
	}{
		{"in format version", old.Version, 1},
		{"for other data: SHA-256", old.DataHash, h.DataHash},
		{"for data in format", old.Format, h.Format},
		{"with another model: " + old.Model + ", fingerprint", old.ModelHash, h.ModelHash},
		{"with KVs in", old.KVFormat, h.KVFormat},
		{"with another chat template: SHA-256", old.Frame, h.Frame},
		{"with answers of at most", old.MaxTokens, h.MaxTokens},
		{"with the seed", old.Seed, h.Seed},
		{"with the parameters", defaults(&old), defaults(h)},
	} {
		if f.old != f.new {
			return fmt.Errorf("its records were made %s %v, not %v; use another folder", f.what, f.old, f.new)
		}
	}
	return nil
}

// Append adds a record.
func (l *Log) Append(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if _, err := l.file.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("eval: %w", err)
		}
	}
	l.add(r)
	return nil
}

func (l *Log) has(k key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have[k]
}

// Records returns the records so far, not to be changed.
func (l *Log) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[:len(l.records):len(l.records)]
}

// Close closes the file.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
